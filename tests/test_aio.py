"""The async twin answers what the sync database answers, and never blocks the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from virke import aio
from virke.errors import Conflict, Denied, Invalid, SqlError, TimedOut
from virke.stores.memory import memory_store

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(work)


def test_every_call_of_the_twin_answers_as_the_database_does() -> None:
    """Execute, run, batch, executemany, script, query, schema, settings, status and flush are adapted."""

    async def work() -> list[object]:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.run_script("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            answers: list[object] = [await db.execute("INSERT INTO t(x) VALUES (?)", ("a",))]
            answers.append((await db.run("INSERT INTO t(x) VALUES ('b') RETURNING id")).rows)
            results = await db.batch(["UPDATE t SET x = 'c'", ("SELECT x FROM t WHERE id = ?", (1,))])
            answers.append([result.rows for result in results])
            answers.append(await db.executemany("INSERT INTO t(x) VALUES (?)", [("d",), ("e",)]))
            answers.append((await db.query("SELECT count(*) FROM t", consistency="strong")).rows)
            answers.append([entry.name for entry in await db.schema()])
            answers.append((await db.change_settings({"max_attempts": 3})).max_attempts)
            answers.append((await db.settings()).max_attempts)
            answers.append((await db.flush()).pushed)
            answers.append((await db.status()).version == db.version)
            answers.append((await db.query("SELECT 1", bookmark=db.bookmark)).rows)
            answers.append((await db.promote()).tier)
            answers.append((await db.upkeep(None)).due)
            return answers

    expected = [1, [(2,)], [[], [("c",)]], 2, [(4,)], ["t"], 3, 3, 0, True, [(1,)], "object", ()]
    assert run(work()) == expected


def test_concurrent_writes_of_one_loop_are_all_there() -> None:
    """Fifty awaited inserts at once are fifty rows."""

    async def work() -> object:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.execute("CREATE TABLE t(x UNIQUE)")
            done = await asyncio.gather(*(db.execute("INSERT INTO t VALUES (?)", (n,)) for n in range(50)))
            return sum(done), (await db.query("SELECT count(*) FROM t")).rows

    assert run(work()) == (50, [(50,)])


def test_a_transaction_commits_rolls_back_and_loses_a_race_honestly() -> None:
    """The block's end commits, an exception rolls back, a rival's commit is a Conflict."""

    async def work() -> object:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.execute("CREATE TABLE t(x)")
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t VALUES (1)")
                await tx.run_script("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")
                assert (await tx.query("SELECT count(*) FROM t")).rows == [(3,)]
            with pytest.raises(SqlError):  # noqa: PT012  the block is what fails
                async with db.transaction() as tx:
                    await tx.execute("DELETE FROM t")
                    await tx.execute("no SQL")
            with pytest.raises(Conflict):  # noqa: PT012
                async with db.transaction() as tx:
                    await tx.query("SELECT * FROM t")
                    await asyncio.create_task(db.execute("INSERT INTO t VALUES (4)"))
                    await tx.execute("DELETE FROM t")
            async with db.transaction() as tx:
                await tx.execute("DELETE FROM t")
                await tx.rollback()
            return (await db.query("SELECT count(*) FROM t")).rows

    assert run(work()) == [(4,)]


def test_a_transaction_that_has_not_begun_says_so() -> None:
    """Calling it outside `async with` is an error that names the way."""

    async def work() -> None:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.transaction().execute("SELECT 1")

    with pytest.raises(Invalid, match="async with"):
        run(work())


def test_a_closed_database_says_so_and_may_be_closed_again() -> None:
    async def work() -> None:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.close()
        await db.close()
        with pytest.raises(Invalid, match="closed"):
            await db.query("SELECT 1")

    run(work())


def test_a_write_past_a_transaction_of_the_same_task_is_an_error_at_that_line() -> None:
    """Those of other tasks wait for it."""

    async def work() -> object:
        async with await aio.connect("db", memory_store(), create=True) as db:
            await db.run_script("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
            async with db.transaction() as tx:
                await tx.execute("UPDATE t SET x = x + 1")
                for call in (db.execute, db.query, db.run_script):
                    with pytest.raises(Invalid, match="a transaction is open here"):
                        await call("UPDATE t SET x = 0")
                assert (await db.query("SELECT x FROM t")).rows == [(1,)]
                waiting = asyncio.create_task(db.execute("UPDATE t SET x = x * 10"))
                await asyncio.sleep(0)
            await waiting
            async with db.transaction(read_only=True):
                await db.execute("UPDATE t SET x = x + 1")
            return (await db.query("SELECT x FROM t")).rows

    assert run(work()) == [(21,)]


def test_run_transaction_awaits_its_function_again_after_a_lost_race() -> None:
    async def work() -> object:
        store = memory_store()
        async with await aio.connect("db", store, create=True) as db, await aio.connect("db", store) as rival:
            await db.run_script("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
            runs: list[object] = []

            async def add(tx: aio.AsyncTransaction) -> str:
                runs.append((await tx.query("SELECT x FROM t")).rows[0][0])
                if len(runs) == 1:
                    await rival.execute("UPDATE t SET x = 10")
                assert await tx.executemany("UPDATE t SET x = x + ?", [(1,), (2,)]) == 2
                return "done"

            return await db.run_transaction(add), runs, (await db.query("SELECT x FROM t")).rows

    assert run(work()) == ("done", [1, 10], [(13,)])


def test_rows_come_one_by_one_and_end_with_the_task_that_waits_for_them() -> None:
    """An endless result is read as far as it is asked for; the connection comes back each time."""

    async def work() -> object:
        async with await aio.connect("db", memory_store(), create=True) as db:
            numbers = "WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"
            total, seen = 0, 0
            async with db.query_rows(numbers) as rows:
                assert (await rows.columns(), await rows.decltypes()) == (["n"], [None])
                async for (n,) in rows:
                    assert isinstance(n, int)
                    total, seen = total + n, seen + 1
                    if seen == 1000:
                        break
            assert [row async for row in db.query_rows(f"{numbers} LIMIT 3")] == [(1,), (2,), (3,)]
            blocked = db.query_rows(f"{numbers} WHERE n < 0")
            task = asyncio.ensure_future(anext(blocked))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimedOut):
                await anext(blocked)
            while not db.sync._readers.idle:
                await asyncio.sleep(0.01)
            assert (await db.describe("SELECT 1")).read_only
            assert db.query_here("SELECT 1").rows == [(1,)]
            return total, (await db.query("SELECT 2", read_only=True, timeout_ms=1000)).rows

    assert run(work()) == (500_500, [(2,)])


def test_an_async_database_that_only_reads_refuses_writes() -> None:
    async def work() -> None:
        store = memory_store()
        await (await aio.connect("db", store, create=True)).close()
        async with await aio.connect("db", store, read_only=True) as db:
            with pytest.raises(Denied):
                await db.execute("CREATE TABLE t (n)")

    run(work())
