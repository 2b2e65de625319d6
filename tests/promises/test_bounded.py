"""P11 at the store's end: a full disk, a folder that can't be written, a store that never answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, SOURCE, TABLE, check_integrity, check_store, insert, opened
from virke.core.backoff import BACKOFF
from virke.engine.database import Database
from virke.errors import OutcomeUnknown, Unavailable
from virke.opening import connect
from virke.stores.faulty import At, Fault, FaultyStore, LoseAnswer, LoseRequest, Refuse
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

DISK_BYTES: Final = 3 << 20


def _mount(*arguments: str) -> None:
    found = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"needs to mount: {found.stderr.strip() or 'mount failed'}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a few megabytes."""
    if os.geteuid():
        pytest.skip("needs root, to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def virke(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    variables = {"PYTHONPATH": SOURCE, "VIRKE_STORE": f"local:{folder}", "VIRKE_DB": NAME}
    command = [sys.executable, "-m", "virke.cli.main", *args]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False)


def begun(folder: Path, **settings: str) -> Database:
    """A local database on that disk."""
    database = connect(NAME, local_store(folder), create=True, background=False)
    database.execute(TABLE)
    database.change_settings({"history_days": 0, **settings})
    insert(database, "first")
    return database


def fill(disk: Path) -> Path:
    """Leave no room on it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            while True:
                try:
                    file.write(bytes(size))
                except OSError:
                    break
    return ballast


def state(folder: Path) -> list[object]:
    """What the database holds, seen from a new connection; all its versions are checked."""
    store = local_store(folder)
    with connect(NAME, store, background=False) as database:
        check_integrity(database)
        found = database.query("SELECT token FROM entry ORDER BY rowid").rows
    check_store(store)
    return [token for (token,) in found]


@pytest.mark.parametrize("tier", ["kv", "object"])
def test_p11_a_full_disk_is_unavailable_and_changes_nothing(tier: str, disk: Path) -> None:
    """Small and large commits, an import and a promotion; with room again, the same connection goes on."""
    folder = disk / "store"
    database = begun(folder, tier=tier)
    insert(database, "large", LARGE)
    ballast, version = fill(disk), database.version
    for size in (LARGE, 900_000, LARGE):
        with pytest.raises(Unavailable, match="nothing was changed"):
            insert(database, "no room", size)
    assert database.version == version
    assert [token for (token,) in database.query("SELECT token FROM entry").rows] == ["first", "large"]
    ballast.unlink()
    insert(database, "room again", LARGE)
    database.close()
    assert state(folder) == ["first", "large", "room again"]


def test_p11_the_command_line_says_that_the_disk_is_full(disk: Path) -> None:
    """Exit code 3, one line on stderr, no traceback."""
    folder = disk / "store"
    begun(folder).close()
    ballast = fill(disk)
    found = virke(folder, "db", "execute", "INSERT INTO entry VALUES ('no room', randomblob(900000))")
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (3, "", 1), found.stderr
    assert "Traceback" not in found.stderr
    ballast.unlink()
    assert virke(folder, "db", "execute", "INSERT INTO entry VALUES ('room', NULL)").returncode == 0
    assert state(folder) == ["first", "room"]


def test_p1_a_journal_on_a_full_disk_acknowledges_nothing(disk: Path, tmp_path: Path) -> None:
    database = begun(tmp_path / "store")
    database.change_settings({"durability": "deferred"})
    database.close()
    database = connect(NAME, local_store(tmp_path / "store"), state_dir=disk, background=False)
    insert(database, "kept")
    ballast = fill(disk)
    kept = ["first", "kept"]
    for number in range(8):  # a few small entries may still fit into the file
        try:
            database.execute("INSERT INTO entry VALUES (?, ?)", (f"try-{number}", bytes(0 if number % 2 else 100_000)))
        except Unavailable:
            continue
        kept.append(f"try-{number}")
    assert "try-0" not in kept
    assert [token for (token,) in database.query("SELECT token FROM entry").rows] == kept
    ballast.unlink()
    insert(database, "room")
    database.close()
    assert state(tmp_path / "store") == [*kept, "room"]


def _read_only(folder: Path, action: Callable[[], None]) -> None:
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        action()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_p11_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to make a folder read-only")
    folder = tmp_path / "store"
    begun(folder).close()

    def write() -> None:
        found = virke(folder, "db", "execute", "INSERT INTO entry VALUES ('no', NULL)")
        assert (found.returncode, found.stdout, found.stderr.count("\n")) == (3, "", 1), found.stderr
        assert "Traceback" not in found.stderr

    _read_only(folder, write)
    assert virke(folder, "db", "execute", "INSERT INTO entry VALUES ('yes', NULL)").returncode == 0
    assert state(folder) == ["first", "yes"]


REQUESTS_MAX: Final = BACKOFF.tries + 1


@pytest.mark.parametrize("fault", [Refuse(), LoseAnswer(), LoseRequest()])
@pytest.mark.parametrize("size", [0, LARGE])
def test_p11_a_store_that_never_answers_is_asked_a_bounded_number_of_times(
    fault: Fault, size: int, tmp_path: Path
) -> None:
    """Refused: nothing was changed. Silent: nobody knows, unless an object was missing anyway."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
    faulty = FaultyStore(store, [At(n, fault) for n in range(2, 1000)])
    database = opened(faulty.store, tmp_path)
    expected = Unavailable if isinstance(fault, Refuse) or size else OutcomeUnknown
    for _ in range(2):
        before = len(faulty.log)
        with pytest.raises(expected):
            insert(database, "a", size)
        assert len(faulty.log) - before <= REQUESTS_MAX
    before = len(faulty.log)
    with pytest.raises(Unavailable):
        database.query("SELECT 1", consistency="strong")
    assert len(faulty.log) - before == BACKOFF.tries
    database.close()


def test_p11_a_store_that_never_answers_cannot_be_opened(tmp_path: Path) -> None:
    faulty = FaultyStore(memory_store(), [At(n, Refuse()) for n in range(1, 1000)])
    for create in (False, True):
        with pytest.raises(Unavailable):
            opened(faulty.store, tmp_path, create=create)
    assert len(faulty.log) <= 2 * REQUESTS_MAX
