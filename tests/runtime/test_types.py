"""What type checkers say of a program; `make types` checks this file: an error that is not found is an unused ignore."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, assert_type

import pytest

import virke
from virke.aio import AsyncTransaction
from virke.engine.results import QueryResult
from virke.engine.transaction import Transaction
from virke.runtime import AsyncVirkeDB, SyncVirkeDB, VirkeDB
from virke.runtime.opened import Opened
from virke.runtime.place import Source
from virke.runtime.session import Session
from virke.stores.memory import memory_store


async def both(db: VirkeDB) -> tuple[Any, int, list[str]]:
    """The object as it is: awaited, a call is what it says."""
    result = await db.query("SELECT 1")
    assert_type(result, QueryResult)
    count = await db.execute("CREATE TABLE IF NOT EXISTS t (a)")
    assert_type(count, int)
    results = await db.batch(["SELECT 1"])
    assert_type(results, list[QueryResult])
    async with db.transaction() as transaction:
        assert_type(transaction, AsyncTransaction)

    async def again(transaction: AsyncTransaction) -> str:
        return str(transaction.version)

    assert_type(await db.run_transaction(again), str)
    return result.rows, count, [entry.name for entry in await db.schema()]


def called(db: VirkeDB) -> tuple[Any, int, list[str]]:
    """And it is that without an `await`, too."""
    rows, count = db.query("SELECT 1").rows, db.execute("CREATE TABLE IF NOT EXISTS t (a)") + 0
    with db.transaction() as transaction:
        assert_type(transaction, Transaction)
    assert_type(db.run_transaction(lambda transaction: 7), int)
    return rows, count, [entry.name for entry in db.schema()]


async def with_options(db: AsyncVirkeDB) -> int:
    """What `VirkeDB` takes, its two kinds take."""
    result = await db.query("SELECT 1", consistency="strong", timeout_ms=1000)
    async with db.transaction(read_only=True) as transaction:
        assert_type(transaction, AsyncTransaction)
    numbers = [row async for row in db.query_rows("SELECT 1")]
    return len(numbers) + len(result.rows) + await db.execute("SELECT 1", idempotency_key="a-key")


async def forgets(db: AsyncVirkeDB) -> None:
    """Annotated as awaited, what is not is found."""
    db.execute("SELECT 1").close()
    db.query("SELECT 1").rows  # type: ignore[attr-defined]  # noqa: B018
    db.execute("SELECT 1")  # type: ignore[unused-coroutine]


async def awaits_too_much(db: SyncVirkeDB) -> None:
    """Annotated as called, an `await` is found."""
    await db.query("SELECT 1")  # type: ignore[misc]


@pytest.fixture
def db() -> VirkeDB:
    """A request's database."""
    store = memory_store()
    virke.connect("app", store, create=True).close()
    return VirkeDB(Session(Opened(Source(store)), "app"))


def test_what_is_checked_runs(db: VirkeDB) -> None:
    assert asyncio.run(with_options(db)) == 2
    assert asyncio.run(both(db)) == called(db) == ([(1,)], 0, ["t"])
    with pytest.raises(TypeError):
        asyncio.run(awaits_too_much(_Called(db)))  # type: ignore[arg-type]


def _said_by_forgetting(db: VirkeDB) -> str:
    try:
        asyncio.run(forgets(db))
    except AttributeError as error:
        said = str(error)
    gc.collect()  # the error held the coroutine
    return said


def test_what_is_found_would_fail(db: VirkeDB) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        said = _said_by_forgetting(db)
    assert "has no attribute 'rows'" in said


class _Called:
    """A database that is called even on an event loop."""

    def __init__(self, db: VirkeDB) -> None:
        self._db = db

    def query(self, sql: str) -> QueryResult:
        return QueryResult([], [], None)  # type: ignore[arg-type]
