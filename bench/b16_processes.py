"""B16: single statements of several processes on one database: on a local store, and on a bucket 25 ms away.

python -m bench.b16_processes STORE ROWS SECONDS     is one process; it prints how many of its statements were answered,
how many were a `Conflict`, and its longest wait in seconds
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import far
from bench.opening import NAME
from bench.report import Figure
from virke.errors import Conflict
from virke.opening import connect

DELAY_MS: Final = 25
FAR_PROCESSES: Final = 8
FAR_S: Final = 20.0
LOCAL_PROCESSES: Final = 4
LOCAL_ROWS: Final = 2500
FOR_EVER_S: Final = 1e9


def process(store: str, rows: str, seconds: str) -> None:
    """Count up with one statement after the other, so often or for so long, once a line comes in."""
    with connect(NAME, store) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        until_s = time.monotonic() + float(seconds)
        answered = conflicts = 0
        longest_s = 0.0
        while answered + conflicts < int(rows) and (began_s := time.monotonic()) < until_s:
            try:
                database.execute("UPDATE counter SET n = n + 1")
                answered += 1
            except Conflict:
                conflicts += 1
            longest_s = max(longest_s, time.monotonic() - began_s)
        print(answered, conflicts, longest_s, flush=True)


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of the statements of some processes that ran at once."""

    answered: list[int]
    conflicts: int
    longest_s: float
    elapsed_s: float

    @property
    def rate(self) -> float:
        """Statements answered a second, of all processes."""
        return sum(self.answered) / self.elapsed_s


def together(store: str, processes: int, *, rows: int = sys.maxsize, seconds: float = FOR_EVER_S) -> Counted:
    """Run so many processes at once; every statement that was answered is in the counter."""
    with connect(NAME, store, create=True, background=False) as database:
        database.run_script("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)")
    command = [sys.executable, "-m", "bench.b16_processes", store, str(rows), str(seconds)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()
    began_s = time.monotonic()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate()[0].split() for one in running]
    elapsed_s = time.monotonic() - began_s
    assert [one.returncode for one in running] == [0] * processes
    answered = [int(words[0]) for words in said]
    with connect(NAME, store, background=False) as database:
        assert database.query("SELECT n FROM counter").rows == [(sum(answered),)], "a statement was lost or doubled"
    longest_s = max(float(words[2]) for words in said)
    return Counted(answered, sum(int(words[1]) for words in said), longest_s, elapsed_s)


def _local() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as folder:
        counted = together(f"local:{Path(folder) / 'store'}", LOCAL_PROCESSES, rows=LOCAL_ROWS)
    what = f"local, {LOCAL_PROCESSES} processes × {LOCAL_ROWS} statements"
    return [
        Figure("B16", f"{what}: Conflict", counted.conflicts, "", at_most=0),
        Figure("B16", f"{what}: statements", counted.rate, "a second"),
        Figure("B16", f"{what}: the longest wait", counted.longest_s, "s"),
    ]


def _far() -> list[Figure]:
    with far.s3() as server, far.distant(server, DELAY_MS) as place:
        alone = together(place.url(far.prefix()), 1, seconds=FAR_S)
        several = together(place.url(far.prefix()), FAR_PROCESSES, seconds=FAR_S)
    what = f"{FAR_PROCESSES} processes, {DELAY_MS} ms a request"
    least, most = min(several.answered), max(several.answered)
    return [
        Figure("B16", f"one process, {DELAY_MS} ms a request: statements", alone.rate, "a second"),
        Figure("B16", f"{what}: statements", several.rate, "a second"),
        Figure("B16", f"{what}: Conflict", several.conflicts, "", at_most=0),
        Figure("B16", f"{what}: rate of one process's", several.rate / alone.rate, "×", at_least=0.5),
        Figure("B16", f"{what}: the least of the most", least / most, ""),
        Figure("B16", f"{what}: the longest wait", several.longest_s, "s"),
    ]


def run() -> list[Figure]:
    """On a local store, and on SeaweedFS behind a slow line."""
    return [*_local(), *_far()]


if __name__ == "__main__":
    process(*sys.argv[1:])
