"""Reads that meet commits: none is older than what was answered before it was sent, whichever process answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.promises.ledger import NAME
from tests.promises.nodes import Client, Nodes, begun, nodes
from tests.promises.places import on

WRITERS, READERS = 2, 6
WRITES_EACH = 150


class Seen:
    """The newest value that anything answered so far, to a write or to a read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self.is_over = False

    def answered(self, value: int) -> None:
        """This value was answered."""
        with self._lock:
            self._newest = max(self._newest, value)

    @property
    def newest(self) -> int:
        """What a request that is sent now has to see."""
        with self._lock:
            return self._newest


def _write(those: Nodes, number: int, seen: Seen) -> None:
    with Client(those, number % len(those.running)) as client:
        for _ in range(WRITES_EACH):
            found = client.execute("UPDATE t SET v = v + 1 RETURNING v")
            assert found.status == 200, found
            seen.answered(found.body["rows"][0][0])


def _read(those: Nodes, number: int, seen: Seen) -> list[tuple[int, int]]:
    """What was older than it may be: what was read, and what had been answered."""
    older = []
    with Client(those, number % len(those.running)) as client:
        while not seen.is_over:
            least = seen.newest
            found = client.ask("POST", f"/db/{NAME}/query", {"sql": "SELECT v FROM t"})
            assert found.status == 200, found
            [[value]] = found.body["rows"]
            seen.answered(value)
            if value < least:
                older.append((value, least))
    return older


@on("local")
@pytest.mark.parametrize(("count", "options"), [(1, ()), (1, ("--workers", "2")), (2, ())])
def test_p5_no_read_is_older_than_what_was_answered_before_it(
    place: str, tmp_path: Path, count: int, options: tuple[str, ...]
) -> None:
    """By one process, by workers of one machine, and by two nodes that both write on one folder."""
    begun(place, "CREATE TABLE t (v)", "INSERT INTO t VALUES (0)")
    seen = Seen()
    with nodes(place, tmp_path, count, *options) as those, ThreadPoolExecutor(WRITERS + READERS) as pool:
        reading = [pool.submit(_read, those, number, seen) for number in range(READERS)]
        writing = [pool.submit(_write, those, number, seen) for number in range(WRITERS)]
        try:
            for one in writing:
                one.result()
        finally:
            seen.is_over = True
        older = [pair for one in reading for pair in one.result()]
    assert older == []
    assert seen.newest == WRITERS * WRITES_EACH
