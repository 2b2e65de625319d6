"""The async twin of a database: the same calls, awaited, carried out by threads of the event loop.

An adapter and nothing more (decision 0008): SQLite is synchronous, and there is one code path. Knows the public
`Database` and `Transaction`; knows no SQL, page or store.

1. A call never blocks the event loop.
2. A cancelled call runs to its end in its thread; what it wrote stays written. Cancel means "do not wait", not "undo".
3. All calls of one transaction run on one thread, one after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

from virke.core.settings import Settings
from virke.engine.database import Database
from virke.engine.results import Flushed, QueryResult, Request, SchemaEntry, Status
from virke.engine.sqlite import Parameters
from virke.engine.transaction import Transaction
from virke.errors import Invalid
from virke.opening import Where
from virke.opening import connect as connect_sync

T = TypeVar("T")
THREADS_MAX = 16


async def connect(name: str, store: Where = None, *, create: bool = False) -> AsyncDatabase:
    """Open a database; see `virke.connect` for the arguments and errors."""
    database = await asyncio.to_thread(connect_sync, name, store, create=create)
    return AsyncDatabase(database)


class AsyncDatabase:
    """A `Database` whose calls are awaited; every method does and raises what its twin does."""

    def __init__(self, database: Database) -> None:
        self.sync = database
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="virke-aio")
        self._closed = False

    async def _call(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise Invalid(f"database {self.sync.name!r} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @property
    def version(self) -> int:
        """The newest version that this process knows."""
        return self.sync.version

    @property
    def bookmark(self) -> str:
        """The bookmark of `version`."""
        return self.sync.bookmark

    async def query(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        bookmark: str | None = None,
        meta: bool = False,
    ) -> QueryResult:
        """See `Database.query`."""
        return await self._call(
            partial(self.sync.query, sql, params, consistency=consistency, bookmark=bookmark, meta=meta),
        )

    async def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `Database.execute`."""
        return await self._call(partial(self.sync.execute, sql, params, idempotency_key=idempotency_key))

    async def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run`."""
        return await self._call(partial(self.sync.run, sql, params, idempotency_key=idempotency_key, meta=meta))

    async def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run_script`."""
        return await self._call(partial(self.sync.run_script, sql, params, idempotency_key=idempotency_key, meta=meta))

    async def batch(
        self, statements: Sequence[str | Request], *, idempotency_key: str | None = None, meta: bool = False
    ) -> list[QueryResult]:
        """See `Database.batch`."""
        return await self._call(partial(self.sync.batch, statements, idempotency_key=idempotency_key, meta=meta))

    async def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `Database.executemany`."""
        return await self._call(partial(self.sync.executemany, sql, list(rows), idempotency_key=idempotency_key))

    def transaction(self, *, idempotency_key: str | None = None) -> AsyncTransaction:
        """See `Database.transaction`; use it with `async with`."""
        return AsyncTransaction(partial(self.sync.transaction, idempotency_key=idempotency_key))

    async def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `Database.schema`."""
        return await self._call(partial(self.sync.schema, table))

    async def status(self) -> Status:
        """See `Database.status`."""
        return await self._call(self.sync.status)

    async def settings(self) -> Settings:
        """See `Database.settings`."""
        return await self._call(self.sync.settings)

    async def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """See `Database.change_settings`."""
        return await self._call(partial(self.sync.change_settings, changes))

    async def flush(self) -> Flushed:
        """See `Database.flush`."""
        return await self._call(self.sync.flush)

    async def promote(self) -> Status:
        """See `Database.promote`."""
        return await self._call(self.sync.promote)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._closed:
            return
        try:
            await self._call(self.sync.close)
        finally:
            self._closed = True
            self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncTransaction:
    """A `Transaction` whose calls are awaited, on a thread of its own."""

    def __init__(self, begin: Callable[[], Transaction]) -> None:
        self._begin = begin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="virke-transaction")
        self._transaction: Transaction | None = None

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _open(self) -> Transaction:
        if self._transaction is None:
            raise Invalid("the transaction has not begun: use `async with database.transaction()`")
        return self._transaction

    async def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """See `Transaction.query`."""
        return await self._call(partial(self._open().query, sql, params))

    async def execute(self, sql: str, params: Parameters = ()) -> int:
        """See `Transaction.execute`."""
        return await self._call(partial(self._open().execute, sql, params))

    async def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        """See `Transaction.run_script`."""
        return await self._call(partial(self._open().run_script, sql, params))

    async def commit(self) -> int:
        """See `Transaction.commit`."""
        return await self._call(self._open().commit)

    async def rollback(self) -> None:
        """See `Transaction.rollback`."""
        await self._call(self._open().rollback)

    async def __aenter__(self) -> AsyncTransaction:
        self._transaction = await self._call(self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._call(partial(self._open().__exit__, kind, error, trace))
        finally:
            self._thread.shutdown(wait=False)
