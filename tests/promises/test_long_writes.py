"""P15: with real processes and a real server, long writes get through beside busy writers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.promises.ledger import NAME
from tests.promises.places import fresh
from tests.servers.proxy import proxy
from tests.servers.s3 import S3Server
from virke.engine.database import Database
from virke.opening import connect
from virke.transfer import import_file

ROWS = 400_000
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
UPDATE = "UPDATE big SET a = a || (SELECT count(*) FROM (VALUES (1), (2), (3)))"
WRITES: dict[str, Callable[[Database, Path], object]] = {
    "UPDATE": lambda database, dump: database.execute(UPDATE),
    "CREATE INDEX": lambda database, dump: database.execute("CREATE INDEX i ON big (a, b)"),
    "VACUUM": lambda database, dump: database.execute("VACUUM"),
    "import": import_file,
}


def _data(tmp_path: Path, database: Database) -> Path:
    """Something to change, and a dump to import."""
    database.run_script("CREATE TABLE log (n); CREATE TABLE big (a, b); CREATE TABLE new (a)")
    numbers = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {ROWS})"
    database.execute(f"INSERT INTO big {numbers} SELECT i, i % 97 FROM c")
    dump = tmp_path / "dump.sql"
    with dump.open("w") as file:
        file.write("BEGIN;\n")
        file.writelines(f"INSERT INTO new VALUES ('row {number} {'x' * 40}');\n" for number in range(ROWS // 4))
        file.write("COMMIT;\n")
    return dump


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "moto"])
def test_long_writes_get_through_beside_two_busy_processes(
    where: str, request: pytest.FixtureRequest, client: Path, tmp_path: Path
) -> None:
    """None gives up, and nobody waits longer for one than all of its tries took, plus two seconds."""
    server: S3Server = request.getfixturevalue("moto")
    with proxy(server.endpoint) as way:
        way.delay_s = 0.025
        url = f"local:{tmp_path / 'store'}" if where == "local" else S3Server("proxy", way.endpoint).url(fresh())
        with connect(NAME, url, create=True, background=False) as database:
            database.change_settings({"query_timeout_ms": 120_000})
            dump = _data(tmp_path, database)
            command = [sys.executable, "-c", BUSY, NAME, url]
            busy = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            try:
                for process in busy:
                    assert process.stdout is not None
                    assert process.stdout.readline()
                took: dict[str, float] = {}
                for what, write in WRITES.items():
                    began = time.monotonic()
                    write(database, dump)
                    took[what] = time.monotonic() - began
                    assert all(process.poll() is None for process in busy), f"a busy writer gave up beside {what}"
            finally:
                for process in busy:
                    process.terminate()
                waits = [[float(line) for line in process.communicate()[0].split()] for process in busy]
            print({what: round(seconds, 1) for what, seconds in took.items()}, [round(max(one), 1) for one in waits])
            assert max(map(max, waits)) <= max(took.values()) + 2
