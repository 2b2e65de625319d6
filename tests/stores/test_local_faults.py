"""What the local store says when the disk is full, read-only, damaged or failing, and in what order it syncs."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from tests.stores.conformance import generation_of
from tests.stores.local_worker import record_of
from virke.core.effects import Absent, Lost, Record, Stored, Swapped, Tier
from virke.errors import Corrupt, Invalid, TooLarge, Unavailable, VirkeError
from virke.processes import sync_file
from virke.stores.base import Range, Store
from virke.stores.local.files import System
from virke.stores.local.kv import SelfClosing, connect_sqlite
from virke.stores.local.store import local_store

T = TypeVar("T")


@dataclass
class Watched:
    """The operating system's calls, written down; the `fail_at`-th one (from 1) fails instead."""

    fail_at: int = 0
    errno: int = errno.EIO
    after: bool = False
    events: list[str] = field(default_factory=list)
    paths: dict[int, Path] = field(default_factory=dict)

    def system(self) -> System:
        return System(
            open=self._open,
            write=lambda fd, data: self._do(f"write {self._name(fd)}", lambda: os.write(fd, data)),
            sync=lambda fd: self._do(f"sync {self._name(fd)}", lambda: sync_file(fd)),
            close=os.close,  # tells nothing of durability, and a test must not leak what it refuses to close
            link=lambda old, new: self._do(f"link {_short(new)}", lambda: os.link(old, new)),
            unlink=lambda path: self._do(f"unlink {_short(path)}", lambda: os.unlink(path)),
            mkdir=lambda path: self._do(f"mkdir {_short(path)}", lambda: os.mkdir(path)),
        )

    def _open(self, path: Path, flags: int, mode: int) -> int:
        fd = self._do(f"open {_short(path)}", lambda: os.open(path, flags, mode))
        self.paths[fd] = path
        return fd

    def _name(self, fd: int) -> str:
        return _short(self.paths[fd])

    def _do(self, event: str, call: Callable[[], T]) -> T:
        self.events.append(event)
        if len(self.events) != self.fail_at:
            return call()
        if self.after:
            call()
        raise OSError(self.errno, os.strerror(self.errno))


def _short(path: Path) -> str:
    return "temp" if path.parent.name == "tmp" else path.name


def test_b1_an_object_is_synced_before_it_is_named_and_its_folder_after(tmp_path: Path) -> None:
    """Temp file, sync, link, sync of the folder; new folders are synced into those above them first."""
    watched = Watched()
    blobs = local_store(tmp_path / "place", system=watched.system()).blobs[Tier.OBJECT]
    assert watched.events == ["mkdir place", f"open {tmp_path.name}", f"sync {tmp_path.name}"]
    watched.events.clear()
    assert blobs.put_new("a/b", b"1") == Stored()
    put = ["open temp", "write temp", "sync temp", "link b~", "open a", "sync a", "unlink temp"]
    assert watched.events == [
        "mkdir tmp",
        *("mkdir objects", "open place", "sync place"),
        *("mkdir a", "open objects", "sync objects"),
        *put,
    ]
    watched.events.clear()
    assert blobs.put_new("a/c", b"1") == Stored()
    assert watched.events == [event.replace("b~", "c~") for event in put]


def test_b1_equal_bytes_are_stored_only_when_their_name_is_synced(tmp_path: Path) -> None:
    """Who finds its object there already, perhaps linked a moment ago, syncs the folder before it says `Stored`."""
    local_store(tmp_path).blobs[Tier.OBJECT].put_new("a/b", b"1")
    watched = Watched()
    assert local_store(tmp_path, system=watched.system()).blobs[Tier.OBJECT].put_new("a/b", b"1") == Stored()
    assert watched.events[-4:] == ["link b~", "open a", "sync a", "unlink temp"]


def test_the_kv_file_is_synced_before_it_is_named_and_its_folder_after(tmp_path: Path) -> None:
    """`kv.sqlite` appears whole, and durably before the first swap is answered."""
    watched = Watched()
    store = local_store(tmp_path, system=watched.system())
    watched.events.clear()
    store.register.swap("k", b"1", None)
    assert watched.events[-6:] == [
        *("open temp", "sync temp", "link kv.sqlite", "unlink temp"),
        *(f"open {tmp_path.name}", f"sync {tmp_path.name}"),
    ]
    watched.events.clear()
    store.register.swap("k2", b"1", None)
    assert watched.events == []


def test_a_kv_file_that_another_made_is_synced_before_the_first_change(tmp_path: Path) -> None:
    """Its maker may not have come to that yet, so nobody answers a swap before."""
    local_store(tmp_path).register.swap("k", b"1", None)
    watched = Watched()
    store = local_store(tmp_path, create=False, system=watched.system())
    store.register.swap("k2", b"1", None)
    assert watched.events == [f"open {tmp_path.name}", f"sync {tmp_path.name}"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_b1_a_failure_at_any_call_is_never_stored_and_leaves_nothing_half(
    tmp_path: Path, code: int, after: bool
) -> None:
    """Fail each call of a first put in turn: `Unavailable` means that nothing is there, `Lost` and `Stored` are whole."""
    answers = set()
    for fail_at in range(1, 100):
        folder = tmp_path / str(fail_at)
        watched = Watched()
        blobs = local_store(folder, system=watched.system()).blobs[Tier.OBJECT]
        watched.fail_at, watched.errno, watched.after = len(watched.events) + fail_at, code, after
        try:
            outcome: object = blobs.put_new("a/b", b"1")
        except Unavailable as error:
            outcome = error
        if len(watched.events) < watched.fail_at:
            break
        there = local_store(folder).blobs[Tier.OBJECT].get([Range("a/b")])
        kind = type(outcome)
        assert "\n" not in str(outcome)
        answers.add(kind)
        failed = watched.events[watched.fail_at - 1]
        assert kind is Lost or not (failed.startswith("link") and code == errno.EIO)
        surely_not = kind is Unavailable and not (failed.startswith("link") and after)
        assert there == [Absent()] if surely_not else there in ([b"1"], [Absent()])
        assert kind is not Stored or (there == [b"1"] and failed.startswith("unlink"))
        assert blobs.put_new("a/b", b"1") == Stored()
        assert after or failed.startswith("unlink") or list((folder / "tmp").iterdir()) == []
    else:
        pytest.fail("a put has fewer than a hundred calls")
    assert answers == {Unavailable, Lost, Stored}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failure_at_any_call_of_creation_changes_nothing(tmp_path: Path, code: int) -> None:
    """Fail each call that makes `kv.sqlite` in turn: `Unavailable`, and the next try creates it."""
    for fail_at in range(1, 100):
        watched = Watched()
        store = local_store(tmp_path / str(fail_at), system=watched.system())
        watched.fail_at, watched.errno = len(watched.events) + fail_at, code
        try:
            assert isinstance(store.register.swap("k", b"1", None), Swapped)
        except Unavailable:
            assert local_store(tmp_path / str(fail_at)).register.read("k") == Absent()
            assert isinstance(store.register.swap("k", b"1", None), Swapped)
        if len(watched.events) < watched.fail_at:
            break
    assert fail_at > 5


class FailingConnection(SelfClosing):
    """A connection that fails each change with `code`, before it is carried out."""

    code = sqlite3.SQLITE_FULL

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql.startswith(("PRAGMA", "SELECT")):
            return super().execute(sql, *parameters)  # type: ignore[arg-type]
        error = sqlite3.OperationalError(f"code {self.code}")
        error.sqlite_errorcode = self.code
        raise error


def test_a_connection_that_is_closed_changed_nothing_and_damaged_nothing(tmp_path: Path) -> None:
    """Python itself refuses it, with an error that has no code of SQLite."""

    class Closed(SelfClosing):
        """A connection that was closed before it is used."""

        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if "register" in sql:
                self.close()
            return super().execute(sql, *given)

    local_store(tmp_path).register.swap("k", b"1", None)
    store = local_store(tmp_path, connect=partial(connect_sqlite, factory=Closed))
    with pytest.raises(Unavailable, match=r"closed database.*nothing was changed"):
        store.register.swap("new", b"1", None)
    with pytest.raises(Unavailable, match="closed database"):
        store.register.read("k")
    assert isinstance(local_store(tmp_path).register.read("k"), Record)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, Unavailable),
        (sqlite3.SQLITE_READONLY, Unavailable),
        (sqlite3.SQLITE_READONLY_DBMOVED, Unavailable),
        (sqlite3.SQLITE_CANTOPEN, Unavailable),
        (sqlite3.SQLITE_PERM, Unavailable),
        (sqlite3.SQLITE_BUSY, Unavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
        (sqlite3.SQLITE_IOERR, Lost),
        (sqlite3.SQLITE_IOERR_WRITE, Lost),
        (sqlite3.SQLITE_IOERR_FSYNC, Lost),
        (sqlite3.SQLITE_CORRUPT, Corrupt),
        (sqlite3.SQLITE_NOTADB, Corrupt),
        (sqlite3.SQLITE_ERROR, Corrupt),
        (sqlite3.SQLITE_TOOBIG, TooLarge),
    ],
)
def test_sqlite_failures_are_translated(tmp_path: Path, code: int, expected: type) -> None:
    """Each result code becomes the error, or the outcome, that says what is certain; the next call works again."""
    local_store(tmp_path).register.swap("k", b"1", None)
    failing = type("Failing", (FailingConnection,), {"code": code})
    store = local_store(tmp_path, connect=partial(connect_sqlite, factory=failing))
    for change in (
        lambda: store.register.swap("new", b"1", None),
        lambda: store.register.remove("k", generation_of(store.register, "k")),
        lambda: store.blobs[Tier.KV].put_new("k", b"1"),
    ):
        try:
            outcome: object = change()
        except VirkeError as error:
            outcome = error
        assert type(outcome) is expected
        assert "\n" not in str(outcome)
    with pytest.raises(Unavailable if expected is Lost else expected):
        store.blobs[Tier.KV].delete(["k"])
    assert record_of(store, "k").data == b"1"


class LockedConnection(SelfClosing):
    """A connection that notes for each change whether another process could make one at the same time."""

    folder = Path()
    excluded: ClassVar[list[bool]] = []

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.excluded.append(not self._free())
        return super().execute(sql, *parameters)  # type: ignore[arg-type]

    def _free(self) -> bool:
        with (self.folder / "kv.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


def test_changes_exclude_each_other(tmp_path: Path) -> None:
    """`kv.lock` is held while a change (and the checkpoint that it may bring) is made, and free afterwards."""
    excluded: list[bool] = []
    watching = type("Watching", (LockedConnection,), {"folder": tmp_path, "excluded": excluded})
    store = local_store(tmp_path, connect=partial(connect_sqlite, factory=watching))
    store.register.swap("k", b"1", None)
    store.register.swap("k", b"2", generation_of(store.register, "k"))
    store.register.remove("k", generation_of(store.register, "k"))
    store.blobs[Tier.KV].put_new("k", b"1")
    store.blobs[Tier.KV].delete(["k"])
    assert excluded == [True] * 5
    with (tmp_path / "kv.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class SmallConnection(SelfClosing):
    """A connection for which SQLite finds the disk full at twenty pages."""

    def executescript(self, sql: str) -> sqlite3.Cursor:
        return super().executescript(sql + "; PRAGMA max_page_count = 20")


def test_a_full_file_is_unavailable_and_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own SQLITE_FULL: the old value stays and smaller ones still fit."""
    store = local_store(tmp_path, connect=partial(connect_sqlite, factory=SmallConnection))
    store.register.swap("k", b"old", None)
    base = generation_of(store.register, "k")
    for write in (
        lambda: store.register.swap("k", bytes(200_000), base),
        lambda: store.blobs[Tier.KV].put_new("k", bytes(200_000)),
    ):
        with pytest.raises(Unavailable, match="full; nothing was changed"):
            write()
    assert record_of(store, "k").data == b"old"
    assert isinstance(store.register.swap("k", b"new", base), Swapped)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"can't mount a small tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _outcome(call: Callable[[], object]) -> type:
    try:
        outcome: object = call()
    except VirkeError as error:
        outcome = error
    assert "\n" not in str(outcome)
    return type(outcome)


def test_a_full_disk_is_unavailable_until_there_is_room(small_disk: Path) -> None:
    """On a real full disk nothing is changed, reading goes on, and with room again so does writing."""
    store = local_store(small_disk / "place")
    store.register.swap("k", b"old", None)
    store.blobs[Tier.OBJECT].put_new("k", b"old")
    base = generation_of(store.register, "k")
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    big = bytes(300_000)
    assert _outcome(lambda: store.register.swap("k", big, base)) is Unavailable
    assert _outcome(lambda: store.blobs[Tier.KV].put_new("big", big)) is Unavailable
    assert _outcome(lambda: store.blobs[Tier.OBJECT].put_new("big", big)) is Unavailable
    assert record_of(store, "k").data == b"old"
    assert store.blobs[Tier.OBJECT].get([Range("k"), Range("big")]) == [b"old", Absent()]
    assert list((small_disk / "place" / "tmp").iterdir()) == []
    assert _outcome(lambda: local_store(small_disk / "other").register.swap("k", b"", None)) is Unavailable
    filler.unlink()
    assert isinstance(store.register.swap("k", b"new", base), Swapped)
    assert store.blobs[Tier.OBJECT].put_new("big", big) == Stored()
    assert record_of(local_store(small_disk / "place"), "k").data == b"new"


def test_a_read_only_disk_is_unavailable(small_disk: Path) -> None:
    """No write is carried out, objects can be read, and the file is not taken for damaged or empty."""
    place = small_disk / "place"
    store = local_store(place)
    store.register.swap("k", b"1", None)
    store.blobs[Tier.OBJECT].put_new("k", b"1")
    base = generation_of(store.register, "k")
    del store
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        again = local_store(place, create=False)
        assert _outcome(lambda: again.register.swap("k", b"2", base)) is Unavailable
        assert _outcome(lambda: again.blobs[Tier.KV].put_new("k", b"2")) is Unavailable
        assert _outcome(lambda: again.blobs[Tier.OBJECT].put_new("k2", b"2")) is Unavailable
        assert _outcome(lambda: again.blobs[Tier.OBJECT].delete(["k"])) is Unavailable
        assert again.blobs[Tier.OBJECT].get([Range("k"), Range("k2")]) == [b"1", Absent()]
        assert again.watch is not None
        assert again.watch("k")() is not None
        assert again.line is not None
        with again.line("k", 60.0) as is_first:
            assert not is_first
        assert _outcome(lambda: local_store(small_disk / "new")) is Unavailable
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert record_of(again, "k").data == b"1"


def _settled(folder: Path) -> Path:
    """A `kv.sqlite` that holds everything itself, with no log beside it."""
    store = local_store(folder)
    store.register.swap("k", b"root" * 9000, None)
    store.blobs[Tier.KV].put_new("k", b"blob" * 9000)
    del store
    path = folder / "kv.sqlite"
    for name in ("kv.sqlite-wal", "kv.sqlite-shm"):
        assert not (folder / name).exists()
    return path


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in the header": lambda data: data[:50],
    "cut to one page": lambda data: data[:4096],
    "header flipped": lambda data: b"\xff" + data[1:],
    "another program's": lambda data: data[:68] + b"\0\0\0\0" + data[72:],
    "all but the header gone": lambda data: data[:4096] + b"\xff" * (len(data) - 4096),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_p7_a_damaged_file_is_corrupt(tmp_path: Path, damage: str) -> None:
    """Every call says so on one line; none answers `Absent`, none creates anything in its place."""
    path = _settled(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    store = local_store(tmp_path)
    blobs = store.blobs[Tier.KV]
    calls: list[Callable[[], object]] = [
        lambda: store.register.read("k"),
        lambda: store.register.swap("k", b"", None),
        lambda: blobs.get([Range("k")]),
        lambda: blobs.put_new("k", b""),
        lambda: list(store.register.keys("")),
        lambda: list(blobs.list("")),
    ]
    assert [_outcome(call) for call in calls] == [Corrupt] * len(calls)


def test_p7_a_log_without_its_file_is_corrupt(tmp_path: Path) -> None:
    """If only `kv.sqlite-wal` is left, the store is neither read as empty nor made anew."""
    path = _settled(tmp_path)
    path.rename(tmp_path / "kv.sqlite-wal")
    store = local_store(tmp_path)
    assert _outcome(lambda: store.register.read("k")) is Corrupt
    assert _outcome(lambda: store.register.swap("k", b"", None)) is Corrupt
    assert not path.exists()


def test_a_newer_format_is_invalid(tmp_path: Path) -> None:
    """A file that a later Virke wrote is refused, not guessed at."""
    path = _settled(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:60] + b"\0\0\0\x03" + data[64:])
    store = local_store(tmp_path)
    assert [_outcome(lambda: store.register.read("k")), _outcome(lambda: store.register.swap("k", b"", None))] == [
        Invalid,
        Invalid,
    ]


def test_a_shortened_object_is_corrupt(tmp_path: Path) -> None:
    """A file that lost its end fails the ranges that reach there, never with short bytes."""
    store: Store = local_store(tmp_path)
    store.blobs[Tier.OBJECT].put_new("k", b"abcdef")
    os.truncate(tmp_path / "objects" / "k~", 3)
    assert store.blobs[Tier.OBJECT].get([Range("k", 0, 3)]) == [b"abc"]
    with pytest.raises(Corrupt):
        store.blobs[Tier.OBJECT].get([Range("k", 0, 6)])
