"""Values of Python's own types, and of numpy's, go into every call as docs/python.md says, embedded and on a node."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest

import virke
from virke import aio

EAST: Final = timezone(timedelta(hours=2))
ID: Final = UUID("12345678-1234-5678-1234-567812345678")


class Index:
    """An integer of another library."""

    def __index__(self) -> int:
        return 5


class Kind:
    """A numpy type, as far as it is looked at."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Scalar:
    """A scalar as numpy has them: its buffer would be a blob to SQLite, were it not asked for its value."""

    ndim = 0

    def __init__(self, value: object, kind: str = "i", in_us: object = None) -> None:
        self.value, self.dtype, self.in_us = value, Kind(kind), in_us

    def item(self) -> object:
        return self.value

    def astype(self, name: str) -> Scalar:
        assert name == "datetime64[us]"
        return Scalar(self.in_us, "M")


class Colour(enum.IntEnum):
    RED = 3


class Word(str, enum.Enum):  # noqa: UP042 - str() of it is not its value
    HI = "hi"


class NoMoment(datetime):
    """pandas.NaT: a moment that equals nothing."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


VALUES: Final[list[tuple[Any, object, str]]] = [
    (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05", "text"),
    (datetime(2026, 1, 2, 3, 4, 5, 60), "2026-01-02 03:04:05.000060", "text"),
    (datetime(2026, 1, 2, 1, 4, 5, tzinfo=EAST), "2026-01-01 23:04:05+00:00", "text"),
    (NoMoment(2026, 1, 2), None, "null"),
    (date(2026, 1, 2), "2026-01-02", "text"),
    (time(3, 4, 5), "03:04:05", "text"),
    (Decimal("1.50"), "1.50", "text"),
    (ID, str(ID), "text"),
    (Index(), 5, "integer"),
    (Colour.RED, 3, "integer"),
    (Word.HI, "hi", "text"),
    (Scalar(7), 7, "integer"),
    (Scalar(True), 1, "integer"),
    (Scalar(0.5), 0.5, "real"),
    (Scalar(date(2026, 1, 2), "M"), "2026-01-02", "text"),
    (Scalar(1_767_323_045_000_000_000, "M", datetime(2026, 1, 2, 3, 4, 5)), "2026-01-02 03:04:05", "text"),
]


@pytest.mark.parametrize(("value", "stored", "kind"), VALUES)
def test_a_value_is_stored_the_same_by_every_call(
    db: virke.Database, where: str, value: Any, stored: object, kind: str
) -> None:
    db.execute("CREATE TABLE t (v)")
    insert, named = "INSERT INTO t VALUES (?)", "INSERT INTO t VALUES (:v)"
    db.execute(insert, (value,))
    db.execute(named, {"v": value})
    db.run(insert, [value], idempotency_key="k")
    db.run(insert, [value], idempotency_key="k")
    db.batch([(insert, (value,)), (named, {"v": value})])
    db.run_script(f"{insert}; SELECT 1", (value,))
    assert db.executemany(insert, [(value,), [value]]) == 2
    db.executemany(named, iter([{"v": value}]))
    with db.transaction() as tx:
        tx.execute(insert, (value,))
        tx.executemany(insert, [(value,)])
        tx.batch([(insert, (value,))])
        assert tx.query("SELECT ?", (value,)).one() == (stored,)

    async def elsewhere() -> None:
        async with await aio.connect(db.name, where) as twin:
            await twin.execute(insert, (value,))
            await twin.executemany(insert, [(value,)])
            assert (await twin.query("SELECT ?", (value,))).one() == (stored,)

    asyncio.run(elsewhere())
    assert db.query("SELECT v, typeof(v) FROM t").rows == [(stored, kind)] * 14
    for _ in range(2):  # the second is prepared already
        assert db.query("SELECT ?1, typeof(?1)", (value,)).one() == (stored, kind)
        assert db.query("SELECT :a, typeof(:a)", {"a": value}).one() == (stored, kind)
    with db.query_rows("SELECT ?", (value,)) as rows:
        assert list(rows) == [(stored,)]


def test_moments_sort_as_text_and_sqlite_reads_them(db: virke.Database) -> None:
    db.execute("CREATE TABLE t (n INTEGER, at TEXT)")
    moments = [
        datetime(999, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 30, tzinfo=EAST),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
    ]
    db.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(moments)))
    assert [n for (n,) in db.query("SELECT n FROM t ORDER BY at")] == [0, 1, 2, 3, 4]
    read = "SELECT datetime(at), strftime('%f', at) FROM t WHERE n IN (1, 3) ORDER BY n"
    assert db.query(read).rows == [("2025-12-31 22:30:00", "00.000"), ("2026-01-01 00:00:00", "00.005")]
    assert db.query("SELECT ? < CURRENT_TIMESTAMP", (datetime(2026, 1, 1),)).one() == (1,)


class Table:
    """What is many values, and says so."""

    ndim = 2

    def item(self) -> object:
        raise ValueError("can only convert an array of size 1")

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")


WRONG: Final[list[tuple[Any, str]]] = [
    (timedelta(1), "total_seconds"),
    ([1], "json.dumps"),
    ({"a": 1}, "json.dumps"),
    (1j, "use int, float"),
    (Table(), "use int, float"),
    (Scalar(timedelta(1), "m"), "total_seconds"),
]


@pytest.mark.parametrize(("value", "hint"), WRONG)
def test_a_value_without_a_meaning_is_invalid_with_a_hint_and_nothing_ran(
    db: virke.Database, value: Any, hint: str
) -> None:
    insert = "INSERT INTO item (name) VALUES (?)"
    calls: list[Callable[[], object]] = [
        lambda: db.execute(insert, (value,)),
        lambda: db.query(insert, (value,)),
        lambda: db.query("SELECT ?", (value,)),
        lambda: list(db.query_rows("SELECT ?", (value,))),
        lambda: db.batch([(insert, ("x",)), (insert, (value,))]),
        lambda: db.run_script(f"INSERT INTO item (name) VALUES ('y'); {insert}", (value,)),
        lambda: db.executemany(insert, [("x",), (value,)]),
    ]
    for call in calls:
        with pytest.raises(virke.Invalid, match="not supported") as caught:
            call()
        assert hint in str(caught.value.context["hint"])
    assert db.query("SELECT count(*) FROM item").one() == (0,)


def test_a_result_iterates_and_gives_dicts_and_its_only_row(db: virke.Database, where: str) -> None:
    db.executemany("INSERT INTO item (id, name) VALUES (?, ?)", [(1, "tea"), (2, "jam")])
    result = db.query("SELECT id, name FROM item ORDER BY id")
    assert list(result) == [(1, "tea"), (2, "jam")]
    assert len(result) == 2
    assert result.dicts() == [{"id": 1, "name": "tea"}, {"id": 2, "name": "jam"}]
    with pytest.raises(virke.Invalid, match="2 rows"):
        result.one()
    nothing = db.query("SELECT id FROM item WHERE id = 9")
    assert (list(nothing), nothing.dicts(), bool(nothing)) == ([], [], True)
    with pytest.raises(virke.NotFound):
        nothing.one()
    with pytest.raises(virke.Invalid, match="'id'") as caught:
        db.query("SELECT a.id, b.id FROM item a, item b").dicts()
    assert "AS" in str(caught.value.context["hint"])

    async def twin() -> list[object]:
        async with await aio.connect(db.name, where) as there:
            found = await there.query("SELECT name FROM item WHERE id = ?", (1,))
            return [found.one(), found.dicts(), *found]

    assert asyncio.run(twin()) == [("tea",), [{"name": "tea"}], ("tea",)]
