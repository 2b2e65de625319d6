"""What is recorded until the power is cut, and what must be there after it came back.

1. Each write is named by a token. `begun` is noted before it, `kept` once it was answered; `removing` and `removed` are
   the same for a row that is deleted.
2. After any cut: a kept token is there once, a removed one is not, nothing is there that was not begun, and of a unit
   all is there or nothing.
3. SQLite finds nothing wrong, no name of an object leads to a part of it, and the next write works.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, check_integrity, check_store, environment, tokens
from tests.promises.power_disk import ALL, Disk, Fate, Mark, Operation, Sync
from tests.promises.power_recording import Connect, Recording, recorded
from virke import opening
from virke.engine.database import Database
from virke.errors import NotFound, VirkeError
from virke.journal import FileJournal, place
from virke.stores.base import Store
from virke.stores.local.files import System
from virke.stores.local.line import FOLDER as LINES
from virke.stores.local.stamps import STAMPS_FILE
from virke.stores.local.store import local_store
from virke.transfer import import_file

STORE: Final = "store"
STATE: Final = "state"
CREATED: Final = "the database"
_SHARED: Final = ".sqlite-shm"
"""The index of SQLite's log, which processes share; after a cut it may be anything."""
DEEP_EVERY: Final = 5
"""At so many cuts every page of every version is read: it takes most of the time."""
HUGE: Final = 400_000
"""Random bytes of a row that, once promoted, go to files."""
_STAMPS: Final = (
    b"virke stamps v1\n" + b"\1" * 16_384,
    b"virke stamps v1\n" + bytes(16_384),
    b"\0" * 16_400,
    b"",
    None,
)
_OFTEN: Final = (10, 10, 1, 1, 1)
"""What may be left of the one file that is never synced; where it has to be made again that takes a while."""


@dataclass(frozen=True)
class Machine:
    """A machine that is recorded: the calls of its system, and how SQLite is connected to its files."""

    base: Path
    recording: Recording
    system: System
    connect: Connect
    journal_connect: Connect

    def store(self) -> Store:
        """The local store, with files of its own."""
        return local_store(self.base / STORE, system=self.system, connect=self.connect)

    def opened(self, *, create: bool = False) -> Database:
        """The database of the store, with its journal."""
        return opening.connect(
            NAME, self.store(), create=create, state_dir=self.base / STATE, background=False, environment=environment()
        )

    def created(self) -> Database:
        """The same, made."""
        self.recording.mark("begun", CREATED)
        database = self.opened(create=True)
        database.execute(TABLE)
        self.recording.mark("kept", CREATED)
        return database

    def write(self, action: Callable[[], object], *units: str) -> None:
        """Do what writes all of these tokens."""
        self.recording.mark("begun", *units)
        action()
        self.recording.mark("kept", *units)

    def insert(self, database: Database, token: str, size: int = 0) -> None:
        """One row as one write."""
        self.write(lambda: database.execute("INSERT INTO entry VALUES (?, randomblob(?))", (token, size)), token)

    def remove(self, database: Database, token: str) -> None:
        """Delete one row."""
        self.recording.mark("removing", token)
        database.execute("DELETE FROM entry WHERE token = ?", (token,))
        self.recording.mark("removed", token)

    def batch(self, database: Database, *units: str) -> None:
        """Some rows as one write."""
        self.write(
            lambda: database.batch([("INSERT INTO entry VALUES (?, NULL)", (token,)) for token in units]), *units
        )

    def load(self, database: Database, *units: str) -> None:
        """Some large rows as one import."""
        dump = "".join(f"INSERT INTO entry VALUES ('{token}', randomblob({HUGE}));\n" for token in units)
        self.write(lambda: import_file(database, BytesIO(dump.encode())), *units)


def write_synced(machine: Machine) -> None:
    """Commits of all sizes, units, imports into files, promotion, upkeep, collection, and the last connection's close."""
    with machine.created() as database:
        for number in range(4):
            machine.insert(database, f"small-{number}")
        machine.insert(database, "large", LARGE)
        machine.batch(database, "one", "two", "three")
        machine.remove(database, "small-1")
        database.promote()
        machine.load(database, "import-1", "import-2")
        database.upkeep(None)
        machine.insert(database, "huge", HUGE)
        machine.remove(database, "large")
        database.collect(grace_ms=0)
        database.collect(grace_ms=0)
        machine.insert(database, "collected")
    with machine.opened() as database:
        for number in range(3):
            machine.insert(database, f"again-{number}", 3000)


def write_deferred(machine: Machine) -> None:
    """Writes that are answered by the journal, flushes between them, and a node that is closed with and without a push."""
    with machine.created() as database:
        database.change_settings({"durability": "deferred", "flush_interval_ms": 3_600_000})
        for number in range(3):
            machine.insert(database, f"first-{number}", 3000 * number)
        machine.batch(database, "one", "two", "three")
        database.flush()
        machine.remove(database, "first-0")
        machine.insert(database, "second", LARGE)
        database.close(push=False)
    with machine.opened() as database:
        machine.insert(database, "third")
        database.flush()
        for number in range(6):
            machine.insert(database, f"fourth-{number}", 9000)
    with machine.opened() as database:
        machine.insert(database, "fifth")
        database.close(push=False)


Work = Callable[[Machine], None]
Spoil = Callable[[Machine], Machine]


@dataclass(frozen=True)
class Recorded:
    """Operations that were done, the numbers that their files had really, and what is in objects' files."""

    operations: Sequence[Operation]
    identities: Mapping[Path, tuple[int, int]]


def record(work: Work, base: Path, spoil: Spoil = lambda machine: machine) -> Recorded:
    """Do some work on a machine, which may be spoilt, and write it down."""
    base.mkdir()
    identities = {}
    with recorded(base) as (recording, connect), pytest.MonkeyPatch.context() as patch:
        machine = spoil(Machine(base, recording, recording.system(), connect, connect))
        patch.setattr(
            opening, "FileJournal", partial(FileJournal, system=machine.system, connect=machine.journal_connect)
        )
        work(machine)
        for path in base.rglob("*.sqlite"):
            identity = place.file_identity(path)
            assert identity is not None
            identities[path.relative_to(base)] = identity
    check_whole(recording.operations, base)
    return Recorded(recording.operations, identities)


def check_whole(operations: Iterable[Operation], base: Path) -> None:
    """Nothing was missed: with all that was recorded, each file is what it really is; others are locks and stamps."""
    disk, chance = Disk(), random.Random(0)
    for operation in operations:
        disk.do(operation)
    simulated = {path: disk.whole(inode) for path, inode in disk.cut(ALL, chance).items()}
    real = {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}
    missed = {path for path in set(real) - set(simulated) if not _is_for_the_living(path)}
    assert (missed, set(simulated) - set(real)) == (set(), set())
    assert [path for path, data in simulated.items() if real[path] != data] == []


def _is_for_the_living(path: Path) -> bool:
    """Whether a file means something only to processes that run at the same time."""
    locks = (".lock", ".append", ".change")
    return path.name == STAMPS_FILE or path.parent.name == LINES or path.suffix in (*locks, _SHARED)


@dataclass
class Answered:
    """What callers were told before the cut."""

    kept: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    units: list[frozenset[str]] = field(default_factory=list)
    removing: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def note(self, operation: Operation) -> None:
        """One more operation."""
        if isinstance(operation, Mark):
            getattr(self, operation.word).update(operation.tokens)
            if operation.word == "begun":
                self.units.append(frozenset(operation.tokens))

    def check(self, rows: Sequence[object]) -> None:
        """Invariant 2."""
        found = Counter(map(str, rows))
        assert [token for token, times in found.items() if times > 1] == [], "doubled"
        there = set(found)
        assert self.kept - self.removing - {CREATED} - there == set(), "lost"
        assert self.removed & there == set(), "came back"
        assert there - self.begun == set(), "never written"
        for unit in self.units:
            if not unit & self.removing:
                assert unit & there in (unit, set()), "a unit is there in part"


Cut = tuple[int, Fate]
"""Before which operation the power is cut, and what becomes of what was not synced by then."""


def cuts(recorded: Recorded, planned: Iterable[Cut]) -> Iterator[tuple[Cut, Disk, Answered]]:
    """The disk and the answers at each cut; these come in order."""
    disk, answered, done = Disk(), Answered(), 0
    for cut in planned:
        for operation in recorded.operations[done : cut[0]]:
            disk.do(operation)
            answered.note(operation)
        done = cut[0]
        yield cut, disk, answered


def worthwhile(recorded: Recorded) -> list[int]:
    """Before each sync and after each answer most is at stake."""
    marks = [number for number, one in enumerate(recorded.operations) if isinstance(one, Sync | Mark)]
    return [*marks, len(recorded.operations)]


def restore(disk: Disk, fate: Fate, chance: random.Random, folder: Path, safe: frozenset[str]) -> None:
    """Write what is left of the disk into a folder. Raises `AssertionError`: an object is there in part (invariant 3)."""
    for path, inode in disk.cut(fate, chance, safe=safe).items():
        left = disk.whole(inode) if path.parts[0] in safe else disk.content(inode, fate, chance)
        if path.parts[:2] == (STORE, "objects"):
            assert left == disk.whole(inode), f"{path} is there in part"
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(left)
        if path.suffix == ".sqlite" and chance.random() < 0.3:
            target.with_suffix(_SHARED).write_bytes(chance.randbytes(32_768))
    if (folder / STORE).is_dir() and (stamps := chance.choices(_STAMPS, _OFTEN)[0]) is not None:
        (folder / STORE / STAMPS_FILE).write_bytes(stamps)


@contextmanager
def same_files(folder: Path, recorded: Recorded) -> Iterator[None]:
    """A machine that starts again finds its files under the same numbers: a journal takes others for a copy."""
    real = place.file_identity

    def identity(path: Path) -> tuple[int, int] | None:
        found = real(path)
        within = path.relative_to(folder) if path.is_relative_to(folder) else None
        return found and recorded.identities.get(within, found) if within else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "file_identity", identity)
        yield


def check_left(folder: Path, answered: Answered, *, deep: bool = False) -> None:
    """All invariants, on what is left in a folder. Raises `AssertionError`, `VirkeError`."""
    for path in folder.rglob("*.sqlite"):
        if "tmp" not in path.parts:
            with closing(sqlite3.connect(path)) as file:
                assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"{path} is damaged"
    store = local_store(folder / STORE)
    again = partial(opening.connect, NAME, store, state_dir=folder / STATE, background=False, environment=environment())
    try:
        database = again()
    except NotFound:
        assert answered.kept == set(), "the database is lost"
        again(create=True).close()
        return
    with database:
        if CREATED not in answered.kept:
            database.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
        before = tokens(database)
        answered.check(before)
        flushed = database.flush()
        assert (flushed.rejected, tokens(database)) == (0, before)
        database.execute("INSERT INTO entry VALUES ('after', NULL)")
        database.flush()
        assert tokens(database) == [*before, "after"]
        check_integrity(database)
    if deep:
        check_store(store)


def find_faults(
    recorded: Recorded,
    folder: Path,
    planned: Iterable[Cut],
    *,
    seed: int,
    safe: frozenset[str] = frozenset(),
    deep: bool = False,
) -> Iterator[str]:
    """One line for each cut that was tried: "" if every promise held, else what broke."""
    for (number, fate), disk, answered in cuts(recorded, planned):
        chance = random.Random(f"{seed} {number} {fate.name}")
        folder.mkdir()
        try:
            with same_files(folder, recorded):
                restore(disk, fate, chance, folder, safe)
                check_left(folder, answered, deep=deep and number % DEEP_EVERY == 0)
        except (AssertionError, VirkeError, sqlite3.Error) as error:
            yield f"cut before operation {number}, {fate.name} of what was not synced, seed {seed}: {error!r}"
        else:
            yield ""
        shutil.rmtree(folder)
