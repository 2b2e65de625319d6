"""URLs, transactions and errors of the dialect, embedded and on a node."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Numeric, String, create_engine, exc, func, inspect, make_url, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import QueuePool, SingletonThreadPool

import virke
from tests.servers.node import Node
from tests.sqlalchemy.conftest import url_on
from virke.sqlalchemy.dialect import VirkeDialect


class Base(DeclarativeBase):
    """The models of these tests."""


class Item(Base):
    """A thing that is sold."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2, asdecimal=True))
    made: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    tags: Mapped[list[Tag]] = relationship(back_populates="item", cascade="all, delete-orphan")


class Tag(Base):
    """A word about an item."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    word: Mapped[str]
    item: Mapped[Item] = relationship(back_populates="tags")


def test_an_orm_program_runs(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Item(name="tea", price=Decimal("4.50"), tags=[Tag(word="hot"), Tag(word="green")])])
        session.add_all([Item(name=f"n{n}", price=Decimal(n)) for n in range(2000)])
        session.commit()
        tea = session.scalars(select(Item).where(Item.name == "tea")).one()
        assert (tea.price, isinstance(tea.made, datetime), {tag.word for tag in tea.tags}) == (
            Decimal("4.50"),
            True,
            {"hot", "green"},
        )
        tea.price += 1
        session.delete(tea.tags[0])
        session.flush()
        with session.begin_nested() as mark:
            session.add(Tag(word="lost", item=tea))
            session.flush()
            mark.rollback()
        session.commit()
        assert session.scalar(select(func.count()).select_from(Tag)) == 1
        assert session.scalar(select(Item.price).where(Item.name == "tea")) == Decimal("5.50")
        session.add(Item(name="tea", price=Decimal(1)))
        with pytest.raises(exc.IntegrityError) as caught:
            session.commit()
        assert isinstance(caught.value.orig, sqlite3.IntegrityError)
        session.rollback()
        session.add(Tag(item_id=99_999, word="of nothing"))
        with pytest.raises(exc.IntegrityError):  # foreign keys are checked
            session.commit()


def test_a_transaction_is_rolled_back_and_others_see_it_only_when_it_is_committed(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    insert = text("INSERT INTO tag (id, item_id, word) VALUES (:id, 1, 'x')")
    count = text("SELECT count(*) FROM tag")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name, price) VALUES (1, 'a', 1)"))
    with engine.connect() as one, engine.connect() as other:
        one.execute(insert, {"id": 1})
        assert (one.scalar(count), other.scalar(count)) == (1, 0)
        one.rollback()
        one.execute(insert, [{"id": 2}, {"id": 3}])
        one.commit()
        assert other.scalar(count) == 2
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
        one.execute(insert, {"id": 4})
        with engine.connect() as other:
            assert other.scalar(count) == 3


def test_with_autocommit_off_a_transaction_is_one_snapshot_with_its_ddl(url: str) -> None:
    engine = create_engine(make_url(url).update_query_dict({"autocommit": "0"}))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (v)"))
    with engine.connect() as reading, engine.connect() as writing:
        assert reading.scalar(text("SELECT count(*) FROM t")) == 0
        writing.execute(text("INSERT INTO t VALUES (1)"))
        writing.commit()
        assert reading.scalar(text("SELECT count(*) FROM t")) == 0
        with pytest.raises(exc.OperationalError, match="another commit came first"):
            reading.execute(text("INSERT INTO t VALUES (2)"))
        reading.rollback()
        assert reading.scalar(text("SELECT count(*) FROM t")) == 1
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE gone (v)"))
        connection.rollback()
    assert inspect(engine).get_table_names() == ["t"]
    engine.dispose()


def test_virkes_own_tables_are_not_reflected(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (v)"))
        connection.execute(text("CREATE TABLE virke_like (v)"))
    name = engine.url.database
    assert name is not None
    assert inspect(engine).get_table_names() == ["t"]


def test_regexp_is_there_embedded(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+virke:///app?store=local:{tmp_path}")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 'virke' REGEXP '^v.*e$'")) == 1
    engine.dispose()


def test_what_is_temporary_lives_as_long_as_its_transaction(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TEMP TABLE t AS SELECT 5 AS v"))
        assert connection.scalar(text("SELECT v FROM t")) == 5
        connection.rollback()
        with pytest.raises(exc.OperationalError, match="no such table"):
            connection.execute(text("SELECT v FROM t"))


def arguments(url: str) -> tuple[Any, dict[str, Any]]:
    names, given = VirkeDialect().create_connect_args(make_url(url))
    return names, given


HOW = {"check_same_thread": False, "create": True}


@pytest.mark.parametrize(
    ("url", "name", "given"),
    [
        ("sqlite+virke:///app", "app", {"store": None}),
        ("sqlite+virke:///app?store=s3://bucket/x", "app", {"store": "s3://bucket/x"}),
        ("sqlite+virke:///app?store=memory://x&create=0", "app", {"store": "memory://x", "create": False}),
        ("sqlite+virke:///app?read_only=1&store=x", "app", {"store": "x", "read_only": True, "create": False}),
        ("sqlite+virke://", ":memory:", {}),
        ("sqlite+virke://:vk_x@host/app", "app", {"store": "https://host", "token": "vk_x"}),
        ("virke://:vk_x@host:81/app?tls=0", "app", {"store": "http://host:81", "token": "vk_x"}),
        ("sqlite+virke://[::1]:81/app?tls=0", "app", {"store": "http://[::1]:81", "token": None}),
        ("sqlite+virke:///app?timeout=9&autocommit=off", "app", {"store": None, "timeout": 9.0, "autocommit": False}),
    ],
)
def test_a_url_says_which_database(url: str, name: str, given: dict[str, Any]) -> None:
    assert arguments(url) == ([name], HOW | given)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite+virke:////var/app.db", "is a path"),
        ("sqlite+virke:///app?stor=x", "unknown option 'stor'"),
        ("sqlite+virke://me:vk_x@host/app", "no user names"),
        ("sqlite+virke://host/app?store=x", "not both"),
        ("sqlite+virke:///app?tls=0", "no host"),
        ("sqlite+virke:///app?create=perhaps", "1 or 0"),
    ],
)
def test_a_url_that_means_nothing_is_an_error(url: str, words: str) -> None:
    with pytest.raises(exc.ArgumentError, match=words):
        arguments(url)


def test_a_database_that_is_not_there_is_an_error_unless_it_may_be_made(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+virke:///none?store=local:{tmp_path}&create=0")
    with pytest.raises(exc.OperationalError, match="none"):
        engine.connect()
    assert virke.list_databases(f"local:{tmp_path}") == []


def test_engines_keep_connections_where_those_see_one_database() -> None:
    named, alone = create_engine("sqlite+virke:///a?store=memory://sa"), create_engine("sqlite+virke://")
    assert (type(named.pool), type(alone.pool)) == (QueuePool, SingletonThreadPool)
    with alone.begin() as connection:
        connection.execute(text("CREATE TABLE t (v)"))
    with alone.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM t")) == 0
    alone.dispose()


def test_the_token_is_hidden_where_the_engine_is_shown(served: Node) -> None:
    url = make_url(url_on(served, "app")).set(password="vk_secret")
    assert "vk_secret" not in repr(create_engine(url))
