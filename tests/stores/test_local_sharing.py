"""What opens one folder twice in a process shares its open files; they go with the last one who uses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.stores.conformance import THREADS, at_once, generation_of
from tests.stores.local_worker import record_of
from virke.core.effects import Mismatch, Swapped
from virke.errors import NotFound
from virke.opening import connect, open_store
from virke.stores.base import Store
from virke.stores.local.kv import SelfClosing


def open_files(folder: Path) -> int:
    """How many descriptors of this process are files below `folder`."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        found += os.path.islink(path) and os.readlink(path).startswith(str(folder))
    return found


def count(store: Store) -> None:
    """Add one to `counter`."""
    while True:
        record = record_of(store, "counter")
        if isinstance(store.register.swap("counter", b"%d" % (int(record.data) + 1), record.generation), Swapped):
            return


def test_a_hundred_databases_of_one_folder_have_as_many_files_open_as_one(tmp_path: Path) -> None:
    """Each written and read; in B18 they may have 210 together."""
    databases = []
    for number in range(100):
        databases.append(connect(f"db{number}", f"local:{tmp_path}", create=True, background=False))
        databases[-1].execute("CREATE TABLE t (v)")
        assert databases[-1].query("SELECT count(*) FROM t").rows == [(0,)]
        databases[-1].execute("INSERT INTO t VALUES (1)")
    assert open_files(tmp_path) <= 14
    for database in databases:
        database.close()


def test_files_are_closed_with_the_last_store_that_uses_them(tmp_path: Path) -> None:
    first, second = (open_store(str(tmp_path), create=True) for _ in range(2))
    first.register.swap("k", b"1", None)
    second.register.read("k")
    used = open_files(tmp_path)
    assert used > 0
    del first
    assert open_files(tmp_path) == used
    assert record_of(second, "k").data == b"1"
    del second
    assert open_files(tmp_path) == 0


def test_what_opens_the_folder_while_the_last_store_is_closed_has_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the one that goes would close what the one that comes has opened, in the middle of a change."""
    last = open_store(str(tmp_path), create=True)
    last.register.swap("k", b"1", None)
    last.register.read("k")
    late = list[Store]()
    close = SelfClosing.close

    def open_meanwhile(connection: SelfClosing) -> None:
        if not late:
            late.append(open_store(str(tmp_path), create=True))
            late[0].register.swap("l", b"1", None)
        close(connection)

    monkeypatch.setattr(SelfClosing, "close", open_meanwhile)
    del last
    assert isinstance(late[0].register.swap("m", b"1", None), Swapped)
    assert record_of(late[0], "l").data == b"1"
    monkeypatch.undo()
    del late[0]
    assert open_files(tmp_path) == 0


def test_threads_open_use_and_drop_one_folder_at_once(tmp_path: Path) -> None:
    """Whoever is last closes; whoever comes then opens again; nothing is lost."""
    open_store(str(tmp_path), create=True).register.swap("counter", b"0", None)

    def work(_: int) -> None:
        for _ in range(10):
            count(open_store(str(tmp_path)))

    at_once(work)
    assert record_of(open_store(str(tmp_path)), "counter").data == b"%d" % (10 * THREADS)
    assert open_files(tmp_path) == 0


def test_many_readers_at_once_leave_few_connections(tmp_path: Path) -> None:
    """Two descriptors each, of eight that are kept, and those of the one that writes."""
    store = open_store(str(tmp_path), create=True)
    store.register.swap("k", b"1", None)
    at_once(lambda _: [store.register.read("k") for _ in range(50)], count=64)
    assert open_files(tmp_path) <= 8 * 2 + 5


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_shares_with_itself_and_not_with_its_parent(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), create=True)
    store.register.swap("counter", b"0", None)
    child = os.fork()
    if child == 0:
        inherited = open_files(tmp_path)
        count(store)
        count(open_store(str(tmp_path)))
        os._exit(inherited > 1)  # the mapped stamps
    assert os.waitpid(child, 0)[1] == 0
    count(store)
    assert record_of(store, "counter").data == b"3"


def test_who_may_not_make_the_folder_does_not_by_sharing(tmp_path: Path) -> None:
    """One opened with `create`, another without: each keeps its own permission."""
    place = tmp_path / "place"
    maker, other = open_store(str(place), create=True), open_store(str(place))
    maker.register.swap("k", b"1", None)
    old = generation_of(other.register, "k")
    place.rename(tmp_path / "old")
    with pytest.raises(NotFound):
        other.register.swap("k", b"2", None)
    assert other.register.swap("k", b"2", old) == Mismatch()
    assert isinstance(maker.register.swap("k", b"3", None), Swapped)
