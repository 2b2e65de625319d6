"""A cursor: one statement after another, and the rows of the last one.

Knows the session of its connection and how values look in Python; knows no store.

1. Rows outside of a transaction are of one version, whatever is written meanwhile; they come in bounded memory.
2. `row_factory` may be `sqlite3.Row`, or a class of it: it is given a cursor of `sqlite3` that has the same columns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from virke.dbapi.errors import DataError, ProgrammingError
from virke.dbapi.session import CHANGING, CONTROL, LEGACY, Answer
from virke.dbapi.values import Convert, bind_params, bind_rows, row_converter
from virke.engine.sqlite import Row, keyword, split

if TYPE_CHECKING:
    from virke.dbapi.connection import Connection

RowFactory = Callable[[Any, tuple[Any, ...]], Any]
ONE_BY_ONE: Final = CONTROL | {"VACUUM", "PRAGMA"}
"""What a script that is one transaction can't have in it."""
_NOTHING: Final = nullcontext()
_BLANK: Final = " \t\r\n\f;"


class Cursor:
    """See PEP 249 and `sqlite3.Cursor`."""

    _is_initialised = False
    _is_closed = False

    def __init__(self, connection: Connection) -> None:
        if not hasattr(type(connection), "blobopen"):
            raise TypeError(f"Cursor() argument 1 must be a Connection, not {type(connection).__name__}")
        self._connection = connection
        self.row_factory: RowFactory | None = connection.row_factory
        self.arraysize = 1
        self.description: tuple[tuple[str | None, ...], ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: Iterator[Row] = iter(())
        self._convert: Convert | None = None
        self._is_initialised = True

    @property
    def connection(self) -> Connection:
        """The connection that it belongs to."""
        return self._connection

    def _check_open(self) -> Connection:
        if not self._is_initialised:
            raise ProgrammingError("Base Cursor.__init__ not called.")
        if self._is_closed:
            raise ProgrammingError("Cannot operate on a closed cursor.")
        self._connection.check()
        return self._connection

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        """Run one statement."""
        connection = self._check_open()
        session = connection.session
        check_sql(connection, sql)
        self._show_answer(Answer([], [], iter(())))
        word = keyword(sql)
        if ";" in sql and len(list(islice(split(sql), 2))) > 1:
            raise ProgrammingError("You can only execute one statement at a time.")
        if not word or session.control(word, sql):
            return self
        with session.beginning(word, sql) if word in CHANGING else _NOTHING:
            params = bind_params(parameters, lambda: session.names(sql)) if parameters != () else ()
            connection.check_limits(sql)
            session.tell(sql.strip(_BLANK))
            self._show_answer(session.run(word, sql, params))
        self.lastrowid = session.rowid
        return self

    def _show_answer(self, answer: Answer) -> None:
        connection = self._connection
        self._rows, self.rowcount = answer.rows, answer.changed
        detects = connection.detect_types
        self._convert = row_converter(answer.columns, answer.decltypes, detects, connection.text_factory)
        self.description = _described_columns(tuple(answer.columns), is_parsed=bool(detects & sqlite3.PARSE_COLNAMES))

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> Self:
        """Run one statement with each row of parameters: outside of a transaction, as one."""
        connection = self._check_open()
        session = connection.session
        check_sql(connection, sql)
        word = keyword(sql)
        rows = iter(seq_of_parameters)
        if word not in CHANGING and word != "WITH":
            raise ProgrammingError("executemany() can only execute DML statements.")
        self._show_answer(Answer([], [], iter(()), 0))
        bound = bind_rows(rows, lambda: session.names(sql))
        with session.beginning(word, sql):
            session.tell(sql)
            if not session.in_transaction:
                self.rowcount = session.run_many(sql, bound)
            while session.in_transaction and (part := list(islice(bound, 1000))):
                self.rowcount += session.run_many(sql, part)
        return self

    def executescript(self, sql_script: str, /) -> Self:
        """Run statements one after the other; one commit for all, unless the script itself begins and ends transactions."""
        connection = self._check_open()
        session = connection.session
        if not isinstance(sql_script, str):
            raise TypeError(f"executescript() argument must be str, not {type(sql_script).__name__}")
        if "\0" in sql_script:
            raise ValueError("embedded null character")
        check_sql(connection, sql_script)
        if session.autocommit == LEGACY:
            session.end(commits=True)
        statements = [text.strip() for _, text in split(sql_script)]
        words = {keyword(text) for text in statements}
        if words & ONE_BY_ONE:
            for text in statements:
                if not session.control(word := keyword(text), text):
                    session.tell(text)
                    session.run(word, text, ())
        elif statements:
            for text in statements:
                session.tell(text)
            session.run_script(sql_script)
        return self

    def __iter__(self) -> Self:
        self._check_open()
        return self

    def __next__(self) -> Any:
        self._check_open()
        return self._made(next(self._rows))

    def _made(self, row: tuple[Any, ...]) -> Any:
        if self._convert is not None:
            row = self._convert(row)
        factory = self.row_factory
        if factory is None:
            return row
        return factory(self._as_sqlite3() if _makes_rows_of_sqlite3(factory) else self, row)

    def _as_sqlite3(self) -> sqlite3.Cursor:
        return _columns_of(tuple(str(column[0]) for column in self.description or ()))

    def fetchone(self) -> Any:
        """The next row; None at the end."""
        return next(self, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, `arraysize` of them if not said; below 0 all that are left."""
        self._check_open()
        count = self.arraysize if size is None else size
        return list(islice(self, count if count >= 0 else None))

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        self._check_open()
        rows = list(self._rows)
        return rows if self._convert is None and self.row_factory is None else list(map(self._made, rows))

    def close(self) -> None:
        """End the statement; the cursor is of no use after it."""
        if not self._is_initialised:
            raise ProgrammingError("Base Cursor.__init__ not called.")
        self._connection.check()
        self._rows, self._is_closed = iter(()), True

    def setinputsizes(self, sizes: object, /) -> None:
        """Nothing: SQLite's values have no declared size."""

    def setoutputsize(self, size: object, column: object = None, /) -> None:
        """Nothing: as above."""


def check_sql(connection: Connection, sql: object) -> None:
    """Raise what `sqlite3` does for a text that can't be SQL."""
    if not isinstance(sql, str):
        raise TypeError(f"execute() argument 1 must be str, not {type(sql).__name__}")
    if "\0" in sql:
        raise ProgrammingError("the query contains a null character")
    length = len(sql) if sql.isascii() else len(sql.encode())
    if length > connection.getlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH):
        raise DataError("query string is too large")


def _makes_rows_of_sqlite3(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, sqlite3.Row)


@lru_cache(maxsize=256)
def _described_columns(columns: tuple[str, ...], *, is_parsed: bool) -> tuple[tuple[str | None, ...], ...] | None:
    names = [name.partition("[")[0].rstrip() or name for name in columns] if is_parsed else columns
    return tuple((name, *[None] * 6) for name in names) or None


@lru_cache(maxsize=64)
def _columns_of(names: tuple[str, ...]) -> sqlite3.Cursor:
    """A cursor of `sqlite3` with these columns: what `sqlite3.Row` takes them from."""
    quoted = ", ".join('NULL AS "{}"'.format(name.replace('"', '""')) for name in names)
    return sqlite3.connect(":memory:", check_same_thread=False).execute(f"SELECT {quoted}")
