"""Processes and threads that migrate or undo on one database at the same moment."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.test_migration_races import LOG, UNDONE, logged
from tests.test_migrations import write
from virke.errors import Invalid
from virke.migrations import migrate, plan, status, undo
from virke.opening import connect, create
from virke.stores.memory import memory_store

PROCESSES: Final = 4
SCRIPT: Final = """
import sys
from pathlib import Path
from virke.errors import Invalid
from virke.migrations import migrate, undo
from virke.opening import connect
url, act, *folders = sys.argv[1:]
with connect("app", url) as database:
    database.query("SELECT 1")
    print("ready", flush=True)
    sys.stdin.readline()
    for folder in folders:
        try:
            done = migrate(database, Path(folder)) if act == "migrate" else undo(database, Path(folder), int(act))
            print(*(file.file_name for file in done))
        except Invalid as error:
            print("refused", error.message)
"""


def together(url: str, act: str, folders: Sequence[Path]) -> list[str]:
    """What so many processes said that began at the same time, one on each folder."""
    command = [sys.executable, "-c", SCRIPT, url, act]
    running = [
        subprocess.Popen([*command, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in running:
            assert one.stdin is not None
            with suppress(BrokenPipeError):
                one.stdin.write("go\n")
                one.stdin.flush()
        said = [one.communicate(timeout=120)[0].strip() for one in running]
        assert [one.returncode for one in running] == [0] * len(running), said
        return said
    finally:
        for one in running:
            one.kill()
            one.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"local:{tmp_path / 'store'}"
    create("app", url).close()
    return url


def test_processes_that_migrate_with_different_folders_apply_one_of_them(url: str, tmp_path: Path) -> None:
    folders = [
        write(tmp_path / f"m{n}", **{f"001_f{n}": LOG + f"INSERT INTO log VALUES ({n});", f"002_f{n}": "SELECT 1;"})
        for n in range(PROCESSES)
    ]
    said = together(url, "migrate", folders)
    with connect("app", url) as database:
        (winner,) = logged(database)
        assert [state.applied_at is None for state in status(database, folders[int(winner)])] == [False, False]
    assert said[int(winner)] == f"001_f{winner}.sql 002_f{winner}.sql"
    assert sum(line.startswith("refused") for line in said) == PROCESSES - 1


def test_processes_that_migrate_with_one_folder_apply_each_file_once(url: str, tmp_path: Path) -> None:
    files = {f"{n:03}_t": (LOG if n == 1 else "") + f"INSERT INTO log VALUES ({n});" for n in range(1, 5)}
    said = together(url, "migrate", [write(tmp_path / "m", **files)] * PROCESSES)
    assert sorted(" ".join(said).split()) == [f"{n:03}_t.sql" for n in range(1, 5)]
    with connect("app", url) as database:
        assert logged(database) == ["1", "2", "3", "4"]


def test_processes_that_undo_run_each_script_once(url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **UNDONE)
    with connect("app", url) as database:
        migrate(database, folder)
    said = together(url, "2", [folder] * PROCESSES)
    with connect("app", url) as database:
        left = [state.number for state in status(database, folder) if state.applied_at]
        undone = [number for number in (3, 2, 1) if number not in left]
        assert logged(database) == [f"undid {number}" for number in undone]
    assert sorted(" ".join(line for line in said if not line.startswith("refused")).split()) == [
        f"{number:03}_t.sql" for number in reversed(undone)
    ]


def test_threads_that_undo_on_one_database_run_each_script_once(tmp_path: Path) -> None:
    folder = write(tmp_path, **UNDONE)
    barrier, done, errors = threading.Barrier(PROCESSES), list[str](), list[BaseException]()
    with create("app", memory_store()) as database:
        migrate(database, folder)

        def run() -> None:
            barrier.wait()
            try:
                done.extend(file.file_name for file in undo(database, folder))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(PROCESSES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logged(database) == [f"undid {number}" for number in (3, 2, 1)][: len(done)]
        assert [file.number for file in plan(folder)][: 3 - len(done)] == [
            state.number for state in status(database, folder) if state.applied_at
        ]
    assert [error for error in errors if not isinstance(error, Invalid)] == []
