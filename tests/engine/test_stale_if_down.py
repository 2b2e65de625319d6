"""While a store is down, reads go on from what is held, for as long as the setting says and never beyond what was promised."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.errors import Unavailable
from virke.opening import connect
from virke.stores.faulty import At, FaultyStore, Refuse
from virke.stores.memory import memory_store


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def down_after(database_stale_ms: int) -> tuple[Database, Clock, FaultyStore]:
    """A warm database whose store refuses everything from now on."""
    store = memory_store()
    with connect("x", store, create=True) as maker:
        maker.execute("CREATE TABLE t (v)")
        maker.execute("INSERT INTO t VALUES (1)")
        maker.change_settings({"stale_if_down_ms": database_stale_ms})
    clock = Clock()
    faulty = FaultyStore(store, [At(n, Refuse()) for n in range(20, 2000)])
    environment = replace(Environment(), monotonic=clock, sleep=lambda seconds: None)
    database = connect("x", faulty.store, background=False, environment=environment)
    assert database.query("SELECT v FROM t").rows == [(1,)]
    while len(faulty.log) < 19:
        database.query("SELECT v FROM t", consistency="strong")
    return database, clock, faulty


def test_reads_go_on_for_as_long_as_the_setting_says() -> None:
    database, clock, _ = down_after(5000)
    mark = database.bookmark
    for clock.now, stale in ((0.5, None), (3.0, 3000), (4.9, 4900)):
        assert database.query("SELECT v FROM t").rows == [(1,)]
        assert database.query("SELECT v FROM t", bookmark=mark).rows == [(1,)]
        assert database.serving.stale_ms == stale
    with pytest.raises(Unavailable):
        database.query("SELECT v FROM t", consistency="strong")
    clock.now = 5.0
    with pytest.raises(Unavailable):
        database.query("SELECT v FROM t")


def test_without_the_setting_a_read_is_never_older_than_promised() -> None:
    database, clock, _ = down_after(0)
    clock.now = 0.9
    assert database.query("SELECT v FROM t").rows == [(1,)]
    clock.now = 1.0
    with pytest.raises(Unavailable):
        database.query("SELECT v FROM t")
