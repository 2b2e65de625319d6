"""Versions and times: what history lists, what a time means, and what is said of what it does not have."""

from __future__ import annotations

import pytest

from tests.engine.world import CREATED_MS, Clock, image, make, reopen, store_of
from virke.core.collect import DAY_MS
from virke.core.ids import Version
from virke.core.moments import as_iso_utc
from virke.engine.database import Database
from virke.engine.history import History
from virke.errors import Invalid, ReadOnly, TooLarge, VirkeError

DAYS = "2023-11-14T22:13:20Z"


def filled(clock: Clock, rows: int = 12, size: int = 3000) -> Database:
    """A database with a table and a row for each further version, ten seconds apart."""
    database = make(clock=clock)
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for number in range(rows):
        clock.pass_s(10)
        database.execute("INSERT INTO t VALUES (?, randomblob(?))", (number, size))
    return database


def test_versions_are_listed_newest_first_with_what_they_changed() -> None:
    clock = Clock()
    database = filled(clock, rows=3)
    database.change_settings({"max_attempts": 5})
    found = database.versions()
    assert [(one.version, one.made_by) for one in found] == [
        (5, "write"),
        (4, "write"),
        (3, "write"),
        (2, "write"),
        (1, "create"),
    ]
    assert [one.time_ms for one in found] == [CREATED_MS + at for at in (30_000, 20_000, 10_000, 0, 0)]
    assert [one.size_bytes for one in found] == [database.snapshot(one.version).page_count * 4096 for one in found]
    assert [one.pages_changed for one in found[-2:]] == [2, 0]
    assert database.versions(2) == found[:2]


def test_spilled_merged_and_reopened_history_lists_the_same() -> None:
    clock = Clock()
    database = filled(clock, rows=150, size=9000)
    before = database.versions(200)
    assert len(before) == 152
    database.upkeep(None)
    assert len(database.snapshot().root.segments) < 6, "it was merged"
    assert reopen(store_of(database), clock=clock).versions(200) == before


@pytest.mark.parametrize("limit", [0, -1, 10_001, True, 1.5, "3"])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    with pytest.raises(Invalid, match="limit"):
        make().versions(limit)  # type: ignore[arg-type]


def test_a_time_means_the_newest_version_that_was_there_then() -> None:
    clock = Clock()
    database = filled(clock, rows=40, size=9000)
    database.upkeep(None)

    def seen(at: int | str) -> int:
        return int(str(database.query("SELECT count(*) FROM t", at=at).rows[0][0]))

    assert seen("0s") == 40
    assert seen("5s") == 39
    clock.pass_s(3600)
    assert seen("-1h") == 40
    for number in (0, 7, 20, 39):
        made_ms = CREATED_MS + 10_000 * (number + 1)
        assert seen(as_iso_utc(made_ms)) == number + 1
        assert seen(as_iso_utc(made_ms + 9000)) == number + 1
        assert seen(as_iso_utc(made_ms - 1000)) == number
        assert seen(number + 3) == number + 1


def test_a_batch_reads_one_version_and_writes_nothing() -> None:
    database = filled(Clock())
    count = "SELECT count(*), max(a) FROM t"
    assert [one.rows for one in database.batch([count, ("SELECT ?", (7,))], at=5)] == [[(3, 2)], [(7,)]]
    assert database.batch([], at=5) == []
    for statements in (["DELETE FROM t"], [count, "DELETE FROM t"]):
        with pytest.raises(ReadOnly):
            database.batch(statements, at=5)
    with pytest.raises(Invalid, match="idempotency key"):
        database.batch([count], at=5, idempotency_key="k")
    assert database.query(count).rows == [(12, 11)]


def test_the_results_of_a_batch_share_one_limit() -> None:
    """P11: many results that fit alone do not fit together."""
    database = filled(Clock())
    database.change_settings({"max_result_mb": 1})
    large = "SELECT randomblob(700000)"
    assert len(database.batch([large], at=5)) == 1
    with pytest.raises(TooLarge, match="together"):
        database.batch([large, large], at=5)


def refused(database: Database, at: object) -> VirkeError:
    with pytest.raises(VirkeError) as caught:
        database.query("SELECT 1", at=at)  # type: ignore[arg-type]
    return caught.value


def test_what_history_does_not_have_is_not_found_and_says_what_there_is() -> None:
    clock = Clock()
    database = filled(clock)
    future = refused(database, 15)
    assert (future.kind, future.context["hint"]) == ("not_found", "versions 1 to 14 can be read")
    assert "in the future" in refused(database, "2099-01-01").message
    assert DAYS in refused(database, "2001-01-01").message
    assert refused(database, "1h").kind == "not_found"
    assert refused(database, "noon").kind == "invalid"
    assert refused(database, 0).kind == "not_found"


def test_what_was_collected_is_not_found_and_names_the_oldest_and_the_setting() -> None:
    clock = Clock()
    database = filled(clock, rows=60, size=9000)
    database.change_settings({"history_days": 1})
    database.upkeep(None)
    clock.pass_s(2 * DAY_MS / 1000)
    database.collect(grace_ms=0)
    database.collect(grace_ms=0)
    oldest = database.status().history_from_version
    assert oldest > 2
    found = database.versions(100)
    assert (found[-1].version, found[-1].pages_changed) == (oldest, None), (
        "what a merge took in is not told apart any more"
    )
    by_version, by_time = refused(database, 2), refused(database, as_iso_utc(CREATED_MS + 10_000))
    for error in (by_version, by_time):
        assert error.kind == "not_found"
        assert f"version {oldest}" in str(error.context["hint"])
        assert "history_days (now 1)" in str(error.context["hint"])
    assert as_iso_utc(found[-1].time_ms) in str(by_time.context["hint"])
    assert database.query("SELECT count(*) FROM t", at=oldest).rows == [(oldest - 2,)]


def test_pages_that_changed_between_two_versions_are_those_that_were_written() -> None:
    """Whatever was merged since: not where a page lies decides, but which versions wrote it."""
    clock = Clock()
    database = filled(clock, rows=30, size=20_000)
    volume = database._volume
    before = {at: image(database.snapshot(at)) for at in (2, 9, 20, 32)}

    def differing(first: int, second: int) -> set[int]:
        old, new = before[first], before[second]
        pages = range(1, len(new) // 4096 + 1)
        return {page for page in pages if old[(page - 1) * 4096 : page * 4096] != new[(page - 1) * 4096 : page * 4096]}

    def changed(first: int, second: int) -> set[int]:
        return set(History(volume).changed(volume.branch.latest().root, Version(first), Version(second)))

    for _ in range(2):
        for first, second in ((2, 9), (9, 20), (2, 32), (20, 32)):
            assert changed(first, second) == differing(first, second)
        assert changed(20, 20) == set()
        database.upkeep(None)


def test_extensions_that_are_not_understood_only_hide_what_they_say() -> None:
    from virke.core.extensions import RESTORES, Extension, restores_in, with_restore

    made = with_restore((Extension(7, b"x"),), Version(5), Version(3))
    assert (restores_in(made), [one.type_number for one in made]) == ({5: 3}, [RESTORES, 7])
    assert restores_in((Extension(RESTORES, b"\x85"),)) == {}
    for version in range(6, 100):
        made = with_restore(made, Version(version), Version(1))
    assert list(restores_in(made)) == list(range(68, 100))
