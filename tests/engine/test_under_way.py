"""Reads that meet a commit under way: what they see, whom they ask, and who lets whom go first."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.engine.world import Clock
from virke.core.effects import Lost, Record
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.programs import Step
from virke.engine.undisturbed import REST_MOST_S, Undisturbed
from virke.errors import NotHere
from virke.opening import connect
from virke.stores.counted import CountingStore
from virke.stores.local.kv import SelfClosing, connect_sqlite
from virke.stores.local.stamps import Stamps
from virke.stores.local.store import local_store

ALL = "SELECT v FROM t"


class Meeting:
    """What is called just before and just after a swap is carried out in the store."""

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        meeting = self

        class Met(SelfClosing):
            def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
                if not sql.startswith("UPDATE register"):
                    return super().execute(sql, *parameters)  # type: ignore[arg-type]
                meeting.before()
                cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
                meeting.after()
                return cursor

        self.connect = partial(connect_sqlite, factory=Met)


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


@pytest.fixture
def counts(tmp_path: Path, meeting: Meeting) -> CountingStore:
    """A local store whose swaps are met."""
    return CountingStore(local_store(tmp_path, connect=meeting.connect))


@pytest.fixture
def db(counts: CountingStore) -> Iterator[Database]:
    """A database with one row, warm."""
    still = Environment(monotonic=Clock().look)
    with connect("d", counts.store, create=True, environment=still) as made:
        made.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1)")
        made.serving.take_over()
        made.query(ALL)
        assert made.query_here(ALL).rows == [(1,)]
        yield made


@pytest.mark.native
def test_a_read_that_meets_a_commit_of_its_process_asks_nothing_and_sees_what_is_replaced(
    db: Database, counts: CountingStore, meeting: Meeting
) -> None:
    """Nobody was answered yet. Once the writer is, every read sees it."""
    found: list[object] = []

    def read() -> None:
        counts.reset()
        found.append((db.query_here(ALL).rows, counts.total))

    meeting.before = meeting.after = read
    db.execute("INSERT INTO t VALUES (2)")
    counts.reset()
    assert found == [([(1,)], counts.total)] * 2
    assert db.query_here(ALL).rows == [(1,), (2,)]


@pytest.mark.native
def test_what_another_process_committed_meanwhile_is_not_passed_over(
    tmp_path: Path, db: Database, meeting: Meeting
) -> None:
    """Ours waits for its turn in the store; the other one is answered, and from then on the old state is not shown."""
    with connect("d", local_store(tmp_path)) as other:
        branch = db._parts.branch
        branch.replacing = branch.latest().root  # as when our swap has begun, and waits for the lock
        assert db.query_here(ALL).rows == [(1,)]
        other.execute("INSERT INTO t VALUES (3)")
        with pytest.raises(NotHere):
            db.query_here(ALL)
        branch.replacing = None
    assert db.query(ALL).rows == [(1,), (3,)]


@pytest.mark.native
def test_who_reads_in_the_store_what_a_swap_of_another_process_makes_waits_for_its_end(
    tmp_path: Path, db: Database, meeting: Meeting
) -> None:
    """Else that process would still answer with what was before it, after this one answered with what it makes."""
    order: list[str] = []
    reading = threading.Event()

    def read() -> None:
        with connect("d", local_store(tmp_path)) as other:
            register, before = other._parts.branch.store.register, other._parts.branch.latest().root.head.version
            reading.set()
            found = register.read(other._parts.branch.key)
            order.append(f"read {isinstance(found, Record)} {before}")

    thread = threading.Thread(target=read)

    def after() -> None:
        """Durable, not answered."""
        thread.start()
        thread.join(0.2)  # it can't end before this does: a bound for the case that it does
        order.append(f"old state {db.query_here(ALL).rows}")

    meeting.after = after
    db.execute("INSERT INTO t VALUES (2)")
    meeting.after = lambda: None
    thread.join()
    assert order[0] == "old state [(1,)]"
    assert order[1].startswith("read True")


@pytest.mark.native
def test_a_swap_that_failed_leaves_nothing_to_be_taken_for_the_state_before_it(tmp_path: Path) -> None:
    """It may be there: its process finds out, and answers for it without another change of the stamps."""
    meeting = Meeting()
    store = local_store(tmp_path, connect=meeting.connect)
    store.register.swap("k", b"1", None)
    assert store.watch_ended is not None
    ended = store.watch_ended("k")
    before = ended()

    def fail() -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    meeting.before = lambda: seen.append(ended())
    meeting.after = fail
    seen: list[bytes | None] = []
    record = store.register.read("k")
    assert isinstance(record, Record)
    assert isinstance(store.register.swap("k", b"2", record.generation), Lost)
    assert seen == [before]
    assert ended() not in (None, before)


@pytest.mark.native
def test_a_change_after_one_whose_process_died_tells_of_it_first(tmp_path: Path) -> None:
    """What that one made may be there: while the next is under way, the state before both is not shown."""
    stamps = Stamps(tmp_path)
    stamps.prepare(is_new=True)
    ended = stamps.watch_ended("k")
    with stamps.changing("k"):
        pass
    before = ended()
    dying = stamps.changing("k")
    dying.__enter__()  # and never ends
    assert ended() == before
    with stamps.changing("k"):
        assert ended() not in (None, before)


@pytest.mark.native
def test_a_commit_computes_but_while_its_swap_waits_for_the_disk(db: Database, meeting: Meeting) -> None:
    """An event loop lets it have the interpreter until then, and has it until the swap is done."""
    undisturbed, computes = db._parts.volume.driver.undisturbed, list[bool]()
    meeting.before = meeting.after = lambda: computes.append(undisturbed._lock.locked())
    db._parts.writer.before_telling = meeting.after
    db.serving.carry_out(db.serving.program((Step("INSERT INTO t VALUES (2)", ()),)))
    assert computes == [False, False, True]
    assert not undisturbed._lock.locked()


def test_nobody_waits_where_nothing_is_computed() -> None:
    undisturbed = Undisturbed(time.monotonic)
    undisturbed.wait(float(threading.TIMEOUT_MAX))
    with undisturbed.computing(), undisturbed.paused():
        undisturbed.wait(float(threading.TIMEOUT_MAX))


def test_a_commit_that_takes_long_is_waited_for_once() -> None:
    undisturbed = Undisturbed(time.monotonic)
    for _ in range(2):  # the next one again
        with undisturbed.computing():
            undisturbed.wait(0.001)
            undisturbed.wait(float(threading.TIMEOUT_MAX))


@pytest.mark.native
def test_who_waits_goes_on_when_the_commit_waits_for_its_store() -> None:
    undisturbed, order = Undisturbed(time.monotonic), list[str]()
    begun, waited = threading.Event(), threading.Event()

    def commit() -> None:
        with undisturbed.computing():
            begun.set()
            order.append("computed")
            with undisturbed.paused():
                waited.wait()

    thread = threading.Thread(target=commit)
    thread.start()
    begun.wait()
    undisturbed.wait(float(threading.TIMEOUT_MAX))
    order.append("went on")
    waited.set()
    thread.join()
    assert order == ["computed", "went on"]


@pytest.mark.native
def test_a_pause_of_another_thread_ends_no_computing() -> None:
    undisturbed = Undisturbed(time.monotonic)
    with undisturbed.computing():
        thread = threading.Thread(target=lambda: undisturbed.paused().__enter__())
        thread.start()
        thread.join()
        assert undisturbed._lock.locked()


@pytest.mark.parametrize(("computed_s", "rest_s"), [(0.001, 0.003), (1.0, REST_MOST_S)])
def test_a_commit_that_was_waited_for_is_followed_by_a_rest(computed_s: float, rest_s: float) -> None:
    now_s = 100.0
    undisturbed = Undisturbed(lambda: now_s)
    for is_awaited in (True, False):
        now_s += 10
        with undisturbed.computing():
            if is_awaited:
                undisturbed.wait(0.0001)
            now_s += computed_s / 2
            with undisturbed.paused():
                now_s += 5  # for its store
            now_s += computed_s / 2
        assert undisturbed.rest_s() == (
            pytest.approx(rest_s) if is_awaited else pytest.approx(rest_s - 15 - computed_s)
        )
    now_s += 10
    assert undisturbed.rest_s() < 0


@pytest.mark.native
def test_the_leader_rests_before_the_next_commit(db: Database) -> None:
    parts, slept = db._parts, list[float]()
    object.__setattr__(parts.volume.environment, "sleep", slept.append)
    write = partial(db.serving.carry_out, db.serving.program((Step("INSERT INTO t VALUES (2)", ()),)))
    write()
    assert slept == []
    parts.volume.driver.undisturbed._rests_until_s = parts.volume.environment.monotonic() + 1000
    write()
    assert [500 < seconds <= 1000 for seconds in slept] == [True]
