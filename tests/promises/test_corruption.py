"""P7: whatever happens to a stored object, a read raises `Corrupt` or gives what was written; never anything else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from tests.promises.ledger import LARGE, NAME, TABLE, insert, opened
from virke.cli.main import cli
from virke.core.effects import Generation, ReadOutcome
from virke.core.merge import Run
from virke.engine import indexes
from virke.engine.database import Database
from virke.errors import Conflict, Corrupt, NotFound, VirkeError
from virke.opening import connect
from virke.stores.base import Range, Store
from virke.stores.cached.on_disk import cached_store
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

OTHER: Final = "other"
Bytes = Callable[[bytes, bytes], bytes | None]
"""What becomes of an object, given another one; None: it is gone."""


def _flipped(place: float) -> Bytes:
    def flip(data: bytes, other: bytes) -> bytes:
        at = min(int(len(data) * place), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    return flip


DAMAGES: Final[dict[str, Bytes]] = {
    "first byte flipped": _flipped(0),
    "byte flipped at a third": _flipped(0.33),
    "byte flipped at two thirds": _flipped(0.66),
    "last byte flipped": _flipped(1),
    "half": lambda data, other: data[: len(data) // 2],
    "one byte short": lambda data, other: data[:-1],
    "empty": lambda data, other: b"",
    "zeros": lambda data, other: bytes(len(data)),
    "longer": lambda data, other: b"x" + data,
    "another": lambda data, other: other,
    "gone": lambda data, other: None,
}


class Objects:
    """The objects of a local store as its files hold them: by key, the table or file and the bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keys(self, database_id: str) -> list[str]:
        """What belongs to one database, its root not counted."""
        with closing(sqlite3.connect(self._folder / "kv.sqlite")) as file:
            rows = [str(key) for (key,) in file.execute("SELECT key FROM blobs ORDER BY key")]
        files = [path.relative_to(self._folder).as_posix() for path in self._files()]
        return [key for key in (*rows, *files) if database_id in key]

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted((self._folder / "objects").rglob("*")) if path.is_file())

    def read(self, key: str) -> bytes:
        """The bytes of a root, an object of the kv tier, or a file."""
        if key.startswith("objects/"):
            return (self._folder / key).read_bytes()
        table = "register" if key.startswith("root/") else "blobs"
        with closing(sqlite3.connect(self._folder / "kv.sqlite")) as file:
            return bytes(file.execute(f"SELECT data FROM {table} WHERE key = ?", (key,)).fetchone()[0])

    def write(self, key: str, data: bytes | None) -> None:
        """Replace or remove it, behind the store's back."""
        if key.startswith("objects/"):
            path = self._folder / key
            path.unlink(missing_ok=True)
            if data is not None:
                path.write_bytes(data)
            return
        table = "register" if key.startswith("root/") else "blobs"
        with closing(sqlite3.connect(self._folder / "kv.sqlite", isolation_level=None)) as file:
            if data is None:
                file.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            elif not file.execute(f"UPDATE {table} SET data = ? WHERE key = ?", (data, key)).rowcount:
                file.execute("INSERT INTO blobs (key, modified_ms, data) VALUES (?, 0, ?)", (key, data))


def rows(folder: Path, name: str = NAME, *, cache: Path | None = None) -> list[object]:
    """Everything that the database holds, read through a cache on disk if one is named."""
    store = local_store(folder, create=False)
    with connect(name, cached_store(store, folder=cache) if cache else store, background=False) as database:
        found = [database.query("SELECT token, hex(filler) FROM entry ORDER BY rowid").rows]
        found += [database.query("PRAGMA integrity_check").rows]
        return [row for part in found for row in part]


def filled(folder: Path, name: str, tier: str) -> str:
    """A database of some segments and a few inline commits; returns its id in hexadecimal."""
    store = local_store(folder)
    with connect(name, store, create=True, background=False) as database:
        database.execute(TABLE)
        for number in range(2):
            insert(database, f"{name}-{number}", LARGE)
        if tier == "object":
            database.promote()
            insert(database, f"{name}-object", LARGE)
        insert(database, f"{name}-inline")
        return database.snapshot().root.database_id.hex()


@pytest.fixture(params=["kv", "object"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    """A local store with two databases, and their ids."""
    return tmp_path, filled(tmp_path, NAME, request.param), filled(tmp_path, OTHER, request.param)


def test_p7_a_damaged_object_is_corrupt_and_never_other_data(place: tuple[Path, str, str]) -> None:
    """Every object, every damage; the other database of the store never notices."""
    folder, mine, theirs = place
    objects, before, untouched = Objects(folder), rows(folder), rows(folder, OTHER)
    keys = objects.keys(mine)
    swaps = [*keys, *objects.keys(theirs)]
    needed = 0
    for number, key in enumerate(keys):
        data, other = objects.read(key), objects.read(swaps[(number + 1) % len(swaps)])
        for damage, damaged in DAMAGES.items():
            objects.write(key, damaged(data, other))
            try:
                assert rows(folder) == before, f"{damage} of {key}"
            except Corrupt:
                needed += 1
            assert rows(folder, OTHER) == untouched
        objects.write(key, data)
        assert rows(folder) == before
    assert needed >= len(DAMAGES)


def test_p7_objects_swapped_with_another_database_are_corrupt(place: tuple[Path, str, str]) -> None:
    """Valid segments under the wrong keys, one by one and all together."""
    folder, mine, theirs = place
    objects, before = Objects(folder), rows(folder)
    here, there = objects.keys(mine), objects.keys(theirs)
    for key in here:
        data = objects.read(key)
        for foreign in there:
            objects.write(key, objects.read(foreign))
            try:
                assert rows(folder) == before
            except Corrupt:
                continue
            finally:
                objects.write(key, data)
    for key, foreign in zip(here, there, strict=False):
        objects.write(key, objects.read(foreign))
    with pytest.raises(Corrupt):
        rows(folder)


def test_p7_a_damaged_root_is_corrupt(place: tuple[Path, str, str]) -> None:
    """Every byte that may be flipped, in steps, and every length."""
    folder, *_ = place
    objects, key, untouched = Objects(folder), f"root/{NAME}/main", rows(folder, OTHER)
    data = objects.read(key)
    damaged = [_flipped(at / len(data))(data, b"") for at in range(0, len(data), 97)]
    damaged += [data[:size] for size in range(0, len(data), 211)] + [data + b"x", bytes(len(data))]
    for bad in damaged:
        objects.write(key, bad)
        with pytest.raises(Corrupt):
            rows(folder)
    assert rows(folder, OTHER) == untouched
    objects.write(key, None)
    with pytest.raises(NotFound):
        rows(folder)


def test_p7_a_connection_never_shows_the_root_of_another_database(place: tuple[Path, str, str]) -> None:
    folder, *_ = place
    objects = Objects(folder)
    with connect(NAME, local_store(folder), background=False) as database:
        before = database.query("SELECT token FROM entry").rows
        foreign = connect(OTHER, local_store(folder), background=False)
        insert(foreign, "new")
        foreign.close()
        with closing(sqlite3.connect(folder / "kv.sqlite", isolation_level=None)) as file:
            file.execute("UPDATE register SET generation = 'x' WHERE key = ?", (f"root/{NAME}/main",))
        objects.write(f"root/{NAME}/main", objects.read(f"root/{OTHER}/main"))
        with pytest.raises(VirkeError):
            database.query("SELECT token FROM entry", consistency="strong")
        assert before == [(f"{NAME}-{number}",) for number in range(2)] + before[2:]


def test_p7_the_root_of_another_database_is_corrupt_to_a_newcomer(place: tuple[Path, str, str]) -> None:
    folder, *_ = place
    objects = Objects(folder)
    objects.write(f"root/{NAME}/main", objects.read(f"root/{OTHER}/main"))
    with pytest.raises(Corrupt):
        rows(folder)


def test_p7_a_damaged_file_of_the_store_is_corrupt(place: tuple[Path, str, str]) -> None:
    folder, *_ = place
    file = folder / "kv.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    for damaged in (b"x" * 4096, whole[: len(whole) // 2], whole[:100]):
        file.write_bytes(damaged)
        with pytest.raises(Corrupt):
            rows(folder)


COPIES: Final = [damage for damage in DAMAGES if damage not in ("gone", "longer")]
"""What a cache takes in; of an object that is gone it keeps nothing."""


@pytest.mark.parametrize("damage", COPIES)
def test_p7_a_damaged_copy_is_not_corruption(damage: str, place: tuple[Path, str, str]) -> None:
    """What a cache on disk took in while the store, or the way to it, was damaged: reads and upkeep go on without it."""
    folder, mine, theirs = place
    objects, before, cache = Objects(folder), rows(folder), folder / "cache"
    other = objects.read(objects.keys(theirs)[0])
    whole = {key: objects.read(key) for key in objects.keys(mine)}
    with connect(NAME, local_store(folder), background=False) as database:
        refs = database.snapshot().root.segments
    for copies in (cache / "read", cache / "kept up"):
        for key, data in whole.items():
            objects.write(key, DAMAGES[damage](data, other))
        for ref in refs:
            cached_store(local_store(folder), folder=copies).blobs[ref.tier].get([Range(key) for key in ref.keys])
        with pytest.raises(Corrupt):
            rows(folder, cache=copies)
        for key, data in whole.items():
            objects.write(key, data)
    assert rows(folder, cache=cache / "read") == before
    with connect(NAME, cached_store(local_store(folder), folder=cache / "kept up"), background=False) as database:
        database.collect(dry_run=True)
        assert database._upkeep.compact(Run(0, len(refs)))
    assert rows(folder) == before


@pytest.mark.parametrize("damage", ["root", "segment"])
def test_p7_the_command_line_says_corruption(
    damage: str, place: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 5, one line on stderr and one for its hint, no traceback."""
    folder, mine, _ = place
    objects = Objects(folder)
    key = f"root/{NAME}/main" if damage == "root" else objects.keys(mine)[-1]
    objects.write(key, _flipped(0.4)(objects.read(key), b""))
    monkeypatch.setenv("VIRKE_STORE", f"local:{folder}")
    monkeypatch.setenv("VIRKE_DB", NAME)
    found = CliRunner().invoke(cli, ["db", "query", "SELECT max(hex(filler)) FROM entry"])
    assert (found.exit_code, found.stdout, found.stderr.count("\n")) == (5, "", 2)
    assert found.stderr.splitlines()[1].startswith("hint: 'virke db verify'")


# What was collected is not corruption


def collected(store: Store, folder: Path) -> None:
    """Another node merges everything and deletes what nothing needs any more, without grace."""
    with opened(store, folder / "other") as other:
        for number in range(4):
            insert(other, f"more-{number}", LARGE)
        other.flush()
        other.upkeep(None)
        for _ in range(3):
            other.collect(grace_ms=0)


def old_database(folder: Path) -> Store:
    """A store with segments that `collected` will delete."""
    store = memory_store()
    with opened(store, folder, create=True) as database:
        database.execute(TABLE)
        database.change_settings({"history_days": 0, "max_staleness_ms": 86_400_000})
        for number in range(3):
            insert(database, f"old-{number}", LARGE)
    return store


ALL: Final = 7


def count(database: Database) -> int:
    """Reads every page of the table; `bounded` as the settings say."""
    return len(database.query("SELECT token, filler FROM entry").rows)


@pytest.fixture
def nothing_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes are read without the pages before them: what a large segment's reader lacks, a small one's lacks too."""
    monkeypatch.setattr(indexes, "TAIL_BYTES", 0)


@pytest.mark.usefixtures("nothing_comes_along")
def test_p8_a_reader_of_a_collected_snapshot_starts_over(tmp_path: Path) -> None:
    store = old_database(tmp_path)
    with opened(store, tmp_path) as reader:
        assert reader.query("SELECT count(*) FROM sqlite_schema").rows == [(1,)]
        collected(store, tmp_path)
        assert count(reader) == ALL


@pytest.mark.usefixtures("nothing_comes_along")
def test_p8_rows_and_descriptions_of_a_collected_snapshot_start_over(tmp_path: Path) -> None:
    """A version that the caller named is not found instead."""
    store, asked = old_database(tmp_path), "SELECT token, filler FROM entry"
    with opened(store, tmp_path) as reader, opened(store, tmp_path) as another:
        snapshot = reader.snapshot()
        collected(store, tmp_path)
        assert len(another.describe(asked).columns) == 2
        assert len(list(another.query_rows(asked))) == ALL
        with pytest.raises(NotFound, match="collected"):
            reader._readers.query_at(snapshot, asked, (), reader._readers.plain)
        assert len(list(reader.query_rows(asked))) == ALL


def test_p8_a_snapshot_that_was_collected_is_a_conflict_not_corruption(tmp_path: Path) -> None:
    """Also when this process has seen the newer root already."""
    store = old_database(tmp_path)
    with opened(store, tmp_path) as reader:
        snapshot = reader.snapshot()
        collected(store, tmp_path)
        reader.query("SELECT 1", consistency="strong")
        with pytest.raises(Conflict):
            list(snapshot.pages())


def test_p8_a_writer_on_a_collected_snapshot_starts_over(tmp_path: Path) -> None:
    store = old_database(tmp_path)
    with opened(store, tmp_path) as writer:
        collected(store, tmp_path)
        assert writer.execute("UPDATE entry SET filler = NULL") == ALL


@pytest.mark.usefixtures("nothing_comes_along")
def test_p8_a_deferred_writer_on_a_collected_snapshot_starts_over(tmp_path: Path) -> None:
    store = old_database(tmp_path)
    with opened(store, tmp_path) as writer:
        writer.change_settings({"durability": "deferred"})
        collected(store, tmp_path)
        assert writer.execute("UPDATE entry SET filler = NULL") == ALL


class Meanwhile:
    """A register that lets something happen right after its first read was answered."""

    def __init__(self, inner: Store, happens: Callable[[], None]) -> None:
        self._inner = inner
        self._happens: list[Callable[[], None]] = [happens]
        self.store = Store(inner.url, self, inner.blobs)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner.register, name)

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """What was there before it happened."""
        outcome = self._inner.register.read(key, known)
        if self._happens:
            self._happens.pop()()
        return outcome


def test_p8_a_connection_that_was_overtaken_by_collection_starts_over(tmp_path: Path) -> None:
    """Between the root and the indexes that it names."""
    store = old_database(tmp_path)
    with opened(Meanwhile(store, lambda: collected(store, tmp_path)).store, tmp_path) as database:
        assert count(database) == ALL
