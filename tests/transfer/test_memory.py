"""Memory does not grow with the dump, nor with what a statement changes.

The same for 1 GB, by hand: `python -m tests.transfer.test_memory 1000`, and `… 1000 "VACUUM"`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from virke.engine.database import Database

PEAK_MIB_MAX = 200
CHANGE_PEAK_MIB_MAX = 300
"""162 (VACUUM) to 236 (UPDATE) next to other work."""


def peak_mib() -> int:
    """The most memory that this process ever had.

    On Linux `ru_maxrss` would count what the parent had when it forked, so the kernel's own mark of this program is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20


def write_dump(path: Path, megabytes: int) -> None:
    """A dump of about so many megabytes with short rows and an index at the end."""
    with path.open("w") as file:
        file.write("BEGIN TRANSACTION;\nCREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL, d TEXT);\n")
        number = 0
        while file.tell() < megabytes * 1_000_000:
            for _ in range(1000):
                number += 1
                text = f"'it''s {number}',{number / 7!r},'{number * 7919 % 1000003:09}; -- {number:040}'"
                file.write(f"INSERT INTO t VALUES({number},{text});\n")
        file.write("CREATE INDEX i ON t(d);\nCOMMIT;\n")


def measure(megabytes: int) -> None:
    """Import a dump of that size and print MB/s and the peak of resident memory in MiB."""
    from virke.opening import create
    from virke.transfer import export_file, import_file

    with TemporaryDirectory() as folder:
        dump = Path(folder, "dump.sql")
        write_dump(dump, megabytes)
        with create("x", f"local:{folder}/store") as database:
            start = time.perf_counter()
            done = import_file(database, dump)
            speed = done.bytes / 1e6 / (time.perf_counter() - start)
            export_file(database, Path(folder, "out.sql"))
    peak = peak_mib()
    print(f"{megabytes} MB: {speed:.1f} MB/s, peak {peak} MiB")


def fill(database: Database, megabytes: int) -> None:
    """A table of about so many megabytes."""
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c INTEGER)")
    counted = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)"
    for _ in range(megabytes // 10):
        database.execute(f"{counted} INSERT INTO t (b, c) SELECT hex(randomblob(240)), n FROM n")


def change(megabytes: int, sql: str) -> None:
    """Run one statement on a database of that size, in a process of its own, and print the peak of its memory in MiB."""
    from virke.opening import connect

    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.transfer.test_memory", "run", f"local:{folder}/store", sql]
        with connect("x", command[4], create=True) as database:
            fill(database, megabytes)
        subprocess.run(command, check=True)


def run(store: str, sql: str) -> None:
    """Run one statement and print the peak of resident memory in MiB."""
    from virke.opening import connect

    with connect("x", store, memory_mb=64) as database:
        database.change_settings({"query_timeout_ms": 600_000})
        start = time.perf_counter()
        database.execute(sql)
        took_s = time.perf_counter() - start
        assert database.query("PRAGMA quick_check").rows == [("ok",)]
    print(f"{sql}: {took_s:.1f} s, peak {peak_mib()} MiB")


@pytest.mark.slow
@pytest.mark.parametrize("sql", ["CREATE INDEX i ON t (b)", "UPDATE t SET b = b || c, c = c + 1", "VACUUM"])
def test_a_statement_that_changes_300_mb_needs_little_memory(sql: str) -> None:
    """P11: of which the caches of the process are 64 MiB."""
    command = [sys.executable, "-m", "tests.transfer.test_memory", "300", sql]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout.split()[-2]) < CHANGE_PEAK_MIB_MAX, done.stdout


@pytest.mark.slow
def test_a_dump_of_100_mb_needs_little_memory() -> None:
    command = [sys.executable, "-m", "tests.transfer.test_memory", "100"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout.split()[-2]) < PEAK_MIB_MAX, done.stdout


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(*sys.argv[2:])
    elif len(sys.argv) > 2:
        change(int(sys.argv[1]), sys.argv[2])
    else:
        measure(int(sys.argv[1]))
