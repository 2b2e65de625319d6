"""Stamps of the local store: whether a key was changed is never denied, whatever became of the file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.stores.conformance import generation_of
from tests.stores.local_worker import record_of
from tests.stores.test_local import LosingConnection, lines_of, worker
from virke.core.effects import Absent, Generation, Lost, Mismatch, Record, Swapped
from virke.errors import Unavailable
from virke.stores.base import Store, Watch
from virke.stores.local import stamps
from virke.stores.local.kv import SelfClosing, connect_sqlite
from virke.stores.local.store import local_store


def watch_of(store: Store, key: str = "k") -> Watch:
    """The stamps of one key."""
    assert store.watch is not None
    return store.watch(key)


def swap(store: Store, data: bytes) -> None:
    """Replace `k`."""
    record = store.register.read("k")
    base = record.generation if isinstance(record, Record) else None
    assert isinstance(store.register.swap("k", data, base), Swapped)


@pytest.fixture
def looking_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers look at the path each time."""
    monkeypatch.setattr(stamps, "CHECK_S", 0.0)


def test_l2_another_process_changes_the_stamp(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    store.register.swap("counter", b"0", None)
    stamp = watch_of(store, "counter")
    before = stamp()
    assert before is not None
    lines_of(worker("count", tmp_path, 1))
    assert stamp() not in (None, before)


def test_l2_a_change_whose_answer_was_lost_leaves_no_stamp(tmp_path: Path) -> None:
    """It may show at any time; the next change that is answered ends that."""
    store = local_store(tmp_path)
    swap(store, b"1")
    stamp = watch_of(store)
    before = stamp()
    losing = local_store(tmp_path, connect=partial(connect_sqlite, factory=LosingConnection))
    assert isinstance(losing.register.swap("k", b"2", generation_of(store.register, "k")), Lost)
    assert stamp() is None
    swap(store, b"3")
    assert stamp() not in (None, before)


def test_l2_while_a_change_is_made_there_is_no_stamp(tmp_path: Path) -> None:
    """From before the statement until after it is durable: who died in between could have been seen."""
    seen: list[bytes | None] = []
    stamps_of: list[Watch] = []

    class Looking(SelfClosing):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if not sql.startswith("UPDATE"):
                return super().execute(sql, *parameters)  # type: ignore[arg-type]
            seen.append(stamps_of[0]())
            cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
            seen.append(stamps_of[0]())
            return cursor

    store = local_store(tmp_path, connect=partial(connect_sqlite, factory=Looking))
    swap(store, b"1")
    stamps_of.append(watch_of(local_store(tmp_path)))
    assert stamps_of[0]() is not None
    swap(store, b"2")
    assert seen == [None, None]
    assert stamps_of[0]() is not None


def test_l2_a_stamp_file_that_was_removed_is_noticed_by_all(tmp_path: Path) -> None:
    """Who makes it again waits until every reader has looked, so none says of an answered swap that it is not there."""
    store, other = local_store(tmp_path), local_store(tmp_path)
    swap(store, b"1")
    stamp = watch_of(store)
    before = stamp()
    assert before is not None
    (tmp_path / "kv.stamps").unlink()
    swap(other, b"2")
    assert stamp() != before


def test_l2_a_store_that_was_removed_and_made_again_has_other_stamps(tmp_path: Path, looking_always: None) -> None:
    place = tmp_path / "place"
    store = local_store(place)
    swap(store, b"1")
    stamp = watch_of(store)
    before = stamp()
    assert before is not None
    place.rename(tmp_path / "old")
    assert stamp() is None
    assert store.register.read("k") == Absent()
    swap(local_store(place), b"2")
    assert stamp() not in (None, before)
    assert record_of(store, "k").data == b"2", "what is read under the new stamp is of the new store"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[:-1],
    "another": lambda data: b"\0" * len(data),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stamp_file_is_replaced_by_the_next_change(tmp_path: Path, damage: str, looking_always: None) -> None:
    """As after a power failure: it says nothing, and readers and writers both go on."""
    swap(local_store(tmp_path), b"1")
    path = tmp_path / "kv.stamps"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(DAMAGES[damage](data))
    store = local_store(tmp_path)
    stamp = watch_of(store)
    assert stamp() is None
    swap(store, b"2")
    assert stamp() is not None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_stamp_nothing_is_changed(tmp_path: Path) -> None:
    """Where the file can't be written, a swap that others would not notice is refused."""
    swap(local_store(tmp_path), b"1")
    (tmp_path / "kv.stamps").unlink()
    (tmp_path / "kv.stamps").mkdir()
    store = local_store(tmp_path)
    with pytest.raises(Unavailable, match=r"nothing was changed$"):
        store.register.swap("k", b"2", generation_of(store.register, "k"))
    assert record_of(store, "k").data == b"1"
    assert watch_of(store)() is None


def test_watching_creates_nothing(tmp_path: Path) -> None:
    """No folder, or an empty one: no stamp, no file."""
    for folder in (tmp_path, tmp_path / "nothing"):
        assert watch_of(local_store(folder, create=False))() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_l2_a_fork_sees_what_its_parent_changes_and_its_parent_what_it_does(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    swap(store, b"1")
    stamp = watch_of(store)
    before = stamp()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        swap(store, b"2")
        mine = stamp()
        os.write(ready[1], b"!")
        os.read(done[0], 1)
        os._exit(stamp() in (None, before, mine))
    os.read(ready[0], 1)
    middle = stamp()
    assert middle not in (None, before)
    swap(store, b"3")
    os.write(done[1], b"!")
    assert os.waitpid(child, 0)[1] == 0
    for end in (*ready, *done):
        os.close(end)


def test_keys_that_share_a_slot_only_cost_reads(tmp_path: Path) -> None:
    """More keys than slots: a change of one changes its own stamp, always."""
    store = local_store(tmp_path)
    names = [f"k{number}" for number in range(stamps.SLOTS + 1)]
    slots = [stamps._slot_of_key(name) for name in names]
    one, other = next((a, b) for n, a in enumerate(names) for b in names[:n] if slots[n] == stamps._slot_of_key(b))
    store.register.swap(one, b"1", None)
    first = watch_of(store, one)()
    store.register.swap(other, b"1", None)
    assert watch_of(store, one)() == watch_of(store, other)() != first


def test_a_store_of_the_first_format_gets_stamps_with_its_first_change(tmp_path: Path) -> None:
    """Until then there is none; then the format says so, and an older Virke, which would leave none, refuses it."""
    swap(local_store(tmp_path), b"1")
    (tmp_path / "kv.stamps").unlink()
    with connect_sqlite(str(tmp_path / "kv.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = local_store(tmp_path)
    stamp = watch_of(store)
    assert record_of(store, "k").data == b"1"
    assert stamp() is None
    assert store.register.remove("k", generation_of(local_store(tmp_path).register, "k")) == Swapped(None)
    assert store.register.remove("k", Generation("0" * 32)) == Mismatch()
    connection = connect_sqlite(str(tmp_path / "kv.sqlite"))
    assert connection.execute("PRAGMA user_version").fetchall() == [(2,)]
    connection.close()
    assert watch_of(local_store(tmp_path))() is not None
