"""What SQLite says of a statement without running it, and where a script's statements end. Knows text, no pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import apsw

from virke.engine.sqlite.guard import Guard
from virke.engine.sqlite.opening import Connection
from virke.engine.sqlite.translation import translate
from virke.errors import Invalid

ALONE: Final = ("VACUUM", "PRAGMA")
"""What refuses a transaction, or has no effect in one."""
_UNBOUND: Final = apsw._null_bindings  # type: ignore[attr-defined]
"""Bindings for a statement that is described but not run: as many NULLs as it needs."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What SQLite says of the first statement of an SQL text, without running it."""

    sql: str
    rest: str
    keyword: str
    read_only: bool
    parameter_count: int
    parameter_names: tuple[str | None, ...]
    columns: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to run: white space, comments or `;` only."""
        return self.keyword == ""


def describe(connection: Connection, guard: Guard, sql: str) -> Statement:
    """Prepare the first statement of `sql`.

    Raises:
        SqlError: it does not parse, or names what does not exist.
        Denied: the guard refuses it.
    """
    found: list[Statement] = []

    def trace(cursor: apsw.Cursor, text: str, _: object) -> bool:
        # getdescription fails for statements that were expired by a schema change; exec tracers run before that.
        columns = tuple(str(column[0]) for column in cursor.get_description())
        found.append(
            Statement(
                sql=text,
                rest=sql[len(text) :],
                keyword=keyword(text),
                read_only=cursor.is_readonly,
                parameter_count=cursor.bindings_count,
                parameter_names=cursor.bindings_names,
                columns=columns,
            )
        )
        return False

    cursor = connection.cursor()
    cursor.exec_trace = trace
    try:
        cursor.execute(sql, _UNBOUND, can_cache=False)  # a cached one has the columns of the schema of its day
    except apsw.ExecTraceAbort:
        return found[0]
    except (apsw.Error, ValueError, TypeError) as error:
        raise translate(error, guard, sql) from error
    return Statement(sql, "", "", True, 0, (), ())


def check_text(sql: object) -> None:
    """Raise `Invalid` unless `sql` is text."""
    if not isinstance(sql, str):
        raise Invalid(f"SQL must be text, not {type(sql).__name__}")


def keyword(sql: str) -> str:
    """The first word of a statement in capitals, past white space, comments and `;`; "" if there is none."""
    at, end = 0, len(sql)
    while at < end:
        if sql[at].isspace() or sql[at] in ";\ufeff":
            at += 1
        elif sql.startswith("--", at):
            at = sql.find("\n", at) + 1 or end
        elif sql.startswith("/*", at):
            close = sql.find("*/", at + 2)
            at = end if close < 0 else close + 2
        else:
            stop = at
            while stop < end and (sql[stop].isalnum() or sql[stop] == "_"):
                stop += 1
            return sql[at : max(stop, at + 1)].upper()
    return ""


_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|;""", re.DOTALL)


def split(sql: str) -> Iterator[tuple[int, str]]:
    """The statements of a script with their offsets, each with its `;`; white space and comments alone are left out.

    SQLite itself says where a statement is complete, so trigger bodies are cut as it would cut them.
    """
    start = 0
    for token in _TOKEN.finditer(sql):
        if token[0] == ";" and apsw.complete(sql[start : token.end()]):
            if keyword(sql[start : token.end()]):
                yield start, sql[start : token.end()]
            start = token.end()
    if keyword(sql[start:]):
        yield start, sql[start:]
