"""A connection of PEP 249 to a database of Virke, with the habits of `sqlite3`.

Knows the session, cursors and callbacks; knows no store. docs/dbapi.md says what is the same, different and refused.

1. It belongs to the thread that opened it, unless `check_same_thread` is false; calls of several threads must not overlap.
2. What can't be is `NotSupportedError`, and the message says why.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from sqlite3.dump import _iterdump  # type: ignore[attr-defined]
from typing import Any, Final, Literal, NoReturn, Self

from virke.client import RemoteDatabase
from virke.collector import outside
from virke.dbapi import errors
from virke.dbapi.blob import Blob
from virke.dbapi.callbacks import Callbacks
from virke.dbapi.cursor import Cursor, RowFactory
from virke.dbapi.errors import (
    DatabaseError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Translating,
    with_code,
)
from virke.dbapi.session import LEGACY, Session
from virke.engine.sqlite import OnConnect
from virke.opening import Where, is_of_node
from virke.opening import connect as open_database
from virke.transfer import export_file, import_file

LEVELS: Final = ("", "DEFERRED", "IMMEDIATE", "EXCLUSIVE")
_LEVELS_TEXT: Final = "isolation_level string must be '', 'DEFERRED', 'IMMEDIATE', or 'EXCLUSIVE'"
_AUTOCOMMIT_TEXT: Final = "autocommit must be True, False, or sqlite3.LEGACY_TRANSACTION_CONTROL"
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 16 << 20,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 32766,
}
_LIMIT_CATEGORIES: Final = 12


def _abandon(session: Session) -> None:
    with suppress(Exception):  # at the end of the program, parts of it may be gone
        session.close(push=False)


def _refusing_method(reason: str) -> Callable[..., NoReturn]:
    def refuse(self: Connection, *given: object, **how: object) -> NoReturn:
        self.check()
        raise NotSupportedError(reason)

    return refuse


class Connection:
    """See PEP 249 and `sqlite3.Connection`; opened by `virke.dbapi.connect`."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    __call__ = _refusing_method("there are no statement objects here: execute() keeps what it prepared")
    set_progress_handler = _refusing_method(
        "the engine has SQLite's one handler for time and memory: interrupt(), or query_timeout_ms"
    )
    enable_load_extension = load_extension = _refusing_method(
        "extensions reach files and the process's memory; use create_function()"
    )
    getconfig = setconfig = _refusing_method("these switches of SQLite protect what others share")

    _session: Session | None = None
    _is_initialised = False
    _thread: int | None = None

    def __init__(
        self,
        name: str,
        store: Where = None,
        token: str | None = None,
        *,
        timeout: float = 5.0,
        detect_types: int = 0,
        isolation_level: str | None = "",
        check_same_thread: bool = True,
        autocommit: bool | Literal[-1] = LEGACY,
        create: bool = False,
        read_only: bool = False,
        consistency: str | None = None,
    ) -> None:
        self.__del__()  # it may be made again
        self._is_initialised, self._session = False, None
        self._check_level(isolation_level)
        self._check_autocommit(autocommit)
        self._errors = Translating()
        self.callbacks = callbacks = Callbacks(self._errors)
        if name == ":memory:":
            name, store, create = "memory", "memory://", True
        self.detect_types = detect_types
        self.row_factory: RowFactory | None = None
        self.text_factory: Callable[[bytes], Any] = str
        self._limits = dict(_LIMITS)
        with self._errors:
            hook = None if is_of_node(store) else callbacks.extend
            database = open_database(name, store, token=token, create=create, read_only=read_only, on_connect=hook)
        self._session = Session(
            database, self._errors, wait_s=timeout, consistency=consistency, autocommit=autocommit, read_only=read_only
        )
        self._session.level = isolation_level
        self._thread = threading.get_ident() if check_same_thread else None
        self._is_initialised = True

    def check(self) -> None:
        """Raise `ProgrammingError` where it is closed, or another thread's."""
        self.session  # noqa: B018
        if self._thread is not None and self._thread != (here := threading.get_ident()):
            raise ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread. "
                f"The object was created in thread id {self._thread} and this is thread id {here}."
            )

    @property
    def session(self) -> Session:
        """Its transactions. Raises `ProgrammingError`: it is closed."""
        if not self._is_initialised:
            raise ProgrammingError("Base Connection.__init__ not called.")
        if self._session is None:
            raise ProgrammingError("Cannot operate on a closed database.")
        return self._session

    # Statements

    def cursor(self, factory: Callable[[Connection], Cursor] = Cursor) -> Cursor:
        """A new cursor."""
        self.check()
        made = factory(self)
        if not issubclass(type(made), Cursor):
            raise TypeError(f"factory must return a cursor, not {type(made).__name__}")
        if self.row_factory is not None:
            made.row_factory = self.row_factory
        return made

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        """Run one statement with a new cursor."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:
        """Run one statement with each row, with a new cursor."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Cursor:
        """Run a script with a new cursor."""
        return self.cursor().executescript(sql_script)

    # Transactions

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.session.in_transaction

    @property
    def total_changes(self) -> int:
        """Rows that statements of this connection inserted, updated and deleted; those of triggers are not counted."""
        return self.session.changes

    @property
    def isolation_level(self) -> str | None:
        """How DML begins a transaction by itself; None: it does not."""
        return self.session.level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self._check_level(level)
        self.session.level = level
        if level is None and self.session.autocommit == LEGACY:
            self.session.end(commits=True)

    @property
    def autocommit(self) -> bool | int:
        """True, False (a transaction is always open) or LEGACY_TRANSACTION_CONTROL, on all versions of Python."""
        mode = self.session.autocommit
        return mode if mode == LEGACY else bool(mode)

    @autocommit.setter
    def autocommit(self, mode: bool | int) -> None:
        self.check()
        self._check_autocommit(mode)
        if mode is True:
            self.session.end(commits=True)
        self.session.autocommit = mode
        self.session.restart()

    @staticmethod
    def _check_level(level: object) -> None:
        if level is not None and not isinstance(level, str):
            raise TypeError("isolation_level must be str or None")
        if level is not None and level.upper() not in LEVELS:
            raise ValueError(_LEVELS_TEXT)

    @staticmethod
    def _check_autocommit(mode: object) -> None:
        if not isinstance(mode, int) or mode not in (True, False, LEGACY):
            raise ValueError(_AUTOCOMMIT_TEXT)

    def commit(self) -> None:
        """Commit what is open; nothing with `autocommit` True."""
        self._end(commits=True)

    def rollback(self) -> None:
        """Roll back what is open; nothing with `autocommit` True."""
        self._end(commits=False)

    def _end(self, *, commits: bool) -> None:
        self.check()
        session = self.session
        if session.autocommit is not True:
            try:
                session.end(commits=commits)
            finally:
                session.restart()

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> Literal[False]:
        self._end(commits=kind is None)
        return False

    def close(self) -> None:
        """Roll back what is open, and close the database."""
        if not self._is_initialised:
            raise ProgrammingError("Base Connection.__init__ not called.")
        if self._session is not None:
            self.check()
            session, self._session = self._session, None
            with self._errors:
                session.close()

    def __del__(self) -> None:
        if self._session is not None:
            self._session.trace = None
            outside(partial(_abandon, self._session))

    def interrupt(self) -> None:
        """End what runs, from any thread."""
        self.session.interrupt()

    # What is added to SQLite

    def _add_callback(self, kind: str, name: str, arguments: int, hook: OnConnect) -> None:
        self.check()
        database = self.session.database
        if isinstance(database, RemoteDatabase):
            raise NotSupportedError(f"a {kind} can't be added from here: SQLite runs on the node")
        with self._errors:
            database.serving.extend(hook)
        self.callbacks.keep(kind, name, arguments, hook)

    @staticmethod
    def _check_count(count: int, error: type[errors.Error]) -> None:
        if not -1 <= count <= 127:
            raise error(f"a function takes from -1 (any number) to 127 arguments, not {count}")

    def create_function(
        self, name: str, narg: int, func: Callable[..., Any] | None, /, *, deterministic: bool = False
    ) -> None:
        """Add a function; None takes it away."""
        self._check_count(narg, OperationalError)
        call = self.callbacks.function(func)
        self._add_callback(
            "function",
            name,
            narg,
            lambda made: made.add_function(name, call, arguments=narg, deterministic=deterministic, innocuous=True),
        )

    def create_aggregate(self, name: str, n_arg: int, aggregate_class: Callable[[], Any] | None, /) -> None:
        """Add an aggregate function; None takes it away."""
        self._check_count(n_arg, OperationalError)
        group = self.callbacks.aggregate(aggregate_class)
        self._add_callback(
            "function", name, n_arg, lambda made: made.add_aggregate(name, group, arguments=n_arg, innocuous=True)
        )

    def create_window_function(self, name: str, num_params: int, aggregate_class: Callable[[], Any] | None, /) -> None:
        """Add an aggregate window function; None takes it away."""
        self._check_count(num_params, ProgrammingError)
        group = self.callbacks.aggregate(aggregate_class, is_window=True)
        self._add_callback(
            "function",
            name,
            num_params,
            lambda made: made.add_window_function(name, group, arguments=num_params, innocuous=True),
        )

    def create_collation(self, name: str, callback: Callable[[str, str], int] | None, /) -> None:
        """Add an order of texts; None takes it away."""
        if callback is not None and not callable(callback):
            raise TypeError("parameter must be callable")
        self._add_callback("collation", name, 0, lambda made: made.add_collation(name, callback))

    def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
        """Ask before each statement, action by action; what is not SQLITE_OK refuses it. None: ask no more."""
        callbacks = self.callbacks
        ask = authorizer_callback and callbacks.authorizer(authorizer_callback)
        self._add_callback("authorizer", "", 0, lambda made: made.ask_before(ask))
        self.session.is_asked = ask is not None

    def blobopen(self, table: str, column: str, row: int, /, *, readonly: bool = False, name: str = "main") -> Blob:
        """One value as a file."""
        self.check()
        return Blob(self, (name, table, column, row), readonly=readonly)

    def set_trace_callback(self, trace_callback: Callable[[str], object] | None) -> None:
        """Call with each statement that runs, as it was given; None: no more."""
        self.check()
        self.session.trace = trace_callback

    # Limits

    def getlimit(self, category: int, /) -> int:
        """A limit of SQLite; what this connection does not know is -1."""
        self.check()
        if not 0 <= category < _LIMIT_CATEGORIES:
            raise ProgrammingError("'category' is out of bounds")
        return self._limits.get(category, -1)

    def setlimit(self, category: int, limit: int, /) -> int:
        """Lower the length of SQL texts or the number of parameters; the value of before."""
        before = self.getlimit(category)
        if category not in self._limits:
            raise NotSupportedError("this limit is the database's own: it protects what others share")
        self._limits[category] = before if limit < 0 else min(limit, _LIMITS[category])
        return before

    def check_limits(self, sql: str) -> None:
        """Raise `OperationalError` where a statement has more parameters than may be."""
        limit = self._limits[sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER]
        if limit < _LIMITS[sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER] and len(self.session.names(sql)) > limit:
            raise OperationalError("too many SQL variables")

    # Whole databases

    def iterdump(self) -> Iterator[str]:
        """The database as SQL, a statement at a time."""
        self.check()
        lines: Iterator[str] = _iterdump(self)
        return lines

    def serialize(self, *, name: str = "main") -> bytes:
        """The database as a file of SQLite, as of now."""
        self.check()
        file = BytesIO()
        with self._errors:
            export_file(self.session.database, file, format="sqlite")
        return file.getvalue()

    def deserialize(self, data: bytes, /, *, name: str = "main") -> None:
        """Put the database that a file of SQLite holds in the place of this one, as one commit."""
        self.check()
        view = memoryview(data)
        if not view.c_contiguous:
            raise BufferError("memoryview: underlying buffer is not C-contiguous")
        if not bytes(view[:16]).startswith(b"SQLite format 3\0"):
            raise with_code(DatabaseError, "file is not a database", "SQLITE_NOTADB")
        file = BytesIO(view)
        self.session.end(commits=False)
        with self._errors:
            import_file(self.session.database, file, replace=True, kind="sqlite")

    def backup(self, target: sqlite3.Connection | Connection, **how: Any) -> None:
        """Copy the database, as of now, into one of `sqlite3`, or in the place of another one of Virke."""
        if isinstance(target, Connection):
            target.deserialize(self.serialize())
            return
        copy = sqlite3.connect(":memory:")
        copy.deserialize(self.serialize())
        copy.backup(target, **how)
        copy.close()
