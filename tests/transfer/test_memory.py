"""Memory does not grow with the dump.

The same for 1 GB, by hand: `python -m tests.transfer.test_memory 1000`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PEAK_MIB_MAX = 200


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


@pytest.mark.slow
def test_a_dump_of_100_mb_needs_little_memory() -> None:
    command = [sys.executable, "-m", "tests.transfer.test_memory", "100"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout.split()[-2]) < PEAK_MIB_MAX, done.stdout


if __name__ == "__main__":
    measure(int(sys.argv[1]))
