"""The table that records of a file go into or come from: its columns and rows, and the SQL that makes and fills it.

Knows SQLite's names, types and defaults; knows no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virke.engine.sqlite import Connection, Guard, Row, translate
from virke.errors import Invalid, NotFound, SqlError, VirkeError
from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column that can be written: its declared type in capitals, and what stands for NULL, as SQL, if that is refused."""

    name: str
    declared: str
    default: str | None

    @property
    def keeps_types(self) -> bool:
        """Whether it stores text as text, and numbers as numbers."""
        numeric_or_text = any(part in self.declared for part in ("INT", "CHAR", "CLOB", "TEXT"))
        return self.declared in ("", "ANY") or ("BLOB" in self.declared and not numeric_or_text)

    @property
    def is_numeric(self) -> bool:
        """Whether it makes a number of a text that is one."""
        if "INT" in self.declared:
            return True
        return not self.keeps_types and not any(part in self.declared for part in ("CHAR", "CLOB", "TEXT"))


def columns_of(connection: Connection, table: str) -> list[Column]:
    """All columns that can be written, in order; none if there is no such table."""
    rows = connection.execute(f"PRAGMA table_xinfo({quoted_name(table)})").fetchall()
    return [
        Column(str(name), str(declared).upper(), str(default) if refuses_null and default is not None else None)
        for _, name, declared, refuses_null, default, _, hidden in rows
        if hidden in (0, 1)
    ]


def names_of(connection: Connection, table: str) -> list[str]:
    """The columns that `SELECT *` shows of a table or view. Raises `NotFound`: there is none of that name."""
    columns = connection.execute(f"PRAGMA table_xinfo({quoted_name(table)})").fetchall()
    names = [str(row[1]) for row in columns if row[6] != 1]
    if not names:
        raise NotFound(f"there is no table {table!r}")
    return names


def rows_of(connection: Connection, table: str) -> Iterator[Row]:
    """All rows of a table or view. Raises `Invalid`: a text in it is not valid Unicode, which only SQL can tell."""
    done = 0
    try:
        for row in connection.execute(f"SELECT * FROM {quoted_name(table)}"):
            yield row
            done += 1
    except UnicodeDecodeError as error:
        raise Invalid(f"row {done + 1} of {table} has text that is not valid Unicode: export it as SQL") from error


def by_name(names: Sequence[str], there: Sequence[Column], table: str) -> list[Column]:
    """The column of the table for each name. Raises `Invalid`: there is none."""
    known = {column.name.lower(): column for column in there}
    if unknown := [name for name in names if name.lower() not in known]:
        raise Invalid(
            f"table {table!r} has no column {', '.join(map(repr, unknown))} that a file could fill; "
            f"it has {', '.join(column.name for column in there)}"
        )
    return [known[name.lower()] for name in names]


def create_sql(table: str, names: Sequence[str], types: Sequence[str]) -> str:
    """SQL that makes the table."""
    columns = ", ".join(f"{quoted_name(name)} {type_}".rstrip() for name, type_ in zip(names, types, strict=True))
    return f"CREATE TABLE {quoted_name(table)}({columns})"


def insert_sql(table: str, names: Sequence[str], into: Sequence[Column] = ()) -> str:
    """SQL that inserts a row, with the defaults of columns that refuse NULL."""
    marks = [f"coalesce(?,({column.default}))" if column.default else "?" for column in into]
    return f"INSERT INTO {quoted_name(table)}({','.join(map(quoted_name, names))}) VALUES({','.join(marks or '?' * len(names))})"


def refused_error(where: str, error: Exception, guard: Guard) -> VirkeError:
    """What SQLite said of a row or a table, with the place of it."""
    meant = translate(error, guard)
    message = f"{where}: {meant.message}; nothing was changed"
    return SqlError(message, sqlite_code=meant.sqlite_code) if isinstance(meant, SqlError) else type(meant)(message)


def quoted_name(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'
