"""What is run ahead of the root, step by step: where writes of this process and of others stand in it, and who is told (P1, P2, P4, P5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.engine.world import Clock
from tests.promises.ledger import insert, opened, settled, tokens
from tests.promises.test_pushing import deferred_of, journal_of, other_commits
from virke.engine import deferred as module
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.engine.programs import Program
from virke.engine.results import QueryResult
from virke.engine.snapshot import SnapshotGone, snapshot_gone
from virke.errors import Denied, SqlError, Unavailable, VirkeError
from virke.stores.base import Store

SEEN = "SELECT token FROM entry ORDER BY rowid"


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


@pytest.fixture
def two(store: Store, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """Two processes with one journal."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other:
        yield database, other


def shown(database: Database) -> list[object]:
    """What a read that asks the store for nothing shows."""
    database._freshness.show()
    return [row[0] for row in database.query(SEEN, consistency="bounded").rows]


# Another process appends


def test_p4_what_another_process_appends_is_put_above_what_is_pending_already(two: tuple[Database, Database]) -> None:
    """Neither the last write that was known nor those before it are run a second time."""
    database, other = two
    insert(database, "a")
    insert(database, "b")
    insert(other, "c")
    insert(other, "d")
    assert shown(database) == ["a", "b", "c", "d"]


def test_p4_a_write_that_another_process_appends_just_before_is_below_the_next(
    two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between this process's look at the journal and its lock."""
    database, other = two
    insert(database, "a")
    journal = journal_of(database)
    appending = journal.appending

    def appended_first() -> AbstractContextManager[None]:
        monkeypatch.setattr(journal, "appending", appending)
        insert(other, "b")
        return appending()

    monkeypatch.setattr(journal, "appending", appended_first)
    assert database.execute("UPDATE entry SET filler = 1") == 2
    assert shown(database) == ["a", "b"]


def test_p4_pending_writes_are_shown_above_the_newest_root_that_is_known(
    two: tuple[Database, Database], store: Store, tmp_path: Path
) -> None:
    """Another process pushed over a third one's commit, and appended more: by the push this process learns of that commit."""
    database, other = two
    insert(database, "a")
    other_commits(store, tmp_path)
    assert other.flush().pushed == 1
    insert(other, "b")
    deferred, branch = deferred_of(database), database._volume.branch
    assert deferred.view(branch.latest().root) is not None
    assert deferred._below is branch.latest().root
    assert shown(database) == ["theirs", "a", "b"]


def test_p4_a_write_above_several_that_were_found_is_pushed_by_its_pages_with_them(
    two: tuple[Database, Database],
) -> None:
    """It is kept with the state that it ran on, which is what the last of them left."""
    database, other = two
    for token in "ab":
        insert(other, token, 9000)
    insert(database, "c", 9000)
    before = database.query("SELECT token, filler FROM entry").rows
    database._writer.commit = None  # type: ignore[assignment, method-assign]
    assert database.flush().pushed == 3
    assert database.query("SELECT token, filler FROM entry", consistency="strong").rows == before


def test_p4_under_another_name_the_journal_is_compared_with_the_root_from_its_beginning(
    two: tuple[Database, Database],
) -> None:
    """What was known of the journal says nothing of the one that it became, though its numbers are lower."""
    database, other = two
    insert(database, "a")
    assert shown(database) == ["a"]
    assert other.flush().pushed == 1
    deferred = deferred_of(database)
    deferred._seen = (b"another journal.", 99)
    contents = deferred._read_journal()
    assert database._volume.branch.latest().root.pushed(contents.journal_id) == contents.settled == 1


def test_p4_where_reads_may_be_behind_a_pushed_write_is_looked_for_by_one_that_is_not(
    two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain read of the root could still show the one before the push, and the write would be in neither."""
    database, other = two
    insert(database, "a")
    assert other.flush().pushed == 1
    confirm, asked = database._committing.confirm, []

    def confirmed() -> None:
        asked.append(True)
        confirm()

    monkeypatch.setattr(database._committing, "confirm", confirmed)
    monkeypatch.setattr(database._volume.branch, "refresh", None)
    monkeypatch.setattr(Branch, "is_linearizable", False)
    deferred_of(database)._see_newest()
    assert asked == [True]


def test_p4_where_reads_show_the_newest_a_pushed_write_is_looked_for_without_a_write(
    two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = two
    insert(database, "a")
    assert other.flush().pushed == 1
    monkeypatch.setattr(database._committing, "confirm", None)
    deferred_of(database)._see_newest()
    assert database._volume.branch.latest().root == other._volume.branch.latest().root


# What can't be run now


@pytest.mark.parametrize(
    "error", [snapshot_gone(), Unavailable("down"), Denied("the credentials have expired")], ids=["gone", "down", "no"]
)
def test_p4_a_write_that_can_not_be_run_again_for_the_store_is_not_left_out(
    error: VirkeError, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads fail until the store answers; else they would show what never was, and the next write would stand on it."""
    error.is_stores = not isinstance(error, SnapshotGone)
    with opened(store, tmp_path) as database:
        insert(database, "a")
        other_commits(store, tmp_path)
        deferred, branch = deferred_of(database), database._volume.branch
        branch.refresh()

        def failing(*_: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(deferred, "_run_on_layer", failing)
            with pytest.raises(type(error)):
                deferred.view(branch.latest().root)
        assert shown(database) == ["theirs", "a"]
        assert database.flush().pushed == 1


def test_p1_after_a_write_that_failed_what_changes_nothing_is_not_journalled(store: Store, tmp_path: Path) -> None:
    """The failed one was so large that SQLite had written some of its pages by then; they are no part of the next one."""
    numbers = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 3000)"
    larger_than_cache = f"{numbers} SELECT i, zeroblob(8000) FROM n"
    with opened(store, tmp_path) as database:
        insert(database, "a")
        with pytest.raises(SqlError, match="integer overflow"):
            database.batch([f"INSERT INTO entry {larger_than_cache}", "SELECT abs(-9223372036854775808)"])
        assert journal_of(database).pending_count() == 1
        assert database.execute("UPDATE entry SET filler = 1 WHERE token = 'b'") == 0
        assert journal_of(database).pending_count() == 1
        insert(database, "c")
        assert shown(database) == ["a", "c"]
    assert settled(store, tmp_path) == ["a", "c"]


def submit_failing(times: int, database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """Let the state be gone so often as a write is about to run; the tries that are made."""
    deferred, tries = deferred_of(database), list[Program]()
    submit = deferred._submit_program

    def gone_first(program: Program, *, counts_only: bool) -> list[QueryResult]:
        tries.append(program)
        if len(tries) <= times:
            raise snapshot_gone()
        return submit(program, counts_only=counts_only)

    monkeypatch.setattr(deferred, "_submit_program", gone_first)
    return tries


def test_p1_a_write_whose_state_is_gone_again_and_again_is_run_once_in_the_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        tries = submit_failing(module.VIEW_TRIES - 1, database, monkeypatch)
        assert database.execute("INSERT INTO entry VALUES ('a', NULL)") == 1
        assert len(tries) == module.VIEW_TRIES
        assert tokens(database) == ["a"]
    assert settled(store, tmp_path) == ["a"]


def test_p11_a_write_whose_state_is_always_gone_ends_and_is_not_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        with monkeypatch.context() as patch:
            tries = submit_failing(99, database, patch)
            with pytest.raises(SnapshotGone):
                deferred_of(database).submit(Program((), 0, True))
        assert len(tries) == module.VIEW_TRIES
        assert journal_of(database).pending_count() == 0


# How old the state may be


@pytest.mark.parametrize(("after_s", "looks"), [(4.9999, 0), (5.0, 1)])
def test_p5_a_state_is_too_old_for_a_write_exactly_when_its_time_is_over(
    after_s: float, looks: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store does not answer then, it is asked again no sooner."""
    clock = Clock(monotonic_s=0.0)
    with opened(store, tmp_path, env=clock.environment) as database:
        database.change_settings({"max_staleness_ms": 5000})
        branch, asked = database._volume.branch, list[float]()
        branch.refresh()
        branch.checked_at = clock.monotonic_s = 0.0

        def down() -> None:
            asked.append(clock.monotonic_s)
            raise Unavailable("down")

        with monkeypatch.context() as patch:
            patch.setattr(branch, "refresh", down)
            clock.monotonic_s = after_s
            insert(database, "a")
            assert len(asked) == looks
            clock.monotonic_s = 5.0
            insert(database, "b")
            clock.monotonic_s += 4.9999
            insert(database, "c")
            assert asked == [5.0]
            clock.monotonic_s = 10.0
            insert(database, "d")
            assert asked == [5.0, 10.0]


# Who is told


class Recorded:
    """A flusher that does nothing by itself, and keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.flush: Callable[[], int] = lambda: -1
        self.interval_s: Callable[[], float] = lambda: -1.0

    def start(self, flush: Callable[[], int], interval_s: Callable[[], float]) -> None:
        self.said.append("start")
        self.flush, self.interval_s = flush, interval_s

    def wake(self, *, at_once: bool = False) -> None:
        self.said.append("wake at once" if at_once else "wake")

    def stop(self) -> None:
        self.said.append("stop")


def test_p1_the_flusher_hears_of_every_write_and_of_what_is_pending_at_its_start(store: Store, tmp_path: Path) -> None:
    """Else a write would stay in the journal until the next one, or the end of the process."""
    with opened(store, tmp_path) as database:
        deferred, flusher = deferred_of(database), Recorded()
        deferred._flusher = flusher
        deferred.start()
        assert flusher.said == ["start"]
        insert(database, "a")
        assert flusher.said == ["start", "wake"]
        deferred.start()
        assert flusher.said == ["start", "wake", "start", "wake at once"]
        database.change_settings({"flush_interval_ms": 2500})
        assert flusher.interval_s() == 2.5
        deferred.stop()
        assert flusher.said[-1] == "stop"


def test_p1_what_the_flusher_is_given_pushes_and_says_how_many_are_left(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        deferred, flusher = deferred_of(database), Recorded()
        deferred._flusher = flusher
        deferred.start()
        insert(database, "a")
        told: list[int] = []
        deferred.after_push = lambda: told.append(journal_of(database).pending_count())
        assert flusher.flush() == 0
        assert told == [0]
    assert settled(store, tmp_path) == ["a"]


def test_a_closed_database_has_neither_its_journal_nor_a_connection_open(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "a")
        deferred, journal = deferred_of(database), journal_of(database)
        assert journal._file._connection is not None
        ahead = deferred._ahead
        assert ahead is not None
    assert deferred._ahead is None
    assert not ahead.is_open
    assert journal._file._connection is None
