"""Several workers behind one address: whichever a request comes to, it is answered as by one process (decision 0022).

A worker's own socket is used as a connection that has come to it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect
from websockets.typing import Subprotocol

from tests.promises.places import be_a_client, fresh
from tests.servers.node import Node, node
from tests.servers.s3 import S3Server
from virke.node.workers.crew import Crew

COUNT = 2
CREW = Crew(0, COUNT)
NUMBERS = itertools.count()
BACK_S = 30


class Workers:
    """A node with two workers, and ways to ask each of them."""

    def __init__(self, running: Node, folder: Path) -> None:
        self.node = running
        self.folder = folder
        self.names: list[str] = []
        """A database of each worker."""

    @property
    def both(self) -> list[tuple[int, str]]:
        """Each worker with each database."""
        return [(worker, name) for worker in range(COUNT) for name in self.names]

    def begin(self) -> Workers:
        """Make databases that no test had."""
        fresh = [f"db{next(NUMBERS)}" for _ in range(50)]
        self.names = [next(name for name in fresh if CREW.owner_of(name) == owner) for owner in range(COUNT)]
        for worker, name in enumerate(self.names):
            assert self.ask(1 - worker, "PUT", f"/db/{name}")[0] == 201
            self.sql(1 - worker, name, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        return self

    def place(self) -> Path:
        """The folder of the sockets."""
        [found] = self.folder.glob("virke-*")
        return found

    def connection(self, worker: int) -> http.client.HTTPConnection:
        return UnixConnection(str(self.place() / f"{worker}.sock"))

    def ask(self, worker: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request that comes to this worker."""
        connection = self.connection(worker)
        try:
            data = json.dumps(body) if body is not None and not isinstance(body, bytes) else body
            connection.request(method, path, data, {"Host": "localhost", **headers})
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers.get("Content-Type") == "application/json"
            return answer.status, json.loads(text) if is_json and text else text.decode()
        finally:
            connection.close()

    def sql(self, worker: int, name: str, sql: str, *params: object) -> Any:
        """The rows of a statement that comes to this worker."""
        status, body = self.ask(worker, "POST", f"/db/{name}/query", {"sql": sql, "params": params})
        assert status == 200, body
        return body["rows"]

    def pipeline(self, worker: int, name: str, baton: str | None, *sql: str) -> tuple[int, Any]:
        """A pipeline that comes to this worker."""
        asked = [{"type": "execute", "stmt": {"sql": one}} for one in sql]
        return self.ask(worker, "POST", f"/db/{name}/v3/pipeline", {"baton": baton, "requests": asked})

    def pid_of(self, worker: int) -> int:
        """The process of a worker."""
        found = self.find_pid(worker)
        assert found is not None, "the worker is not there"
        return found

    def find_pid(self, worker: int) -> int | None:
        """The process of a worker, if it is there at this moment."""
        parent = self.node.process.pid
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with suppress(OSError):
                if f"--as-worker\0{worker}/" in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        return None

    def until_it_answers(self, worker: int) -> None:
        """Wait until this worker takes requests again."""
        until_s = time.monotonic() + BACK_S
        while True:
            try:
                assert self.ask(worker, "GET", "/healthz")[0] == 200
                return
            except OSError:
                assert time.monotonic() < until_s, "the worker is not started again"
                time.sleep(0.05)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


@contextmanager
def started(tmp_path: Path, store: str, *options: str) -> Iterator[Workers]:
    """Workers, with a folder for their sockets whose path is short enough."""
    with tempfile.TemporaryDirectory(prefix="w") as folder, pytest.MonkeyPatch.context() as environ:
        environ.setenv("TMPDIR", folder)
        with node(store, tmp_path, "--workers", str(COUNT), *options) as running:
            yield Workers(running, Path(folder))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Workers of one test, which may end them."""
    with started(tmp_path, "local:store") as found:
        yield found.begin()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with started(tmp_path_factory.mktemp("shared"), "local:store") as found:
        yield found


@pytest.fixture
def shared(running: Workers) -> Workers:
    """Workers of several tests, with databases of this one."""
    return running.begin()


def test_what_any_worker_wrote_every_worker_reads(workers: Workers) -> None:
    """Every route, at the owner and at the other one; then a clean end that leaves no file."""
    for number, (worker, name) in enumerate(workers.both):
        workers.sql(worker, name, "INSERT INTO t (b) VALUES (?)", number)
        for reader in range(COUNT):
            assert workers.sql(reader, name, "SELECT b FROM t ORDER BY a DESC LIMIT 1") == [[number]]
        statements = ["INSERT INTO t (b) VALUES ('batch')", "DELETE FROM t WHERE b = 'batch'"]
        assert workers.ask(worker, "POST", f"/db/{name}/batch", {"statements": statements})[0] == 200
        assert workers.ask(worker, "GET", f"/db/{name}/schema")[0] == 200
        assert workers.ask(worker, "GET", f"/db/{name}/status")[0] == 200
        assert workers.ask(worker, "HEAD", f"/db/{name}/status")[0] == 200
        assert workers.ask(worker, "PATCH", f"/db/{name}/settings", {"history_days": 3 + number})[0] == 200
        assert workers.ask(1 - worker, "GET", f"/db/{name}/settings")[1]["history_days"] == 3 + number
        assert workers.ask(worker, "POST", f"/db/{name}/upkeep")[0] == 200
        assert "CREATE TABLE" in workers.ask(worker, "GET", f"/db/{name}/export")[1]
        asked = {"sql": "SELECT a FROM t"}
        lines = workers.ask(worker, "POST", f"/db/{name}/query", asked, Accept="application/x-ndjson")[1]
        assert len(lines.splitlines()) == 2 + len(workers.sql(worker, name, "SELECT a FROM t"))
        status, body = workers.ask(worker, "POST", f"/db/{name}/query", {"sql": "INSERT INTO nowhere VALUES (1)"})
        assert (status, body["error"]["code"]) == (400, "sql_error")
    assert workers.ask(0, "GET", "/db")[1] == workers.ask(1, "GET", "/db")[1]
    assert workers.node.stop() == 0
    assert list(workers.folder.iterdir()) == []


def test_metrics_are_those_of_all_workers(shared: Workers) -> None:
    """Asked for at the address; a request that was sent on counts at both, with the status that the client saw."""
    shared.sql(1, shared.names[0], "INSERT INTO t (b) VALUES (1)")
    connection = http.client.HTTPConnection(*shared.node.address, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    for worker in range(COUNT):
        asked = f'virke_requests_total{{worker="{worker}",method="POST",route="/db/{{name}}/query",status="200"}}'
        assert asked in text
    assert text.count("# HELP virke_requests_total") == 1
    assert 'worker="' not in shared.ask(0, "GET", "/metrics")[1]


def test_an_import_and_a_deletion_are_done_by_the_owner(shared: Workers) -> None:
    """An import of more than one part, through the other worker; and what was deleted and made again is the new one."""
    for worker, name in shared.both:
        text = "CREATE TABLE i (n, s);\n" + "".join(
            f"INSERT INTO i VALUES ({n}, '{'x' * 200}');\n" for n in range(1000)
        )
        assert shared.ask(worker, "POST", f"/db/{name}/import", text.encode())[0] == 200
        assert shared.sql(1 - worker, name, "SELECT count(*) FROM i") == [[1000]]
        assert shared.ask(worker, "DELETE", f"/db/{name}")[0] == 200
        assert shared.ask(worker, "PUT", f"/db/{name}")[0] == 201
        for other in range(COUNT):
            assert shared.sql(other, name, "SELECT count(*) FROM sqlite_schema") == [[0]]
    assert shared.node.said == []


def test_a_transaction_goes_on_at_whichever_worker_its_baton_comes_to(shared: Workers) -> None:
    for worker, name in shared.both:
        before = shared.sql(worker, name, "SELECT count(*) FROM t")[0][0]
        _, body = shared.pipeline(worker, name, None, "BEGIN IMMEDIATE", "INSERT INTO t (b) VALUES (1)")
        assert body["baton"].partition(".")[0] == str(CREW.owner_of(name))
        _, body = shared.pipeline(1 - worker, name, body["baton"], "INSERT INTO t (b) VALUES (2)")
        assert shared.sql(worker, name, "SELECT count(*) FROM t") == [[before]]
        _, body = shared.pipeline(worker, name, body["baton"], "COMMIT")
        assert body["results"][0]["type"] == "ok"
        for reader in range(COUNT):
            assert shared.sql(reader, name, "SELECT count(*) FROM t") == [[before + 2]]
    for wrong in ("2.x.y", "99999.x.y", "x", "0.x.y", "1.x.y"):
        assert shared.pipeline(0, shared.names[0], wrong, "SELECT 1")[0] in (400, 404)


def test_writes_of_both_workers_are_one_history(shared: Workers) -> None:
    """A keyed write that is repeated at the other worker is done once."""
    for name in shared.names:
        for number in range(20):
            body = {"sql": "INSERT INTO t (b) VALUES (?) RETURNING a", "params": [number]}
            path, key = f"/db/{name}/execute", {"Idempotency-Key": f"k{number}"}
            first = shared.ask(number % 2, "POST", path, body, **key)
            assert first[0] == 200
            assert shared.ask(1 - number % 2, "POST", path, body, **key)[1]["rows"] == first[1]["rows"]
        assert shared.sql(0, name, "SELECT count(*), count(DISTINCT b) FROM t") == [[20, 20]]


@pytest.mark.parametrize("victim", range(COUNT))
def test_a_worker_that_dies_is_started_again_and_what_it_was_doing_is_not_done_twice(
    workers: Workers, victim: int
) -> None:
    """Its databases' writes are errors meanwhile, the others go on; an open transaction is gone."""
    mine, other = workers.names[victim], workers.names[1 - victim]
    survivor = 1 - victim
    _, body = workers.pipeline(survivor, mine, None, "BEGIN IMMEDIATE", "INSERT INTO t (b) VALUES ('lost')")
    os.kill(workers.pid_of(victim), signal.SIGKILL)
    status, found = workers.ask(survivor, "POST", f"/db/{mine}/execute", {"sql": "INSERT INTO t (b) VALUES ('late')"})
    assert (status, found["error"]["code"]) in ((503, "unavailable"), (504, "outcome_unknown"), (200, None))[:2]
    workers.sql(survivor, other, "INSERT INTO t (b) VALUES ('goes on')")
    workers.until_it_answers(victim)
    assert workers.pipeline(survivor, mine, body["baton"], "COMMIT")[0] == 404
    for worker in range(COUNT):
        workers.sql(worker, mine, "INSERT INTO t (b) VALUES ('back')")
    rows = workers.sql(survivor, mine, "SELECT b, count(*) FROM t GROUP BY b")
    assert ["back", 2] in rows
    assert "lost" not in [b for b, _ in rows]
    assert {count for b, count in rows if b == "late"} <= {1}
    assert workers.node.stop() == 0
    assert list(workers.folder.iterdir()) == []


def test_workers_end_when_their_parent_is_gone(workers: Workers) -> None:
    pids = [workers.pid_of(worker) for worker in range(COUNT)]
    workers.node.kill()
    until_s = time.monotonic() + BACK_S
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids) or list(
        workers.folder.iterdir()
    ):
        assert time.monotonic() < until_s, "a worker outlives its parent"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_what_was_written_is_seen_at_once_on_a_store_far_away(
    tmp_path: Path, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without bookmarks, by the worker that sent it on and by any other; deferred writes too, before they are pushed."""
    (tmp_path / "home").mkdir()
    be_a_client(tmp_path / "home", monkeypatch)
    with started(tmp_path, seaweedfs.url(fresh()), "--journal", "journals") as workers:
        workers.begin()
        for name in workers.names:
            check_seen_at_once(workers, name, range(10))
            changes = {"durability": "deferred", "flush_interval_ms": 3_600_000}
            assert workers.ask(0, "PATCH", f"/db/{name}/settings", changes)[0] == 200
            check_seen_at_once(workers, name, range(10, 20))
        assert workers.node.stop() == 0


def check_seen_at_once(workers: Workers, name: str, numbers: range) -> None:
    for number in numbers:
        workers.sql(number % COUNT, name, "INSERT INTO t (b) VALUES (?)", number)
        for reader in range(COUNT):
            assert workers.sql(reader, name, "SELECT max(b) FROM t") == [[number]]


def test_a_store_in_memory_has_no_workers(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no --workers"), node("memory://x", tmp_path, "--workers", "2"):
        pass


def test_a_worker_that_can_t_start_says_why_once(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, where a folder has to be")
    with (
        pytest.raises(AssertionError) as caught,
        node(f"local:{tmp_path / 'store'}", tmp_path, "--workers", "2"),
    ):
        pass
    assert str(caught.value).count("error:") == 1


class Spoken:
    """A client of Hrana over a WebSocket that came to one worker."""

    def __init__(self, workers: Workers, worker: int, name: str) -> None:
        path, uri = str(workers.place() / f"{worker}.sock"), f"ws://localhost/db/{name}/"
        self._opening = unix_connect(path, uri, subprotocols=[Subprotocol("hrana3")], max_size=None)
        self._number = 0

    def __enter__(self) -> Spoken:
        self._socket = self._opening.__enter__()
        self.send({"type": "hello", "jwt": None})
        assert self.hear() == {"type": "hello_ok"}
        return self

    def __exit__(self, *error: Any) -> None:
        self._opening.__exit__(*error)

    def send(self, message: object) -> None:
        self._socket.send(json.dumps(message))

    def hear(self) -> Any:
        return json.loads(self._socket.recv(60))

    def ask(self, kind: str, **fields: object) -> Any:
        """The response to a request, or the code of its error."""
        self._number += 1
        request = {"type": kind, "stream_id": 1, **fields}
        self.send({"type": "request", "request_id": self._number, "request": request})
        found = self.hear()
        return found["response"] if found["type"] == "response_ok" else found["error"]["code"]

    def run(self, sql: str) -> Any:
        """The first value of a statement's first row, None without one, or the code of its error."""
        found = self.ask("execute", stmt={"sql": sql})
        if isinstance(found, str):
            return found
        rows = found["result"]["rows"]
        return rows[0][0].get("value") if rows else None


def test_streams_of_a_websocket_work_at_whichever_worker_it_comes_to(shared: Workers) -> None:
    """Transactions, large messages both ways, cursors; and a client that goes away ends what it has open."""
    for worker, name in shared.both:
        with Spoken(shared, worker, name) as client:
            client.ask("open_stream")
            assert client.run("DELETE FROM t") is None
            for step in ("BEGIN IMMEDIATE", "INSERT INTO t (b) VALUES (1)"):
                assert client.run(step) is None
            assert shared.sql(1 - worker, name, "SELECT count(*) FROM t") == [[0]]
            assert client.run("COMMIT") is None
            assert shared.sql(1 - worker, name, "SELECT count(*) FROM t") == [[1]]
            for size in (100, 1000, 200_000):
                assert client.run(f"SELECT '{'x' * size}'") == "x" * size
            assert client.run("no SQL") == "SQL_PARSE_ERROR"
            batch = {"steps": [{"stmt": {"sql": "SELECT b FROM t"}}]}
            client.ask("open_cursor", cursor_id=1, batch=batch)
            entries = client.ask("fetch_cursor", cursor_id=1, max_count=10)["entries"]
            assert [one["type"] for one in entries] == ["step_begin", "row", "step_end"]
            assert client.run("BEGIN IMMEDIATE") is None
        shared.sql(worker, name, "INSERT INTO t (b) VALUES ('after')")  # waits for nobody who is gone
    assert shared.node.said == []


def test_a_websocket_ends_with_the_worker_that_has_its_streams(workers: Workers) -> None:
    with Spoken(workers, 1, workers.names[0]) as client:
        client.ask("open_stream")
        os.kill(workers.pid_of(0), signal.SIGKILL)
        with pytest.raises(ConnectionClosed) as caught:
            client.hear()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1012
    workers.until_it_answers(0)


def test_a_message_that_breaks_the_protocol_ends_the_connection_with_the_owners_reason(shared: Workers) -> None:
    with Spoken(shared, 1, shared.names[0]) as client:
        client.send({"type": "nonsense"})
        with pytest.raises(ConnectionClosed) as caught:
            client.hear()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1002
    assert "a message is a hello" in caught.value.rcvd.reason


def test_a_worker_that_is_told_to_end_while_it_starts_ends_well(workers: Workers) -> None:
    os.kill(old := workers.pid_of(0), signal.SIGKILL)
    until_s = time.monotonic() + BACK_S
    while workers.find_pid(0) in (None, old):
        assert time.monotonic() < until_s, "the worker is not started again"
    assert workers.node.stop() == 0
    assert list(workers.folder.iterdir()) == []


def test_a_second_signal_ends_workers_at_once(workers: Workers) -> None:
    """What they were doing is cut off, nothing of it is left on the machine, and the exit code says so."""
    slow = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    connection = workers.connection(0)
    connection.request("POST", f"/db/{workers.names[0]}/query", json.dumps({"sql": slow}), {"Host": "localhost"})
    workers.node.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert workers.node.process.poll() is None
    workers.node.process.send_signal(signal.SIGTERM)
    assert workers.node.process.wait(BACK_S) == 128 + signal.SIGTERM
    connection.close()
    assert list(workers.folder.iterdir()) == []
