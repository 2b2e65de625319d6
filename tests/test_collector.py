"""What is forgotten in a cycle ends when the garbage collector comes to it, in whichever line of a thread, and no thread waits for itself."""

from __future__ import annotations

import _thread
import contextvars
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from virke import collector, dbapi
from virke.collector import outside
from virke.engine.line import Line
from virke.engine.memory import PROCESS
from virke.engine.terms import Cancel
from virke.opening import connect, open_store
from virke.runtime.opened import Opened
from virke.runtime.place import Source

COLLECTED_S = 20.0


class Cycle:
    """What only the collector finds."""

    def __init__(self, *held: object) -> None:
        self.me, self.held = self, held


class Watched:
    """A lock that tells of a thread that would wait for itself, and that collects while it is held, at one of all turns."""

    turns = 0
    collects_at = -1
    waits: list[str] = []  # noqa: RUF012 (of all locks; emptied for each test)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._owner = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = _thread.get_ident()
        if blocking and timeout < 0 and self._owner == me:
            frame = sys._getframe(1)
            Watched.waits.append(f"{Path(frame.f_code.co_filename).name}: {frame.f_code.co_name}")
            raise AssertionError("a thread waits for itself")
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = me
        if me == threading.main_thread().ident:
            Watched.turns += 1
            if Watched.turns == Watched.collects_at:
                gc.collect()
        return True

    def release(self) -> None:
        self._owner = 0
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def wait_until_idle() -> None:
    """What was left to threads is done."""
    while not collector.is_idle():
        time.sleep(0.001)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    """All locks of this process that are Virke's or are made from now on; the collector comes when it is told."""
    plain = type(_thread.allocate_lock())
    monkeypatch.setattr(Watched, "waits", [])
    monkeypatch.setattr(threading, "Lock", Watched)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "virke":
            for attribute, value in list(vars(module).items()):
                if isinstance(value, plain):
                    monkeypatch.setattr(module, attribute, Watched())
    monkeypatch.setattr(PROCESS, "_lock", Watched())
    monkeypatch.setattr(PROCESS.frames, "_lock", Watched())
    gc.collect()
    gc.freeze()  # what other tests left is not looked through again and again
    gc.disable()
    yield Watched
    gc.enable()
    gc.unfreeze()
    gc.collect()  # what is freed in the middle of another test is room there
    wait_until_idle()


def transaction(url: str) -> Cycle:
    """One that has written, and stands in line."""
    database = connect("db", url)
    begun = database.transaction()
    contextvars.copy_context().run(begun.__enter__)  # the context keeps what is entered
    begun.execute("INSERT INTO t VALUES (0)")
    return Cycle(database, begun)


def rows(url: str) -> Cycle:
    """Some were read."""
    database = connect("db", url)
    found = database.query_rows("SELECT 1 UNION ALL SELECT 2")
    next(found)
    return Cycle(database, found)


def connection(url: str) -> Cycle:
    """One of the DB-API, within a transaction."""
    opened = dbapi.connect("db", url)
    opened.execute("INSERT INTO t VALUES (0)")
    return Cycle(opened)


FORGOTTEN: list[Callable[[str], Cycle]] = [transaction, rows, connection]


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"local:{tmp_path}"


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_p11_a_thread_never_waits_for_itself_because_the_collector_came(
    forgotten: Callable[[str], Cycle], url: str, watched: type[Watched]
) -> None:
    """It comes while the thread has a lock, each of those that a write and a read take; and whoever waits goes on."""
    with connect("db", url, create=True) as database:
        database.execute("CREATE TABLE t (n)")

        def work() -> None:
            database.execute("INSERT INTO t VALUES (1)")
            database.query("SELECT n FROM t")

        work()
        watched.turns, watched.collects_at = 0, -1
        work()
        locks = watched.turns
        assert locks > 10, "else nothing was watched"
        for turn in range(1, locks + 1):
            cycle: Any = forgotten(url)
            del cycle
            watched.turns, watched.collects_at = 0, turn
            work()
            watched.collects_at = -1
            assert watched.waits == [], f"when the collector came at lock {turn} of {locks}"
            gc.collect()  # it may have taken fewer locks this time


def standing(line: Line) -> Cycle:
    return Cycle(line.enter(0))


def is_first_elsewhere(line: Line) -> bool:
    """Whether another thread comes to be first."""
    found = list[bool]()
    thread = threading.Thread(target=lambda: found.append(line.enter(COLLECTED_S).is_first))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_who_stands_in_line_behind_a_forgotten_place_goes_on(kind: str, tmp_path: Path, watched: type[Watched]) -> None:
    """Also when the collector came while the line itself was locked."""
    store = open_store("memory://line" if kind == "memory" else f"local:{tmp_path}", create=True)
    line, other = Line(store, "root/db/main"), Line(store, "root/other/main")
    other.enter(1).leave()
    watched.turns, watched.collects_at = 0, -1
    other.enter(1).leave()
    for turn in range(1, watched.turns + 1):
        cycle: Any = standing(line)
        del cycle
        watched.turns, watched.collects_at = 0, turn
        other.enter(1).leave()
        watched.collects_at = -1
        assert watched.waits == []
        assert is_first_elsewhere(line), f"when the collector came at lock {turn}"


def test_a_database_that_an_abandoned_call_used_is_given_back(watched: type[Watched], tmp_path: Path) -> None:
    """The lock of the open databases may be held when the collector comes to a generator that was not read to its end."""
    with connect("db", f"local:{tmp_path}", create=True):
        pass
    opened = Opened(Source(store=f"local:{tmp_path}"))

    def call() -> Iterator[None]:
        database = opened.take("db")
        try:
            yield
        finally:
            opened.give_back(database)

    abandoned: Any = call()
    next(abandoned)
    cycle: Any = Cycle(abandoned)
    del cycle, abandoned
    with opened._lock:
        gc.collect()
    assert watched.waits == []
    ends_at = time.monotonic() + COLLECTED_S
    while opened.in_use and time.monotonic() < ends_at:
        time.sleep(0.001)
    assert opened.in_use == 0
    opened.close()


def test_rows_of_a_living_database_end_while_somebody_cancels_them(watched: type[Watched], url: str) -> None:
    """The handle has a lock of its own, which is held when the collector comes; then the connection goes back."""
    cancel = Cancel()
    with connect("db", url, create=True) as database:
        found = database.query_rows("SELECT 1 UNION ALL SELECT 2", cancel=cancel)
        next(found)
        cycle: Any = Cycle(found)
        del cycle, found
        assert database._readers.idle == []
        with cancel._lock:
            gc.collect()
        assert watched.waits == []
        ends_at = time.monotonic() + COLLECTED_S
        while not database._readers.idle and time.monotonic() < ends_at:
            time.sleep(0.001)
        assert len(database._readers.idle) == 1


def test_what_the_program_drops_ends_at_that_line() -> None:
    done = list[int]()
    outside(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]


def test_where_there_are_no_threads_it_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*given: object) -> None:
        raise RuntimeError("can't start new thread")

    class Forgotten(Cycle):
        def __del__(self) -> None:
            outside(lambda: done.append(threading.get_ident()))

    monkeypatch.setattr(collector, "start_new_thread", start)
    done = list[int]()
    Forgotten()
    gc.collect()
    assert done == [threading.get_ident()]
