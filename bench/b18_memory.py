"""B18: what a process holds that has 100 databases of one folder open, each written and read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Final

from bench.report import Figure

DATABASES: Final = 100
RSS_MIB_MAX: Final = 45
DESCRIPTORS_MAX: Final = 210
_MANY: Final = """
import os, sys
from virke import connect
databases = [connect(f"db{number}", sys.argv[1], create=True) for number in range(int(sys.argv[2]))]
for number, database in enumerate(databases):
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    database.execute("INSERT INTO t VALUES (?, 'x')", (number,))
for number, database in enumerate(databases):
    assert database.query("SELECT id FROM t").rows == [(number,)]
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * os.sysconf("SC_PAGE_SIZE") >> 20, len(os.listdir("/proc/self/fd")))
"""


def held() -> tuple[int, int]:
    """Resident MiB and open descriptors of such a process (Linux)."""
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as folder:
        command = [sys.executable, "-c", _MANY, f"local:{folder}/store", str(DATABASES)]
        mib, descriptors = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(mib), int(descriptors)


def run() -> list[Figure]:
    """Both figures."""
    mib, descriptors = held()
    return [
        Figure("B18", f"{DATABASES} open databases: memory", mib, "MiB", at_most=RSS_MIB_MAX),
        Figure("B18", f"{DATABASES} open databases: descriptors", descriptors, "", at_most=DESCRIPTORS_MAX),
    ]
