"""What SQLite says of a statement without running it, and where a script's statements end. Knows text, no pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import apsw

from virke.engine.sqlite.care import HOT_COLUMNS, HOT_VALUE_BYTES, SLOW, SLOW_VALUE_BYTES
from virke.engine.sqlite.columns import ColumnChange, column_change
from virke.engine.sqlite.guard import Guard, Seen
from virke.engine.sqlite.guessing import guessed_name
from virke.engine.sqlite.lending import lend_by_name, missing_in
from virke.engine.sqlite.opening import Connection
from virke.engine.sqlite.pragmas import ALLOWED, ANSWERING, MODES
from virke.engine.sqlite.scoped import why_not
from virke.engine.sqlite.translation import translate
from virke.errors import Denied, Invalid, SqlError, TimedOut
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern
from virke.scopes import Scope

ALONE: Final = ("VACUUM", "PRAGMA")
"""What refuses a transaction, or has no effect in one."""
KEYWORDS: Final = frozenset(apsw.keywords)
"""SQLite's keywords, in capitals."""
_UNBOUND: Final = apsw._null_bindings  # type: ignore[attr-defined]
"""Bindings for a statement that is described but not run: as many NULLs as it needs."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its name, and for a plain column of a table its declared type and where it comes from."""

    name: str
    decltype: str | None = None
    table: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """One statement as SQLite understands it, without running it.

    `keyword` is its first word in capitals. `parameter_names` has one entry for each parameter: its name without the
    sign, or None for `?`. `read_only` is false for all that would change the database, a temporary table, or a value
    that outlives the request (`PRAGMA foreign_keys = …`).
    """

    keyword: str

    columns: tuple[Column, ...]
    parameter_count: int
    parameter_names: tuple[str | None, ...]
    read_only: bool
    is_explain: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """What SQLite says of the first statement of an SQL text, without running it.

    `read_only` is false for all that would change the database, a temporary table, or a value that outlives the
    request (`PRAGMA foreign_keys = …`). `checks` is true for PRAGMA integrity_check and quick_check. `runs` is the text that is run: another one for a quiet PRAGMA with an answer.
    `alters` is libSQL's ALTER COLUMN, which SQLite does not have.
    """

    sql: str
    rest: str
    keyword: str
    read_only: bool
    parameter_count: int
    parameter_names: tuple[str | None, ...]
    columns: tuple[str, ...]
    described: tuple[Column, ...] = ()
    is_explain: bool = False
    runs: str = ""
    functions: frozenset[str] = frozenset()
    analyzes: bool = False
    checks: bool = False
    alters: ColumnChange | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to run: white space, comments or `;` only."""
        return self.keyword == ""

    @property
    def value_bytes_max(self) -> int:
        """How long values may be for SQLite's own functions to be fast."""
        return SLOW_VALUE_BYTES if self.functions & SLOW else HOT_VALUE_BYTES

    @property
    def description(self) -> Description:
        """What a caller may know of it."""
        return Description(
            self.keyword,
            self.described,
            self.parameter_count,
            self.parameter_names,
            read_only=self.read_only,
            is_explain=self.is_explain,
        )

    @property
    def is_hot(self) -> bool:
        """Whether its text may be run as it is, again and again, with values of `HOT_VALUE_BYTES`."""
        return not (
            self.is_explain
            or self.checks
            or self.runs != self.sql
            or self.functions & SLOW
            or len(self.columns) > HOT_COLUMNS
        )


def describe(connection: Connection, guard: Guard, sql: str, lent: frozenset[str] = frozenset()) -> Statement:
    """Prepare the first statement of `sql`; what it asks for of SQLite's shell is lent (`lent`: was a moment ago).

    Raises:
        SqlError: it does not parse, or names what does not exist.
        Denied: the guard refuses it.
    """
    found: list[Statement] = []
    seen = Seen()

    def trace(cursor: apsw.Cursor, text: str, _: object) -> bool:
        # after the run it is too late: a statement that was expired by a schema change has no description any more
        described = tuple(Column(full[0], full[1], full[3], full[4]) for full in cursor.description_full)
        found.append(
            Statement(
                sql=text,
                rest=sql[len(text) :],
                keyword=keyword(text),
                read_only=bool(cursor.is_explain)
                or (cursor.is_readonly and not any(map(_outlives_request, seen.pragmas))),
                parameter_count=cursor.bindings_count,
                parameter_names=cursor.bindings_names,
                columns=tuple(column.name for column in described),
                described=described,
                is_explain=bool(cursor.is_explain),
                runs=text,
                functions=frozenset(seen.functions),
                analyzes=guard.analyzed,
                checks=seen.checks or any(name in ("integrity_check", "quick_check") for name, _ in seen.pragmas),
            )
        )
        return False

    cursor = connection.cursor()
    cursor.exec_trace = trace
    guard.seen, guard.analyzed = seen, False
    try:
        cursor.execute(sql, _UNBOUND, can_cache=False)  # a cached one has the columns of the schema of its day
    except apsw.ExecTraceAbort:
        return _answering_statement(connection, guard, found[0], seen)
    except (apsw.Error, ValueError, TypeError) as error:
        if seen.is_late:
            raise TimedOut("the statement takes too long to prepare: its views and subqueries are too many") from error
        if (name := missing_in(error)) and name not in lent:
            lend_by_name(connection, guard, name)
            return describe(connection, guard, sql, lent | {name})
        if keyword(sql) == "ALTER" and (change := column_change(sql)):
            return _altering_statement(guard, change, sql)
        meant = translate(error, guard, sql)
        if isinstance(meant, SqlError) and (guess := guessed_name(connection, guard, str(error), sql)):
            meant.context["hint"] = guess
        raise meant from error
    finally:
        guard.seen = None
    return Statement(sql, "", "", True, 0, (), (), runs=sql)


def _altering_statement(guard: Guard, change: ColumnChange, sql: str) -> Statement:
    """Raises `Denied`: the request may not change the schema."""
    if guard.scope < Scope.SCHEMA:
        raise Denied(why_not(guard.scope, "this statement changes the schema"))
    rest = sql[len(change.text) :]
    return Statement(change.text, rest, "ALTER", False, 0, (), (), runs=change.text, alters=change)


def _outlives_request(pragma: tuple[str, str | None]) -> bool:
    """Whether this PRAGMA changes what outlives the request; SQLite calls some of those read-only."""
    name, argument = pragma
    return name == "optimize" or (argument is not None and name in ALLOWED - MODES)


def _answering_statement(connection: Connection, guard: Guard, statement: Statement, seen: Seen) -> Statement:
    """A PRAGMA that is passed over but answers with a row in SQLite answers with the value that holds."""
    quiet = [name for name, argument in seen.pragmas if argument is not None and name in ANSWERING]
    if statement.keyword != "PRAGMA" or statement.columns or statement.is_explain or not quiet:
        return statement
    reading = describe(connection, guard, "SELECT 0 AS busy, -1 AS log, -1 AS checkpointed")
    if quiet[0] != "wal_checkpoint":  # which is refused inside a transaction
        reading = describe(connection, guard, f"PRAGMA {quiet[0]}")
    return replace(statement, runs=reading.sql, columns=reading.columns, described=reading.described, read_only=True)


def check_text(sql: object) -> None:
    """Raise `Invalid` unless `sql` is text."""
    if not isinstance(sql, str):
        raise Invalid(f"SQL must be text, not {type(sql).__name__}")


_COMMON: Final = {
    f"{word} ": word.upper()
    for upper in ("SELECT", "INSERT", "UPDATE", "DELETE")
    for word in (upper, upper.lower(), upper.capitalize())
}


def keyword(sql: str) -> str:
    """The first word of a statement in capitals, past white space, comments and `;`; "" if there is none."""
    if (common := _COMMON.get(sql[:7])) is not None:
        return common
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


_TOKEN = pattern(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|;""", re.DOTALL)


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
