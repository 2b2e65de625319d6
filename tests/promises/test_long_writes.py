"""P15: with real processes and a real server, long writes get through beside busy writers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.promises.ledger import NAME
from tests.promises.places import fresh
from tests.servers.proxy import proxy
from tests.servers.s3 import S3Server
from virke.engine.database import Database
from virke.engine.sqlite import Extensions
from virke.opening import connect
from virke.transfer import import_file

ROWS = 400_000
TRIES_MAX = 3
BUSY = """
import sys, time
from virke import connect
with connect(sys.argv[1], sys.argv[2], background=False) as database:
    while True:
        began = time.monotonic()
        database.execute("INSERT INTO log VALUES (1)")
        print(time.monotonic() - began, flush=True)
        time.sleep(0.2)
"""
UPDATE = "UPDATE big SET a = a || (SELECT new_try())"
OF_A_MINUTE = (
    "UPDATE big SET a = (SELECT new_try()) + "
    "(WITH RECURSIVE c(i) AS (SELECT big.b UNION ALL SELECT i + 1 FROM c LIMIT 400) SELECT sum(i) FROM c)"
)
WRITES: dict[str, Callable[[Database, Path], object]] = {
    "UPDATE": lambda database, dump: database.execute(UPDATE),
    "CREATE INDEX": lambda database, dump: database.execute("CREATE INDEX i ON big (a, b)"),
    "VACUUM": lambda database, dump: database.execute("VACUUM"),
    "import": import_file,
}


class Beside:
    """Two processes that write every 0.2 s while this one does something long."""

    def __init__(self, url: str, work: Path, rows: int) -> None:
        self.tries = 0
        self.database = connect(NAME, url, create=True, background=False, on_connect=self._hook)
        self.database.change_settings({"query_timeout_ms": 120_000})
        self.dump = _data(work, self.database, rows)
        self._command = [sys.executable, "-c", BUSY, NAME, url]

    def _hook(self, extensions: Extensions) -> None:
        extensions.add_function("new_try", self._new_try, arguments=0)

    def _new_try(self) -> int:
        self.tries += 1
        return 0

    def run(self, writes: dict[str, Callable[[Database, Path], object]]) -> tuple[dict[str, float], list[float]]:
        """How long each of `writes` took, and the longest wait of each busy process. None of those may give up."""
        busy = [subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        took: dict[str, float] = {}
        try:
            for process in busy:
                assert process.stdout is not None
                assert process.stdout.readline()
            for what, write in writes.items():
                began = time.monotonic()
                write(self.database, self.dump)
                took[what] = time.monotonic() - began
                assert all(process.poll() is None for process in busy), f"a busy writer gave up beside {what}"
        finally:
            for process in busy:
                process.terminate()
            waits = [[float(line) for line in process.communicate()[0].split()] for process in busy]
            self.database.close()
        longest = [max(one) for one in waits]
        print(
            {what: round(seconds, 1) for what, seconds in took.items()}, self.tries, [round(one, 1) for one in longest]
        )
        return took, longest


def _data(work: Path, database: Database, rows: int) -> Path:
    """Something to change, and a dump to import."""
    database.run_script("CREATE TABLE log (n); CREATE TABLE big (a, b); CREATE TABLE new (a)")
    numbers = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows})"
    database.execute(f"INSERT INTO big {numbers} SELECT i, i % 97 FROM c")
    dump = work / "dump.sql"
    with dump.open("w") as file:
        file.write("BEGIN;\n")
        file.writelines(f"INSERT INTO new VALUES ('row {number} {'x' * 40}');\n" for number in range(rows // 4))
        file.write("COMMIT;\n")
    return dump


@contextmanager
def far(server: S3Server) -> Iterator[str]:
    """A store 25 ms away."""
    with proxy(server.endpoint) as way:
        way.delay_s = 0.025
        yield S3Server("proxy", way.endpoint).url(fresh())


def check(began: Beside, writes: dict[str, Callable[[Database, Path], object]]) -> None:
    """None gives up, and nobody waits longer for one than all of its tries took, plus two seconds."""
    took, waits = began.run(writes)
    assert began.tries <= TRIES_MAX
    assert max(waits) <= max(took.values()) + 2


@pytest.mark.slow
def test_p15_long_writes_get_through_beside_two_busy_processes(client: Path, tmp_path: Path) -> None:
    check(Beside(f"local:{tmp_path / 'store'}", tmp_path, ROWS), WRITES)


@pytest.mark.parametrize(
    "rows",
    [pytest.param(ROWS, marks=pytest.mark.slow), pytest.param(10 * ROWS, marks=pytest.mark.prove)],
    ids=["of a second or two", "of five seconds and more"],
)
def test_p15_long_writes_get_through_on_a_store_far_away(
    moto: S3Server, rows: int, client: Path, tmp_path: Path
) -> None:
    with far(moto) as url:
        check(Beside(url, tmp_path, rows), WRITES)


@pytest.mark.prove
def test_p15_a_write_of_a_minute_gets_through_on_a_store_far_away(moto: S3Server, client: Path, tmp_path: Path) -> None:
    with far(moto) as url:
        check(Beside(url, tmp_path, ROWS), {"UPDATE": lambda database, dump: database.execute(OF_A_MINUTE)})
