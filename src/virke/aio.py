"""The async twin of a database: the same calls, awaited, carried out by threads of the event loop.

An adapter and nothing more (decision 0008): SQLite is synchronous, and there is one code path. A database of a node is
adapted in the same way (decision 0021). Knows the public `Database` and `Transaction`; knows no SQL, page or store.

1. A call never blocks the event loop.
2. A cancelled call runs to its end in its thread; what it wrote stays written. Cancel means "do not wait", not "undo".
   Only rows that are read one by one (`query_rows`) end with the task that waits for them.
3. All calls of one transaction run on one thread, one after another.
4. A write past a transaction that the same task has open is an error at that line. Writes of other tasks, those that
   `asyncio.gather` makes included, wait for the transaction instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from virke.core.settings import Settings
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.results import (
    Diff,
    Flushed,
    QueryResult,
    Request,
    Restored,
    SchemaEntry,
    Status,
    Upkept,
    VersionEntry,
)
from virke.engine.rows import Rows
from virke.engine.sqlite import Description, OnConnect, Parameters, Row
from virke.engine.terms import Cancel
from virke.engine.transaction import Transaction, inside_transactions
from virke.engine.verifying import Verified
from virke.errors import Conflict, Invalid

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.opening import Where

T = TypeVar("T")
THREADS_MAX: Final = 16
CHUNK_ROWS_MAX: Final = 256
CHUNK_BYTES_MAX: Final = 64 << 10
"""Rows that are read one by one are fetched in chunks: up to so many, or the one with which so many bytes are reached."""


async def connect(
    name: str,
    store: Where = None,
    *,
    token: str | None = None,
    create: bool = False,
    read_only: bool = False,
    on_connect: OnConnect | None = None,
    upkeep: str | None = None,
    memory_mb: int | None = None,
) -> AsyncDatabase:
    """Open a database; see `virke.connect` for the arguments and errors."""
    from virke.opening import connect as connect_sync  # here alone: elsewhere a place opens databases by its own means

    database = await asyncio.to_thread(
        connect_sync,
        name,
        store,
        token=token,
        create=create,
        read_only=read_only,
        on_connect=on_connect,
        upkeep=upkeep,
        memory_mb=memory_mb,
    )
    return AsyncDatabase(database)


class AsyncDatabase:
    """A `Database` whose calls are awaited; every method does and raises what its twin does."""

    def __init__(self, database: Database, *, threads: Executor | None = None) -> None:
        """Calls run in `threads`, which stay the caller's; without them, in threads of this object's own."""
        self.sync = database
        self._owned = None if threads else ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="virke-aio")
        self._threads = threads or self._owned
        self._closed = False
        self._open: list[tuple[asyncio.Task[object] | None, Transaction]] = []
        """The transactions that are open, each with the task that began it."""

    async def call(self, call: Callable[[], T]) -> T:
        """Carry out what blocks, on `sync`, without blocking the event loop; rule 4 holds for it."""
        if self._closed:
            raise Invalid(f"database {self.sync.name!r} is closed")
        task = asyncio.current_task()
        mine = tuple(transaction for owner, transaction in self._open if owner is task)
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(_call_inside, mine, call))

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
        read_only: bool = False,
        at: At | None = None,
        timeout_ms: int | None = None,
        cancel: Cancel | None = None,
    ) -> QueryResult:
        """See `Database.query`."""
        return await self.call(
            partial(
                self.sync.query,
                sql,
                params,
                consistency=consistency,
                bookmark=bookmark,
                meta=meta,
                read_only=read_only,
                at=at,
                timeout_ms=timeout_ms,
                cancel=cancel,
            ),
        )

    def query_here(self, sql: str, params: Parameters = (), *, bookmark: str | None = None) -> QueryResult:
        """See `Database.query_here`; it is not awaited, because it never waits."""
        return self.sync.query_here(sql, params, bookmark=bookmark)

    def query_rows(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        bookmark: str | None = None,
        timeout_ms: int | None = None,
    ) -> AsyncRows:
        """See `Database.query_rows`; use it with `async for`, or `async with` where it is not read to its end."""
        cancel = Cancel()
        begin = partial(
            self.sync.query_rows,
            sql,
            params,
            consistency=consistency,
            bookmark=bookmark,
            timeout_ms=timeout_ms,
            cancel=cancel,
        )
        return AsyncRows(self.call, begin, cancel)

    async def describe(self, sql: str) -> Description:
        """See `Database.describe`."""
        return await self.call(partial(self.sync.describe, sql))

    async def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `Database.execute`."""
        return await self.call(partial(self.sync.execute, sql, params, idempotency_key=idempotency_key))

    async def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run`."""
        return await self.call(partial(self.sync.run, sql, params, idempotency_key=idempotency_key, meta=meta))

    async def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run_script`."""
        return await self.call(partial(self.sync.run_script, sql, params, idempotency_key=idempotency_key, meta=meta))

    async def batch(
        self,
        statements: Sequence[str | Request],
        *,
        idempotency_key: str | None = None,
        meta: bool = False,
        at: At | None = None,
    ) -> list[QueryResult]:
        """See `Database.batch`."""
        return await self.call(partial(self.sync.batch, statements, idempotency_key=idempotency_key, meta=meta, at=at))

    async def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `Database.executemany`."""
        return await self.call(partial(self.sync.executemany, sql, list(rows), idempotency_key=idempotency_key))

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
    ) -> AsyncTransaction:
        """See `Database.transaction`; use it with `async with`."""
        begin = partial(
            self.sync.transaction,
            idempotency_key=idempotency_key,
            read_only=read_only,
            immediate=immediate,
            foreign_keys=foreign_keys,
        )
        return AsyncTransaction(begin, self._open)

    async def run_transaction(
        self, fn: Callable[[AsyncTransaction], Awaitable[T]], *, idempotency_key: str | None = None
    ) -> T:
        """See `Database.run_transaction`; `fn` is an async function and is given an `AsyncTransaction`."""
        attempts = self.sync.known_settings.max_attempts
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(Environment().backoff_s(attempt - 1))
            try:
                async with self.transaction(idempotency_key=idempotency_key, immediate=attempt > 0) as transaction:
                    return await fn(transaction)
            except Conflict:
                if attempt == attempts - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `Database.schema`."""
        return await self.call(partial(self.sync.schema, table))

    async def status(self) -> Status:
        """See `Database.status`."""
        return await self.call(self.sync.status)

    async def versions(self, limit: int = 20) -> list[VersionEntry]:
        """See `Database.versions`."""
        return await self.call(partial(self.sync.versions, limit))

    async def diff(self, a: At, b: At | None = None) -> Diff:
        """See `Database.diff`."""
        return await self.call(partial(self.sync.diff, a, b))

    async def restore(self, at: At, *, dry_run: bool = False) -> Restored:
        """See `Database.restore`."""
        return await self.call(partial(self.sync.restore, at, dry_run=dry_run))

    async def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        """See `Database.verify`; `progress` is called in another thread."""
        return await self.call(partial(self.sync.verify, progress))

    async def upkeep(self, limit: int | None = 1) -> Upkept:
        """See `Database.upkeep`."""
        return await self.call(partial(self.sync.upkeep, limit))

    async def settings(self) -> Settings:
        """See `Database.settings`."""
        return await self.call(self.sync.settings)

    async def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """See `Database.change_settings`."""
        return await self.call(partial(self.sync.change_settings, changes))

    async def flush(self) -> Flushed:
        """See `Database.flush`."""
        return await self.call(self.sync.flush)

    async def promote(self) -> Status:
        """See `Database.promote`."""
        return await self.call(self.sync.promote)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._closed:
            return
        try:
            await self.call(self.sync.close)
        finally:
            self._closed = True
            if self._owned is not None:
                self._owned.shutdown(wait=False)

    async def __aenter__(self) -> AsyncDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _call_inside(transactions: tuple[Transaction, ...], call: Callable[[], T]) -> T:
    with inside_transactions(transactions):
        return call()


class AsyncRows:
    """The rows of one statement, one at a time; see `Rows`."""

    def __init__(
        self, call: Callable[[Callable[[], object]], Awaitable[object]], begin: Callable[[], Rows], cancel: Cancel
    ) -> None:
        self._call = call
        self._begin = begin
        self._cancel = cancel
        self._rows: Rows | None = None
        self._chunk: list[Row] = []
        self._is_over = False

    async def columns(self) -> list[str]:
        """The names of the columns; the statement begins with this or with its first row."""
        return (await self._started_rows()).columns

    async def decltypes(self) -> list[str | None]:
        """The declared type of each column; None for an expression."""
        return (await self._started_rows()).decltypes

    async def _started_rows(self) -> Rows:
        if self._rows is None:
            await self._in_thread(self._start_rows)
        assert self._rows is not None, "it was started, or that raised"
        return self._rows

    def _start_rows(self) -> None:
        self._rows = self._begin()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Do it in a thread; if the task does not wait for its end, no row may be missed: the statement ends."""
        try:
            await self._call(work)
        except asyncio.CancelledError:
            self.interrupt()
            raise

    def _fetch_chunk(self) -> None:
        if self._rows is None:
            self._start_rows()
        assert self._rows is not None, "it was started, or that raised"
        chunk: list[Row] = []
        left = CHUNK_BYTES_MAX
        while left > 0 and len(chunk) < CHUNK_ROWS_MAX:
            row = next(self._rows, None)
            if row is None:
                self._is_over = True
                break
            chunk.append(row)
            left -= sum(len(value) for value in row if isinstance(value, str | bytes))
        self._chunk = chunk[::-1]

    def __aiter__(self) -> AsyncRows:
        return self

    async def __anext__(self) -> Row:
        """The next row. Raises what `Rows` does."""
        self._cancel.check()
        if not self._chunk and not self._is_over:
            await self._in_thread(self._fetch_chunk)
        if not self._chunk:
            raise StopAsyncIteration
        return self._chunk.pop()

    def interrupt(self) -> None:
        """End the statement: the next row is `TimedOut`."""
        self._cancel.cancel()

    async def close(self) -> None:
        """Give the connection back; harmless when done."""
        self._is_over, self._chunk = True, []
        if self._rows is not None:
            await self._call(self._rows.close)

    async def __aenter__(self) -> AsyncRows:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncTransaction:
    """A `Transaction` whose calls are awaited, on a thread of its own."""

    def __init__(
        self, begin: Callable[[], Transaction], open_here: list[tuple[asyncio.Task[object] | None, Transaction]]
    ) -> None:
        self._begin = begin
        self._open_here = open_here
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

    async def executemany(self, sql: str, rows: Iterable[Parameters]) -> int:
        """See `Transaction.executemany`."""
        return await self._call(partial(self._open().executemany, sql, list(rows)))

    async def batch(self, statements: Sequence[str | Request]) -> list[QueryResult]:
        """See `Transaction.batch`."""
        return await self._call(partial(self._open().batch, statements))

    async def describe(self, sql: str) -> Description:
        """See `Transaction.describe`."""
        return await self._call(partial(self._open().describe, sql))

    def interrupt(self) -> None:
        """See `Transaction.interrupt`; from another task or thread."""
        self._open().interrupt()

    @property
    def version(self) -> int:
        """See `Transaction.version`."""
        return self._open().version

    async def commit(self) -> int:
        """See `Transaction.commit`."""
        return await self._call(self._open().commit)

    async def rollback(self) -> None:
        """See `Transaction.rollback`."""
        await self._call(self._open().rollback)

    async def __aenter__(self) -> AsyncTransaction:
        self._transaction = await self._call(self._begin)
        self._entry = (asyncio.current_task(), self._transaction)
        self._open_here.append(self._entry)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._open()
        self._open_here.remove(self._entry)  # in one step: loops of other threads change the list, too
        try:
            await self._call(partial(transaction.finish, is_good=kind is None))
        finally:
            self._thread.shutdown(wait=False)
