"""B17: what a commit of one row costs: CPU, syncs and bytes, beside the standard library's sqlite3 (WAL, `synchronous = FULL`).

CPU is of the whole process, the system's part included; what upkeep takes in between is told apart. Syncs and bytes are
counted by strace, in a process of its own: without it they are left out.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from bench.data import fill_users, user
from bench.opening import counted
from bench.report import Figure
from virke.engine.database import Database
from virke.opening import connect

USERS: Final = 10_000
BLOCK: Final = 50
BLOCKS: Final = 40
WARM: Final = 200
TRACED: Final = 400
CPU_MOST_US: Final = 200
BYTES_MOST: Final = 12 << 10
UPDATE: Final = "UPDATE users SET name = ? WHERE id = ?"
INSERT: Final = "INSERT INTO users (name, email, active) VALUES (?, ?, 1)"
_SYNC: Final = re.compile(r"\b(?:fsync|fdatasync)\(")
_WRITE: Final = re.compile(r"\b(?:pwrite64|write|pwritev)\(.*= (\d+)$")

Commit = Callable[[int], object]


def run() -> list[Figure]:
    """Each kind of commit in turns on every store, then what the local store asks of the system."""
    with _virke("local") as local, _virke("memory") as memory, _sqlite() as plain:
        stores = {
            "local": (_commits(local), local),
            "memory": (_commits(memory), memory),
            "sqlite3": (_plain(plain), None),
        }
        figures = []
        for kind in ("UPDATE", "INSERT"):
            cpu = _in_turns({name: (commits[kind], database) for name, (commits, database) in stores.items()})
            for name, spent_us in cpu.items():
                most = CPU_MOST_US if name == "local" else None
                figures.append(Figure("B17", f"{kind} of one row, {name}: CPU", spent_us, "µs", at_most=most))
    return figures + _traced_figures()


def _commits(database: Database) -> dict[str, Commit]:
    return {
        "UPDATE": lambda number: database.execute(UPDATE, (f"Renamed {number}", number * 7919 % USERS + 1)),
        "INSERT": lambda number: database.execute(INSERT, user(number)),
    }


def _plain(connection: sqlite3.Connection) -> dict[str, Commit]:
    return {
        "UPDATE": lambda number: connection.execute(UPDATE, (f"Renamed {number}", number * 7919 % USERS + 1)),
        "INSERT": lambda number: connection.execute(INSERT, user(number)),
    }


def _in_turns(subjects: dict[str, tuple[Commit, Database | None]]) -> dict[str, float]:
    """CPU microseconds of a commit: the median of blocks, all subjects in turns; upkeep is not in it."""
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    for block in range(-WARM // BLOCK, BLOCKS):
        for name, (commit, database) in subjects.items():
            began = time.process_time()
            for number in range(block * BLOCK, (block + 1) * BLOCK):
                commit(number + WARM)
            took_us = (time.process_time() - began) * 1e6 / BLOCK
            if block >= 0:
                spent[name].append(took_us)
            if database is not None and database.upkeep_due:
                database.upkeep()
    return {name: median(found) for name, found in spent.items()}


@contextmanager
def _virke(kind: str) -> Iterator[Database]:
    with counted(kind) as bench:
        fill_users(bench.database, USERS)
        yield bench.database


@contextmanager
def _sqlite(folder: str | None = None) -> Iterator[sqlite3.Connection]:
    with (
        tempfile.TemporaryDirectory(prefix="virke-bench-") as made,
        closing(sqlite3.connect(Path(folder or made) / "plain.sqlite", isolation_level=None)) as connection,
    ):
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        _fill_plain(connection)
        yield connection


def _fill_plain(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT, active INTEGER)")
    connection.execute("BEGIN")
    connection.executemany(INSERT, map(user, range(USERS)))
    connection.execute("COMMIT")


# Syncs and bytes


def _traced_figures() -> list[Figure]:
    if shutil.which("strace") is None:
        return []
    figures = []
    for name in ("local", "sqlite3"):
        syncs, written = _traced(name)
        at_most = (1.1, BYTES_MOST) if name == "local" else (None, None)
        figures += [
            Figure("B17", f"UPDATE of one row, {name}: syncs", syncs, "a commit", at_most=at_most[0]),
            Figure("B17", f"UPDATE of one row, {name}: written", written, "bytes", at_most=at_most[1]),
        ]
    return figures


def _traced(name: str) -> tuple[float, float]:
    """Syncs and bytes written a commit, by a process that marks where they begin and end."""
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as folder:
        log = Path(folder) / "trace"
        command = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,write,pwrite64,pwritev,chdir"]
        subprocess.run([*command, sys.executable, "-m", "bench.b17_commits", name, folder], check=True)
        begins, lines = False, list[str]()
        for line in log.read_text().splitlines():
            if "chdir(" in line:
                begins = not begins
            elif begins:
                lines.append(line)
    syncs = sum(bool(_SYNC.search(line)) for line in lines)
    written = sum(int(found[1]) for line in lines if (found := _WRITE.search(line)))
    return syncs / TRACED, written / TRACED


def _be_traced(name: str, folder: str) -> None:
    def commit_all(commit: Commit) -> None:
        for number in range(WARM):
            commit(number)
        os.chdir(folder)
        for number in range(TRACED):
            commit(number + WARM)
        os.chdir(folder)

    if name == "sqlite3":
        with _sqlite(folder) as connection:
            commit_all(_plain(connection)["UPDATE"])
        return
    with connect("bench", f"local:{folder}/store", create=True, background=False) as database:
        fill_users(database, USERS)
        commit_all(_commits(database)["UPDATE"])


if __name__ == "__main__":
    _be_traced(sys.argv[1], sys.argv[2])
