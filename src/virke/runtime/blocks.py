"""What a request does over several calls: a transaction, and rows one at a time; in `async with` and `with` alike.

1. The database stays open until the block, or the rows, end.
2. On the thread of an event loop only the async form works: the other would block it.
3. An error leaves a block as the framework understands it, like one of a single call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from virke.aio import AsyncTransaction
from virke.errors import UsageError, VirkeError
from virke.runtime.calls import ensure_open, is_awaited_here
from virke.runtime.session import Session

if TYPE_CHECKING:
    from virke.aio import AsyncDatabase
    from virke.engine.sqlite import Row
    from virke.engine.transaction import Transaction

Translating = Callable[[], AbstractContextManager[None]]


def _check_may_block(instead: str) -> None:
    if is_awaited_here():
        raise UsageError(f"this code runs on the event loop, which would be blocked: write `{instead}`")


class RequestTransaction:
    """A transaction of a request, which commits at the end of its block, or is rolled back by an error."""

    def __init__(self, session: Session, translating: Translating, options: dict[str, Any]) -> None:
        self._session = session
        self._translating = translating
        self._options = options
        self._stack = ExitStack()
        self._twin: AsyncDatabase
        self._sync: Transaction
        self._async: AsyncTransaction
        self._began_at = 0

    def __enter__(self) -> Transaction:
        _check_may_block("async with db.transaction()")
        with self._translating(), ExitStack() as stack:
            self._twin = stack.enter_context(self._session.borrowed())
            self._session.reach_bookmark(self._twin.sync)
            self._sync = self._twin.sync.transaction(**self._options).__enter__()
            self._began_at = self._sync.version
            self._stack = stack.pop_all()
        return self._sync

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._translating(), self._stack:
            self._sync.__exit__(kind, error, trace)
            if isinstance(error, VirkeError):
                raise error
            if kind is None:
                self._session.ended(self._twin.sync, self._sync.version, self._began_at)

    async def __aenter__(self) -> AsyncTransaction:
        with self._translating():
            await ensure_open(self._session)
            with ExitStack() as stack:
                self._twin = stack.enter_context(self._session.borrowed())
                await self._twin.call(partial(self._session.reach_bookmark, self._twin.sync))
                self._async = await self._twin.transaction(**self._options).__aenter__()
                self._began_at = self._async.version
                self._stack = stack.pop_all()
        return self._async

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._translating(), self._stack:
            await self._async.__aexit__(kind, error, trace)
            if isinstance(error, VirkeError):
                raise error
            if kind is None:
                self._session.ended(self._twin.sync, self._async.version, self._began_at)


class RequestRows:
    """The rows of one statement, read once: with `async for` or `for`, in a block where they are not read to their end.

    `columns` has their names from the first row on.
    """

    def __init__(self, session: Session, translating: Translating, sql: str, options: dict[str, Any]) -> None:
        self._session = session
        self._translating = translating
        self._sql = sql
        self._options = options
        self._close = ExitStack()
        self._async_rows_read: AsyncGenerator[Row] | None = None
        self.columns: list[str] = []

    def __iter__(self) -> Iterator[Row]:
        _check_may_block("async for row in db.query_rows(…)")
        return self._close.enter_context(closing(self._iterate_rows()))

    def _iterate_rows(self) -> Generator[Row]:
        with self._translating(), self._session.borrowed() as twin:
            self._session.reach_bookmark(twin.sync)
            with closing(twin.sync.query_rows(self._sql, **self._options)) as rows:
                self.columns = rows.columns
                yield from rows

    def __enter__(self) -> RequestRows:
        return self

    def __exit__(self, *ending: object) -> None:
        self._close.close()

    def __aiter__(self) -> AsyncIterator[Row]:
        self._async_rows_read = rows = self._async_rows()
        return rows

    async def _async_rows(self) -> AsyncGenerator[Row]:
        with self._translating():
            await ensure_open(self._session)
            with self._session.borrowed() as twin:
                await twin.call(partial(self._session.reach_bookmark, twin.sync))
                async with twin.query_rows(self._sql, **self._options) as rows:
                    self.columns = await rows.columns()
                    async for row in rows:
                        yield row

    async def __aenter__(self) -> RequestRows:
        return self

    async def __aexit__(self, *ending: object) -> None:
        if self._async_rows_read is not None:
            await self._async_rows_read.aclose()
