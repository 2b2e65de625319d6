"""The same connections and cursors for asyncio, in the shape of `aiosqlite`: each connection has a thread of its own.

Knows the connections of this package; knows no SQL.

1. A cancelled call runs to its end in its thread: cancel means "do not wait", not "undo". `interrupt` ends a statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from itertools import islice
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

from virke import dbapi
from virke.opening import Where

P = ParamSpec("P")
T = TypeVar("T")
CHUNK_ROWS: Final = 64


class Result(Generic[T]):
    """What may be awaited, or opened with `async with`, which closes it in the end."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._made: Any = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> T:
        self._made = made = await self._coroutine
        return made

    async def __aexit__(self, *ending: object) -> None:
        if hasattr(self._made, "close"):
            await self._made.close()


def _with_result(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Result[T]]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result[T]:
        return Result(function(*args, **kwargs))

    return call


class _Passed:
    """An attribute that is the one of `sync`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, made: Any, owner: type) -> Any:
        return getattr(made.sync, self._name)

    def __set__(self, made: Any, value: object) -> None:
        setattr(made.sync, self._name, value)


def _method_in_thread(name: str) -> Callable[..., Awaitable[Any]]:
    """A method that is the one of `sync`, run in the connection's thread."""

    async def call(self: Any, *given: Any, **how: Any) -> Any:
        return await self.run(getattr(self.sync, name), *given, **how)

    call.__name__, call.__doc__ = name, f"See `virke.dbapi`: `{name}`."
    return call


class Cursor:
    """`virke.dbapi.Cursor`, awaited."""

    description, rowcount, lastrowid = _Passed(), _Passed(), _Passed()
    arraysize, row_factory = _Passed(), _Passed()
    fetchone, fetchmany, fetchall, close = map(_method_in_thread, ("fetchone", "fetchmany", "fetchall", "close"))

    def __init__(self, connection: Connection, sync: dbapi.Cursor) -> None:
        self.connection, self.sync, self.run = connection, sync, connection.run

    async def execute(self, sql: str, parameters: Any = ()) -> Self:
        """See `virke.dbapi.Cursor.execute`."""
        await self.run(self.sync.execute, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Any) -> Self:
        """See `virke.dbapi.Cursor.executemany`."""
        await self.run(self.sync.executemany, sql, parameters)
        return self

    async def executescript(self, sql_script: str) -> Self:
        """See `virke.dbapi.Cursor.executescript`."""
        await self.run(self.sync.executescript, sql_script)
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        while rows := await self.fetchmany(CHUNK_ROWS):
            for row in rows:
                yield row

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ending: object) -> None:
        await self.close()


class Connection:
    """`virke.dbapi.Connection`, awaited; opened when it is awaited itself, or by `async with`."""

    in_transaction, isolation_level, autocommit, total_changes = _Passed(), _Passed(), _Passed(), _Passed()
    row_factory, text_factory = _Passed(), _Passed()
    commit, rollback, serialize, deserialize = map(
        _method_in_thread, ("commit", "rollback", "serialize", "deserialize")
    )
    create_function, create_aggregate = map(_method_in_thread, ("create_function", "create_aggregate"))
    create_window_function, create_collation = map(_method_in_thread, ("create_window_function", "create_collation"))
    set_trace_callback, set_authorizer = map(_method_in_thread, ("set_trace_callback", "set_authorizer"))
    set_progress_handler, load_extension = map(_method_in_thread, ("set_progress_handler", "load_extension"))
    enable_load_extension = _method_in_thread("enable_load_extension")

    def __init__(self, opens: Callable[[], dbapi.Connection]) -> None:
        self._opens = opens
        self._sync: dbapi.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="virke-dbapi")

    @property
    def sync(self) -> dbapi.Connection:
        """The connection itself, which belongs to its thread. Raises `ProgrammingError`: it is not open."""
        if self._sync is None:
            raise dbapi.ProgrammingError("Cannot operate on a closed database.")
        return self._sync

    @property
    def is_closed(self) -> bool:
        """Whether it is not open: not yet, or not any more."""
        return self._sync is None

    async def run(self, call: Callable[..., T], *given: Any, **how: Any) -> T:
        """Call something in the connection's thread. Raises `ProgrammingError`: it is closed."""
        self.sync  # noqa: B018
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *given, **how))

    async def _open_sync(self) -> Self:
        if self._sync is None:
            opening = self._thread.submit(self._opens)
            try:
                self._sync = await asyncio.wrap_future(opening)
            except BaseException:
                opening.add_done_callback(_close_unwanted)
                self._thread.shutdown(wait=False)
                raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open_sync().__await__()

    async def __aenter__(self) -> Self:
        return await self._open_sync()

    async def __aexit__(self, *ending: object) -> None:
        await self.close()

    @_with_result
    async def cursor(self) -> Cursor:
        """See `virke.dbapi.Connection.cursor`."""
        return Cursor(self, await self.run(self.sync.cursor))

    @_with_result
    async def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """See `virke.dbapi.Connection.execute`."""
        return Cursor(self, await self.run(self.sync.execute, sql, parameters))

    @_with_result
    async def executemany(self, sql: str, parameters: Any) -> Cursor:
        """See `virke.dbapi.Connection.executemany`."""
        return Cursor(self, await self.run(self.sync.executemany, sql, parameters))

    @_with_result
    async def executescript(self, sql_script: str) -> Cursor:
        """See `virke.dbapi.Connection.executescript`."""
        return Cursor(self, await self.run(self.sync.executescript, sql_script))

    @_with_result
    async def execute_insert(self, sql: str, parameters: Any = ()) -> Any:
        """Run one INSERT; a row with the id that it gave."""
        cursor = await self.run(self.sync.execute, sql, parameters)
        return await self.run(lambda: cursor.execute("SELECT ?", (cursor.lastrowid,)).fetchone())

    @_with_result
    async def execute_fetchall(self, sql: str, parameters: Any = ()) -> list[Any]:
        """Run one statement; all of its rows."""
        return await self.run(lambda: self.sync.execute(sql, parameters).fetchall())

    async def iterdump(self) -> AsyncIterator[str]:
        """The database as SQL, a statement at a time."""
        lines = await self.run(self.sync.iterdump)
        while part := await self.run(lambda: list(islice(lines, CHUNK_ROWS))):
            for line in part:
                yield line

    async def backup(self, target: Connection | sqlite3.Connection, **how: Any) -> None:
        """Copy the database, as of now, into another one."""
        data = await self.run(self.sync.serialize)
        if isinstance(target, Connection):
            await target.deserialize(data)
            return
        copy = sqlite3.connect(":memory:")
        copy.deserialize(data)
        copy.backup(target, **how)
        copy.close()

    async def interrupt(self) -> None:
        """End what runs."""
        self.sync.interrupt()

    def stop(self) -> None:
        """As `close`, without waiting: where no event loop is left that could."""
        if self._sync is not None:
            self._thread.submit(self._sync.close)
            self._sync = None
            self._thread.shutdown(wait=False)

    async def close(self) -> None:
        """Roll back what is open, and close the database; harmless when closed."""
        if self._sync is not None:
            try:
                await self.run(self._sync.close)
            finally:
                self._sync = None
                self._thread.shutdown(wait=False)


def _close_unwanted(opening: Future[dbapi.Connection]) -> None:
    """Close what was opened for a task that does not wait for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def connect(name: str, store: Where = None, token: str | None = None, **how: Any) -> Connection:
    """A connection that is opened when it is awaited; arguments and errors are those of `virke.dbapi.connect`."""
    return Connection(partial(dbapi.connect, name, store, token, **how))
