"""The dialect for asyncio, embedded and on a node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, exc, func, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool

from tests.sqlalchemy.test_dialect import Base, Item, Tag

metadata = MetaData()
numbers = Table("numbers", metadata, Column("id", Integer, primary_key=True), Column("word", String), schema="hr")


def run(url: str, work: Callable[[AsyncEngine], Awaitable[None]], **options: str) -> None:
    """Do some work with an engine of its own."""

    async def main() -> None:
        wanted = make_url(url).set(drivername="sqlite+aiovirke").update_query_dict(options)
        engine = create_async_engine(wanted)
        try:
            await work(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


def test_an_orm_program_runs_with_asyncio(url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add(Item(name="tea", price=4, tags=[Tag(word="hot")]))
            await session.commit()
            session.add(Item(name="tea", price=4))
            with pytest.raises(exc.IntegrityError):
                await session.commit()
            await session.rollback()
            assert await session.scalar(select(func.count()).select_from(Item)) == 1

        async def add(n: int) -> None:
            async with AsyncSession(engine) as session, session.begin():
                session.add(Item(name=f"n{n}", price=n))

        await asyncio.gather(*map(add, range(8)))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM item")) == 9

    run(url, work)


def test_rows_are_streamed_and_schemas_are_named(url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.execute(numbers.insert(), [{"word": str(n)} for n in range(1000)])
        async with engine.connect() as connection:
            found = await connection.stream(select(numbers.c.word).order_by(numbers.c.id))
            assert [row.word async for row in found] == [str(n) for n in range(1000)]

    run(url, work, schemas="hr")


def test_a_cancelled_task_leaves_the_engine_usable(url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        slow = text(
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT max(n) FROM c"
        )

        async def ask() -> None:
            async with engine.connect() as connection:
                await connection.execute(slow)

        async with engine.connect() as connection:  # the database is made
            await connection.execute(text("SELECT 1"))
        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 7")) == 7

    run(url, work)


def test_the_isolation_level_is_an_option(url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await alone.execute(text("CREATE TABLE t (v)"))
            await alone.execute(text("INSERT INTO t VALUES (1)"))
            async with engine.connect() as other:
                assert await other.scalar(text("SELECT count(*) FROM t")) == 1

    run(url, work)


def test_engines_keep_connections_where_those_see_one_database() -> None:
    named = create_async_engine("sqlite+aiovirke:///a?store=memory://aio")
    alone = create_async_engine("sqlite+aiovirke://")
    assert (type(named.pool), type(alone.pool)) == (AsyncAdaptedQueuePool, StaticPool)
