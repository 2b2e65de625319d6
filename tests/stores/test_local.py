"""The local store passes the suite, between threads, processes and openings; nothing is left where nothing was asked."""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.advice import AdviceConformance
from tests.stores.conformance import GOOD_KEYS, BlobsConformance, Conformance, RegisterConformance, generation_of
from tests.stores.local_worker import record_of, value_of
from virke.core.effects import Absent, Generation, Lost, Mismatch, Stored, Swapped, Tier
from virke.errors import NotFound, Unavailable, UsageError
from virke.opening import create
from virke.stores.base import Blobs, Range, Store
from virke.stores.composite import composite_store
from virke.stores.local.files import FileBlobs, System, key_of, name_of, remove_stale_temps
from virke.stores.local.kv import SelfClosing, connect_sqlite
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

WORKER = Path(__file__).with_name("local_worker.py")
REPOSITORY = Path(__file__).parents[2]


class LosingConnection(SelfClosing):
    """A connection whose every answer is lost in an I/O error, after the statement was carried out."""

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
        if sql.startswith("PRAGMA"):
            return cursor
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error


class LocalConformance(Conformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        self.folder = tmp_path / "place"
        return local_store(self.folder, kv_bytes_max=100_000, object_bytes_max=100_000)

    def reopened(self, store: Store) -> Store:
        return local_store(self.folder)

    def losing(self, store: Store) -> Store:
        return local_store(self.folder, connect=partial(connect_sqlite, factory=LosingConnection))


class TestLocalRegister(LocalConformance, RegisterConformance):
    pass


class TestLocalAdvice(LocalConformance, AdviceConformance):
    pass


class TestLocalKvBlobs(LocalConformance, BlobsConformance):
    tier = Tier.KV


class TestLocalObjectBlobs(LocalConformance, BlobsConformance):
    def test_b1_a_lost_answer_is_lost(self, store: Store, blobs: Blobs) -> None:
        """A put whose last sync fails is `Lost`, a get or listing that fails `Unavailable`; putting again is `Stored`."""
        local = FileBlobs(self.folder, create=True, part_bytes_max=9, system=System(sync=self._fail_after_link))
        blobs.put_new("before", b"1")
        assert local.put_new("before", b"1") == Lost(f"fsync of {self.folder / 'objects'}: {os.strerror(errno.EIO)}")
        assert blobs.put_new("before", b"1") == Stored()
        for name in ("k~", "d"):
            (self.folder / "objects" / name).symlink_to(name)
        with pytest.raises(Unavailable):
            blobs.get([Range("k")])
        with pytest.raises(Unavailable):
            list(blobs.list("d/"))

    def _fail_after_link(self, fd: int) -> None:
        if list((self.folder / "tmp").iterdir()) and stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def worker(*arguments: object) -> subprocess.Popen[str]:
    """A process at work; kill it, or read its lines to the end."""
    paths = [str(REPOSITORY / "src"), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(WORKER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def lines_of(process: subprocess.Popen[str]) -> list[int]:
    """All numbers that a process printed; it must have ended well."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [int(line) for line in out.split()]


def killed_after(lines: int, process: subprocess.Popen[str]) -> int:
    """Kill a process when it has answered so many writes, and so is amid the next; answers the last it told of."""
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    told += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -9
    return int([line for line in told if line.endswith("\n")][-1])


def test_r5_processes_count_without_loss(tmp_path: Path) -> None:
    """Four processes add to one counter by compare-and-swap: every number was reached by one of them."""
    store = local_store(tmp_path)
    store.register.swap("counter", b"0", None)
    processes = [worker("count", tmp_path, 40) for _ in range(4)]
    answered = [number for process in processes for number in lines_of(process)]
    assert sorted(answered) == list(range(1, 161))
    assert record_of(store, "counter").data == b"160"


def test_r5_processes_create_once(tmp_path: Path) -> None:
    """Four processes make the folder, the file and the same hundred keys at once: one of them is told each."""
    folder = tmp_path / "new" / "place"
    processes = [worker("create", folder, name) for name in "abcd"]
    created = [lines_of(process) for process in processes]
    assert sorted(number for numbers in created for number in numbers) == list(range(100))
    store = local_store(folder)
    for name, numbers in zip("abcd", created, strict=True):
        assert {record_of(store, f"new/{n}").data for n in numbers} <= {name.encode()}


@pytest.mark.parametrize("answered", [1, 2, 9, 30, 77])
def test_r7_a_kill_loses_no_answered_swap(tmp_path: Path, answered: int) -> None:
    """After kill -9 amid writes the register holds the last answered value or the next, whole, and takes swaps."""
    last = killed_after(answered, worker("swap", tmp_path))
    store = local_store(tmp_path)
    record = record_of(store, "root")
    assert record.data in (value_of(last), value_of(last + 1))
    assert isinstance(store.register.swap("root", b"next", record.generation), Swapped)


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("answered", [1, 2, 9, 30])
def test_b6_a_kill_leaves_whole_objects(tmp_path: Path, tier: Tier, answered: int) -> None:
    """After kill -9 amid puts every answered object is there, and all that is listed is whole."""
    last = killed_after(answered, worker("put", tmp_path, tier.value))
    blobs = local_store(tmp_path).blobs[tier]
    numbers = sorted(int(listed.key.removeprefix("o/")) for listed in blobs.list(""))
    assert numbers in (list(range(1, last + 1)), list(range(1, last + 2)))
    assert blobs.get([Range(f"o/{n}") for n in numbers]) == [value_of(n) for n in numbers]
    assert blobs.put_new(f"o/{last + 1}", value_of(last + 1)) == Stored()


def test_a_fork_is_safe(tmp_path: Path) -> None:
    """No connection lives through a fork beside busy threads; child and parent both go on swapping."""
    store = local_store(tmp_path)
    store.register.swap("counter", b"0", None)
    lines_of(worker("fork", tmp_path, 15))
    assert record_of(store, "counter").data == b"30"


def test_a_connection_that_the_collector_finds_closes_itself(tmp_path: Path) -> None:
    """Before its store, as it may be within a cycle: Python 3.13 has no warning for it (which is an error here)."""
    local_store(tmp_path).register.swap("key", b"1", None)
    cycle: list[object] = [connect_sqlite(str(tmp_path / "kv.sqlite"))]
    cycle.append(cycle)
    del cycle
    gc.collect()


def test_reading_creates_nothing(tmp_path: Path) -> None:
    """A folder that is not there reads as an empty store in every call and is not made; writing says so."""
    folder = tmp_path / "nothing"
    store = local_store(folder, create=False)
    assert store.register.read("k") == Absent()
    assert store.register.read("k", Generation("g")) == Absent()
    assert store.register.remove("k", Generation("g")) == Mismatch()
    assert list(store.register.keys("")) == []
    for blobs in store.blobs.values():
        assert blobs.get([Range("k")]) == [Absent()]
        assert list(blobs.list("")) == []
        blobs.delete(["k"])
        with pytest.raises(NotFound):
            blobs.put_new("k", b"")
    with pytest.raises(NotFound):
        store.register.swap("k", b"", None)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_stays_empty_when_read(tmp_path: Path) -> None:
    """Opening makes the folder and nothing in it; the first write makes the rest, also for who opened before."""
    reader, writer = local_store(tmp_path / "place", create=False), local_store(tmp_path / "place")
    assert [reader.register.read("k"), writer.register.read("k")] == [Absent(), Absent()]
    assert list((tmp_path / "place").iterdir()) == []
    writer.register.swap("k", b"1", None)
    assert record_of(reader, "k").data == b"1"
    assert isinstance(reader.register.swap("k", b"2", generation_of(writer.register, "k")), Swapped)


@pytest.mark.parametrize("place", ["file", "file/place", "file/place/below"])
@pytest.mark.parametrize("create", [True, False])
def test_a_place_that_is_a_file_or_below_one_is_wrong_usage(place: str, create: bool, tmp_path: Path) -> None:
    """No repetition helps, and it is not empty: the message names the file, which stays as it is."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=rf"^{tmp_path / 'file'} is a file, and a local store is a folder$"):
        local_store(tmp_path / place, create=create)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A link to nothing: the message says why on one line; reading it finds nothing."""
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(Unavailable, match=r"^cannot create .*: Not a directory; nothing was changed$"):
        local_store(tmp_path / "link")
    assert local_store(tmp_path / "link", create=False).register.read("k") == Absent()


def test_a_folder_made_anew_is_used(tmp_path: Path) -> None:
    """If the folder was removed, or replaced by a copy, writes go to what is there now and old generations are void."""
    store = local_store(tmp_path / "place")
    store.register.swap("k", b"1", None)
    store.blobs[Tier.OBJECT].put_new("k", b"1")
    old = generation_of(store.register, "k")
    (tmp_path / "place").rename(tmp_path / "old")
    other = local_store(tmp_path / "place")
    other.register.swap("k", b"2", None)
    assert store.blobs[Tier.KV].get([Range("k")]) == [Absent()]
    assert record_of(store, "k").data == b"2"
    assert store.register.swap("k", b"3", old) == Mismatch()
    assert record_of(store, "k").data == b"2"
    (tmp_path / "place").rename(tmp_path / "older")
    assert isinstance(store.register.swap("k", b"4", None), Swapped)
    assert record_of(local_store(tmp_path / "place"), "k").data == b"4"


def test_stale_temps_are_removed_and_never_listed(tmp_path: Path) -> None:
    """Only files in `tmp/` older than the given time go; a put that is under way elsewhere loses nothing but time."""
    store = local_store(tmp_path)
    store.blobs[Tier.OBJECT].put_new("k", b"1")
    for name, modified_s in {"old": 1000, "new": 3000}.items():
        (tmp_path / "tmp" / name).write_bytes(b"half")
        os.utime(tmp_path / "tmp" / name, (modified_s, modified_s))
    assert [listed.key for listed in store.blobs[Tier.OBJECT].list("")] == ["k"]
    assert remove_stale_temps(tmp_path, before_ms=2_000_000) == 1
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["new"]
    assert remove_stale_temps(tmp_path / "nothing", before_ms=2_000_000) == 0


@pytest.mark.parametrize("by", ["collection", "first put", "composite"])
def test_temps_of_killed_writers_go_by_age(tmp_path: Path, by: str) -> None:
    """A day after they were written to last; those of writers that may be alive stay."""
    (tmp_path / "tmp").mkdir()
    now_s = time.time()
    for name, age_s in {"killed": 25 * 3600, "killed.sqlite": 90_000_000, "alive": 23 * 3600}.items():
        (tmp_path / "tmp" / name).write_bytes(b"half")
        os.utime(tmp_path / "tmp" / name, (now_s - age_s, now_s - age_s))
    with create("app", f"local:{tmp_path}") as database:
        assert len([*(tmp_path / "tmp").iterdir()]) == 3
        match by:
            case "collection":
                database.collect(dry_run=True)
                assert len([*(tmp_path / "tmp").iterdir()]) == 3
                database.collect()
            case "first put":
                local_store(tmp_path).blobs[Tier.OBJECT].put_new("k", b"1")
            case _:
                tidy = composite_store(memory_store(), local_store(tmp_path)).tidy
                assert tidy is not None
                assert [tidy(), tidy()] == [2, 0]
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["alive"]


def test_a_store_leaves_no_temps(tmp_path: Path) -> None:
    """After creation, puts and refused puts `tmp/` is empty."""
    blobs = local_store(tmp_path).blobs
    for tier in Tier:
        blobs[tier].put_new("k", b"1")
        blobs[tier].put_new("k", b"1")
    assert list((tmp_path / "tmp").iterdir()) == []


key_parts = st.text(st.sampled_from("aAbB.+~%@=-_09"), min_size=1).filter(lambda part: part not in (".", ".."))
keys = st.lists(key_parts, min_size=1).map("/".join)


@given(keys)
def test_a_file_name_gives_its_key_back(key: str) -> None:
    """`key_of` is the inverse of `name_of` for every key without the characters that names are made with."""
    plain = key.replace("+", "-").replace("~", "-").replace("%", "-")
    assert key_of(name_of(plain)) == plain


def test_file_names_are_fit_for_every_file_system() -> None:
    """No name is longer than 255 bytes or relies on case, none climbs, and no file is another's folder."""
    keys = [
        *GOOD_KEYS,
        "a" * 200,
        "a" * 201,
        "a" * 200 + "." + "/b",
        "a" * 200 + "/./b".replace("/./", "/"),
        "x" * 400 + "..",
    ]
    names = [name_of(key) for key in keys]
    assert len({name.lower() for name in names}) == len(set(keys))
    assert max(len(part) for name in names for part in name.split("/")) <= 255
    assert not {part for name in names for part in name.split("/")} & {".", "..", ""}
    assert all(not other.startswith(f"{name}/") for name in names for other in names)
    assert [key_of(name) for name in names] == keys


def test_local_and_memory_agree_on_their_limits(tmp_path: Path) -> None:
    """What fits into one fits into the other."""
    local, memory = local_store(tmp_path), memory_store()
    assert {t: b.part_bytes_max for t, b in local.blobs.items()} == {
        t: b.part_bytes_max for t, b in memory.blobs.items()
    }
    assert local.register.consistency is memory.register.consistency
