"""Every statement of a request sees one instant: the one at which the request came in (F20)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from tests.engine.world import CREATED_MS, Clock, make, reopen, store_of
from virke.engine.database import Database

pytestmark = pytest.mark.edge

DAY_MS: Final = 86_400_000
MOMENTS: Final = (CREATED_MS + 123, 0, 1, 951_782_399_999, 4_102_444_800_000)
"""Milliseconds in the fraction; the epoch; before a leap day's end; beyond 32 bits of seconds."""
ALL: Final = (
    "datetime('now'), CURRENT_TIMESTAMP, date('now'), time('now'), CURRENT_DATE, CURRENT_TIME, unixepoch(), "
    "unixepoch('now', 'subsec'), strftime('%s', 'now'), strftime('%f'), julianday('now'), "
    "datetime('now', 'subsec'), (SELECT datetime('now'))"
)


def expected(now_ms: int) -> tuple[object, ...]:
    """What `ALL` answers at `now_ms`."""
    seconds, ms = divmod(now_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    day, clock = moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S")
    whole = f"{day} {clock}"
    return (
        whole, whole, day, clock, day, clock, seconds,
        now_ms / 1000, str(seconds), f"{moment.second:02}.{ms:03}", pytest.approx(now_ms / DAY_MS + 2440587.5, abs=1e-9),
        f"{whole}.{ms:03}", whole,
    )  # fmt: skip


@pytest.mark.parametrize("now_ms", MOMENTS)
def test_every_way_to_ask_for_the_time_gives_the_request_s_instant(db: Database, clock: Clock, now_ms: int) -> None:
    """In a query, in a write and in a transaction; asked twice, so that prepared statements are used too."""
    clock.now_ms = now_ms
    sql = f"SELECT {ALL}"
    for _ in range(2):
        assert db.query(sql).rows == [expected(now_ms)]
        assert db.run(sql).rows == [expected(now_ms)]
    with db.transaction() as transaction:
        assert transaction.query(sql).rows == [expected(now_ms)]


def test_the_next_request_has_its_own_instant(db: Database, clock: Clock) -> None:
    """Also on a connection whose snapshot did not move."""
    seen = []
    for _ in range(3):
        clock.now_ms += 5
        seen.append(db.query("SELECT unixepoch('now', 'subsec') * 1000").rows[0][0])
    assert seen == [CREATED_MS + 5, CREATED_MS + 10, CREATED_MS + 15]


@pytest.fixture
def ticking(clock: Clock) -> Database:
    """A database whose wall clock goes on by 1 s whenever anybody looks at it."""
    database = make(clock=clock)
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at DEFAULT CURRENT_TIMESTAMP, ms)")
    clock.tick_ms = 1000
    return database


NOW: Final = "INSERT INTO t (ms) VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER))"


def moments(database: Database) -> list[tuple[object, ...]]:
    return list(database.query("SELECT DISTINCT at, ms FROM t ORDER BY ms").rows)


def instant(now_ms: int) -> tuple[object, ...]:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"), now_ms


def test_a_batch_a_script_and_executemany_have_one_instant(ticking: Database, clock: Clock) -> None:
    """Defaults, functions and every statement agree, whatever the clock does meanwhile."""
    came = [clock.now_ms]
    ticking.batch([NOW] * 5)
    came.append(clock.now_ms)
    ticking.run_script(";".join([NOW] * 5))
    came.append(clock.now_ms)
    ticking.executemany(NOW, [()] * 5)
    assert moments(ticking) == [instant(now_ms) for now_ms in came]


def test_an_interactive_transaction_has_one_instant(ticking: Database, clock: Clock) -> None:
    """That of its beginning, however long it stays open."""
    began = clock.now_ms
    with ticking.transaction() as transaction:
        for _ in range(3):
            clock.now_ms += 60_000
            transaction.execute(NOW)
        assert transaction.query("SELECT DISTINCT unixepoch() FROM t").rows == [(began // 1000,)]
    assert moments(ticking) == [instant(began)]


def test_a_request_that_lost_a_race_keeps_its_instant(ticking: Database, clock: Clock) -> None:
    """It runs again on the new state as if it had run at once."""
    reopen(store_of(ticking)).execute("INSERT INTO t (at, ms) VALUES (0, 0)")
    came = clock.now_ms
    ticking.batch([NOW, NOW])
    assert ticking._writer.conflicts == 1
    assert moments(ticking) == [(0, 0), instant(came)]


def test_triggers_and_views_see_the_request_s_instant(ticking: Database, clock: Clock) -> None:
    ticking.run_script(
        "CREATE VIEW v AS SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS ms;"
        "CREATE TRIGGER g AFTER INSERT ON t WHEN new.ms > 0 BEGIN INSERT INTO t (ms) SELECT -ms FROM v; END;"
    )
    came = clock.now_ms
    ticking.execute(NOW)
    assert ticking.query("SELECT sum(ms), max(ms), count(DISTINCT at) FROM t").rows == [(0, came, 1)]
