"""One machine whose workers are killed one after another: as with several nodes, and it goes on looking like one process."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.promises.ledger import TABLE
from tests.promises.nodes import Mishaps, Nodes, begun, nodes
from tests.promises.places import on
from tests.promises.test_nodes import Crowd, run_crowd
from tests.promises.test_nodes_transactions import check_counter

WORKERS = 2


def _await_death(pid: str) -> None:
    """A process takes a moment to die: one that did while its node was told to end would count as its failure."""
    with suppress(FileNotFoundError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X"):
            time.sleep(0.001)


def kill_worker(those: Nodes, number: int) -> None:
    """End a worker of the first node at once, if it is there at this moment."""
    pid = those.running[0].process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(ProcessLookupError, FileNotFoundError):
            if f"--as-worker\0{number}/" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
                _await_death(child)


def check_workers(store: str, folder: Path, *, writers: int, seconds: float, every_s: float) -> None:
    """B9 of one machine: nothing is lost or doubled, and every connection sees what was answered on any other."""
    begun(store, TABLE)
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    with nodes(store, folder, 1, "--workers", str(WORKERS)) as those:
        crowd = Crowd(those, seed)
        with Mishaps(lambda number: kill_worker(those, number), WORKERS, every_s=every_s, seed=seed) as mishaps:
            run_crowd(crowd, keyed=writers, plain=2, readers=1, plain_readers=2, seconds=seconds)
        print(f"{crowd}, {mishaps.happened} killed")
        assert mishaps.happened >= 1
        those.check_silent()
        assert those.running[0].stop() == 0
    crowd.check(store)


@on("seaweedfs")
def test_p1_p2_p5_workers_that_are_killed_lose_and_double_no_write(place: str, tmp_path: Path) -> None:
    check_workers(place, tmp_path, writers=4, seconds=5, every_s=2)


@pytest.mark.prove
@on("seaweedfs", "local")
def test_p1_p2_p5_workers_that_are_killed_lose_and_double_no_write_for_long(place: str, tmp_path: Path) -> None:
    check_workers(place, tmp_path, writers=8, seconds=30, every_s=3)


@pytest.mark.slow
@on("seaweedfs")
def test_p5_transactions_through_workers_of_two_nodes_lose_no_update(place: str, tmp_path: Path) -> None:
    check_counter(place, tmp_path, "--workers", str(WORKERS), count=2, clients=4, times=10)
