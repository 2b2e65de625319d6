"""The database of one request, as programs see it: awaited in async code, called in all other.

A facade: what is done is `Session`'s, how it is carried out `Calls`'s.

1. On the thread of a running event loop every method returns a coroutine; elsewhere it returns what it says. It is asked
   at each call, so one object serves async views, threads of theirs and background tasks alike.
2. A call never blocks the event loop: what is not answered from memory at once runs in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from virke.errors import NotHere
from virke.runtime.blocks import RequestRows, RequestTransaction
from virke.runtime.calls import Calls, Translate, ensure_open, is_awaited_here
from virke.runtime.session import Session, check_lasts_no_longer

if TYPE_CHECKING:
    from virke.aio import AsyncTransaction
    from virke.core.moments import At
    from virke.engine.database import Database
    from virke.engine.results import QueryResult, Request, SchemaEntry
    from virke.engine.sqlite import Parameters
    from virke.engine.transaction import Transaction
    from virke.runtime.typed import Count, Entries, Result, Results

T = TypeVar("T")


class VirkeDB:
    """The database of a request. Every method does, and raises, what `Database`'s does."""

    def __init__(self, session: Session, translate: Translate | None = None) -> None:
        self._session = session
        self._calls = Calls(session, translate)

    def __repr__(self) -> str:
        return "VirkeDB()"

    @property
    def bookmark(self) -> str | None:
        """The bookmark of this request's newest write; None if it wrote nothing."""
        return self._session.wrote

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
    ) -> Result:
        """Run one statement of any kind; its rows. See `Database.query`."""
        terms = {"consistency": consistency, "meta": meta, "read_only": read_only, "at": at, "timeout_ms": timeout_ms}
        is_plain = not any(terms.values())

        def work(database: Database) -> QueryResult:
            return self._session.query(database, sql, params, {} if is_plain else terms)

        return cast("Result", self._calls.do(work, partial(self._query_here, sql, params) if is_plain else None))

    def _query_here(self, sql: str, params: Parameters, database: Database) -> QueryResult:
        if self._session.is_behind_bookmark(database):
            raise NotHere("the visitor's bookmark has to be met")
        check_lasts_no_longer(sql)
        return database.query_here(sql, params)

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> Count:
        """Run one statement as a transaction; the rows affected. See `Database.execute`."""

        def work(database: Database) -> int:
            ask = partial(database.run, sql, params, idempotency_key=idempotency_key)
            return self._session.write(database, sql, ask).rows_affected

        return cast("Count", self._calls.do(work))

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> Result:
        """Run one statement of any kind as a transaction. See `Database.run`."""

        def work(database: Database) -> QueryResult:
            ask = partial(database.run, sql, params, idempotency_key=idempotency_key, meta=meta)
            return self._session.write(database, sql, ask)

        return cast("Result", self._calls.do(work))

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> Result:
        """Run `;`-separated statements as one transaction. See `Database.run_script`."""

        def work(database: Database) -> QueryResult:
            ask = partial(database.run_script, sql, params, idempotency_key=idempotency_key, meta=meta)
            return self._session.write(database, sql, ask)

        return cast("Result", self._calls.do(work))

    def batch(self, statements: Sequence[str | Request], *, idempotency_key: str | None = None) -> Results:
        """Run statements as one transaction, all or nothing; one result for each. See `Database.batch`."""
        return cast("Results", self._calls.do(lambda on: self._session.batch(on, statements, idempotency_key)))

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> Count:
        """Run one statement with each row as one transaction; the rows affected. See `Database.executemany`."""
        given = list(rows)
        return cast("Count", self._calls.do(lambda on: self._session.executemany(on, sql, given, idempotency_key)))

    def schema(self, table: str | None = None) -> Entries:
        """The schema, or one table's. See `Database.schema`."""

        def work(database: Database) -> list[SchemaEntry]:
            self._session.reach_bookmark(database)
            return database.schema(table)

        return cast("Entries", self._calls.do(work))

    def query_rows(self, sql: str, params: Parameters = (), *, timeout_ms: int | None = None) -> RequestRows:
        """The rows of one reading statement, one at a time: with `async for` or `for`. See `Database.query_rows`."""
        return RequestRows(self._session, self._calls.translating, sql, {"params": params, "timeout_ms": timeout_ms})

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
    ) -> RequestTransaction:
        """An interactive transaction: with `async with` or `with`. See `Database.transaction`."""
        options: dict[str, Any] = {"idempotency_key": idempotency_key, "read_only": read_only, "immediate": immediate}
        return RequestTransaction(self._session, self._calls.translating, options | {"foreign_keys": foreign_keys})

    @overload
    def run_transaction(
        self, fn: Callable[[AsyncTransaction], Awaitable[T]], *, idempotency_key: str | None = None
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def run_transaction(self, fn: Callable[[Transaction], T], *, idempotency_key: str | None = None) -> T: ...

    def run_transaction(self, fn: Callable[..., Any], *, idempotency_key: str | None = None) -> Any:
        """Run `fn(transaction)` and commit; again after a `Conflict`. In async code `fn` is async. See `Database`."""
        if is_awaited_here():
            return self._run_transaction(fn, idempotency_key)
        last: list[tuple[Transaction, int]] = []

        def remembered(transaction: Transaction) -> object:
            last[:] = [(transaction, transaction.version)]
            return fn(transaction)

        def work(database: Database) -> object:
            self._session.reach_bookmark(database)
            done = database.run_transaction(remembered, idempotency_key=idempotency_key)
            transaction, began_at = last[0]
            self._session.ended(database, transaction.version, began_at)
            return done

        return self._calls.do(work)

    async def _run_transaction(self, fn: Callable[[AsyncTransaction], Awaitable[T]], key: str | None) -> T:
        last: list[tuple[AsyncTransaction, int]] = []

        async def remembered(transaction: AsyncTransaction) -> T:
            last[:] = [(transaction, transaction.version)]
            return await fn(transaction)

        with self._calls.translating():
            await ensure_open(self._session)
            with self._session.borrowed() as twin:
                await twin.call(partial(self._session.reach_bookmark, twin.sync))
                done = await twin.run_transaction(remembered, idempotency_key=key)
                transaction, began_at = last[0]
                self._session.ended(twin.sync, transaction.version, began_at)
                return done
