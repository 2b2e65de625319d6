"""The twin for asyncio has the shape of `aiosqlite`, on a store and on a node."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from virke import dbapi
from virke.dbapi import aio

TABLE = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"


def test_a_program_of_aiosqlite_runs(where: str, name: str) -> None:
    async def main() -> None:
        async with aio.connect(name, where, create=True) as db:
            await db.executescript(TABLE)
            async with db.execute("INSERT INTO item (name) VALUES (?)", ("tea",)) as cursor:
                assert (cursor.lastrowid, cursor.rowcount, db.in_transaction) == (1, 1, True)
            await db.executemany("INSERT INTO item (name) VALUES (?)", [("jam",), ("salt",)])
            await db.commit()
            db.row_factory = sqlite3.Row
            async with db.execute("SELECT name FROM item ORDER BY id") as cursor:
                assert [row["name"] async for row in cursor] == ["tea", "jam", "salt"]
            cursor = await db.execute("SELECT id FROM item ORDER BY id")
            assert (tuple(await cursor.fetchone()), len(await cursor.fetchmany(1)), len(await cursor.fetchall())) == (
                (1,),
                1,
                1,
            )
            assert [tuple(row) for row in await db.execute_fetchall("SELECT count(*) FROM item")] == [(3,)]
            assert tuple(await db.execute_insert("INSERT INTO item (name) VALUES ('x')")) == (4,)
            await db.rollback()
            async with db.cursor() as cursor:
                await cursor.execute("SELECT max(id) FROM item")
                assert tuple(await cursor.fetchone()) == (3,)

    asyncio.run(main())


def test_a_dump_of_it_makes_the_same_database(where: str, name: str) -> None:
    async def main() -> str:
        async with aio.connect(name, where, create=True) as db:
            await db.executescript(TABLE + "; INSERT INTO item (name) VALUES ('tea')")
            return "\n".join([line async for line in db.iterdump()])

    copy = sqlite3.connect(":memory:")
    copy.executescript(asyncio.run(main()))
    assert copy.execute("SELECT * FROM item").fetchall() == [(1, "tea")]
    copy.close()


def test_connections_of_one_task_wait_for_each_other(where: str, name: str) -> None:
    """The writes of many tasks are all there, each a transaction of its own connection."""

    async def add(number: int) -> None:
        async with aio.connect(name, where, timeout=30) as db:
            for _ in range(20):
                try:
                    await db.execute("INSERT INTO item (name) VALUES (?)", (str(number),))
                    await db.commit()
                    return
                except dbapi.OperationalError as error:
                    if not error.retryable:
                        raise
            raise AssertionError("it lost every time")

    async def main() -> int:
        async with aio.connect(name, where, create=True) as db:
            await db.executescript(TABLE)
            await asyncio.gather(*map(add, range(8)))
            [(count,)] = await db.execute_fetchall("SELECT count(*) FROM item")
            return int(count)

    assert asyncio.run(main()) == 8


def test_errors_are_those_of_the_connection_and_closing_twice_is_harmless() -> None:
    async def main() -> None:
        db = await aio.connect(":memory:")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await db.execute("SELECT * FROM no_table")
        await db.create_function("twice", 1, lambda value: value * 2)
        assert await db.execute_fetchall("SELECT twice(21)") == [(42,)]
        cursor = await db.execute("SELECT 1")
        async with aio.connect(":memory:") as other:
            await (await db.executescript("CREATE TABLE copied (a)")).close()
            await db.backup(other)
            assert await other.execute_fetchall("SELECT name FROM sqlite_schema") == [("copied",)]
        await db.close()
        await db.close()
        with pytest.raises(dbapi.ProgrammingError, match="closed"):
            await db.execute("SELECT 1")
        with pytest.raises(dbapi.ProgrammingError, match="closed"):
            await cursor.fetchone()
        with pytest.raises(dbapi.OperationalError):
            await aio.connect("nothing", "memory://no-such-database-here")

    asyncio.run(main())
