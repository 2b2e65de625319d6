"""What type checkers know of a request's database.

A method's result is both, what it says and a coroutine of it: `await db.query(…)` and `db.query(…).rows` check alike. To
have a forgotten `await` found, annotate with `AsyncVirkeDB`; to have one that is too many found, with `SyncVirkeDB`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from virke.aio import AsyncTransaction
    from virke.core.moments import At
    from virke.engine.results import QueryResult, Request, SchemaEntry
    from virke.engine.sqlite import Parameters
    from virke.engine.transaction import Transaction
    from virke.runtime.blocks import RequestRows

    class Result(QueryResult, Coroutine[Any, Any, QueryResult]):
        """A `QueryResult`, or what becomes one when it is awaited."""

    class Results(list[QueryResult], Coroutine[Any, Any, list[QueryResult]]):
        """A list of results, or what becomes one when it is awaited."""

    class Entries(list[SchemaEntry], Coroutine[Any, Any, list[SchemaEntry]]):
        """A list of the schema's entries, or what becomes one when it is awaited."""

    class Count(int, Coroutine[Any, Any, int]):
        """A number of rows, or what becomes one when it is awaited."""


T = TypeVar("T")


class AsyncVirkeDB(Protocol):
    """A `VirkeDB` in async code."""

    @property
    def bookmark(self) -> str | None:
        """See `VirkeDB.bookmark`."""

    async def query(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        meta: bool = False,
        read_only: bool = False,
        at: At | None = None,
        timeout_ms: int | None = None,
    ) -> QueryResult:
        """See `VirkeDB.query`."""

    async def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `VirkeDB.execute`."""

    async def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `VirkeDB.run`."""

    async def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `VirkeDB.run_script`."""

    async def batch(
        self, statements: Sequence[str | Request], *, idempotency_key: str | None = None
    ) -> list[QueryResult]:
        """See `VirkeDB.batch`."""

    async def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `VirkeDB.executemany`."""

    async def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `VirkeDB.schema`."""

    def query_rows(self, sql: str, params: Parameters = (), *, timeout_ms: int | None = None) -> RequestRows:
        """See `VirkeDB.query_rows`."""

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
    ) -> AbstractAsyncContextManager[AsyncTransaction]:
        """See `VirkeDB.transaction`."""

    async def run_transaction(
        self, fn: Callable[[AsyncTransaction], Awaitable[T]], *, idempotency_key: str | None = None
    ) -> T:
        """See `VirkeDB.run_transaction`."""


class SyncVirkeDB(Protocol):
    """A `VirkeDB` in code that is not async."""

    @property
    def bookmark(self) -> str | None:
        """See `VirkeDB.bookmark`."""

    def query(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        meta: bool = False,
        read_only: bool = False,
        at: At | None = None,
        timeout_ms: int | None = None,
    ) -> QueryResult:
        """See `VirkeDB.query`."""

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `VirkeDB.execute`."""

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `VirkeDB.run`."""

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `VirkeDB.run_script`."""

    def batch(self, statements: Sequence[str | Request], *, idempotency_key: str | None = None) -> list[QueryResult]:
        """See `VirkeDB.batch`."""

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `VirkeDB.executemany`."""

    def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `VirkeDB.schema`."""

    def query_rows(self, sql: str, params: Parameters = (), *, timeout_ms: int | None = None) -> RequestRows:
        """See `VirkeDB.query_rows`."""

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
    ) -> AbstractContextManager[Transaction]:
        """See `VirkeDB.transaction`."""

    def run_transaction(self, fn: Callable[[Transaction], T], *, idempotency_key: str | None = None) -> T:
        """See `VirkeDB.run_transaction`."""
