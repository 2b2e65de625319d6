"""The async twin answers what the sync database answers, and never blocks the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from virke import aio
from virke.errors import Conflict, Invalid, SqlError
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
            return answers

    expected = [1, [(2,)], [[], [("c",)]], 2, [(4,)], ["t"], 3, 3, 0, True, [(1,)], "object"]
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
