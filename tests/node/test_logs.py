"""Logs: slow statements with what they cost, requests at DEBUG, one line each, and never a secret."""

from __future__ import annotations

import http.client
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.test_queues import World, batch, pipeline, play
from tests.node.test_streams import Client, post
from tests.servers.node import START_S
from virke.cli.logs import JsonFormat, TextFormat
from virke.node.app import App
from virke.node.watching import SQL_CHARS, Watch, shortened_sql
from virke.stores.receipt import Receipt

SECRET = "vk_secret-of-a-test"
FIELDS = {
    "database", "sql", "ms", "round_trips", "store_requests", "bytes_up", "bytes_down", "store_ms", "cache_hits",
    "pages_read", "shared_by",
}  # fmt: skip


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was said of slow statements."""
    return [record.fields for record in caplog.records if record.name == "virke.slow"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "body", "shown"),
    [
        ("/db/d/query", {"sql": "SELECT v, ?\nFROM   t", "params": [SECRET], "meta": True}, "SELECT v, ? FROM t"),
        ("/db/d/execute", {"sql": "INSERT INTO t VALUES (?)", "params": [SECRET]}, "INSERT INTO t VALUES (?)"),
        ("/db/d/batch", {"statements": ["DELETE FROM t", "SELECT 1"]}, "DELETE FROM t; SELECT 1"),
        ("/v2/pipeline", pipeline("DELETE FROM t"), "DELETE FROM t"),
        ("/v2/pipeline", batch("DELETE FROM t"), "DELETE FROM t"),
    ],
)
def test_a_slow_statement_is_told_with_its_receipt_and_without_parameters(
    caplog: pytest.LogCaptureFixture, path: str, body: object, shown: str
) -> None:
    async def scenario(world: World) -> None:
        world.app = App(world.app.databases, world.app.codec, default="d", slow_ms=0)
        await post(world.app, path, body)
        [found] = told(caplog)
        assert found.keys() == FIELDS
        assert (found["database"], found["sql"]) == ("d", shown)
        if "SELECT v" not in shown:
            assert found["shared_by"] == 1
            assert found["round_trips"] in (1, 2)
            assert found["bytes_up"] > 0
        assert SECRET not in caplog.text

    play(scenario)


def test_with_0_what_memory_answers_at_once_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    """The second read needs no thread, and no store."""

    async def scenario(world: World) -> None:
        world.app = App(world.app.databases, world.app.codec, default="d", slow_ms=0)
        for _ in range(2):
            await post(world.app, "/db/d/query", {"sql": "SELECT count(*) FROM t"})
        assert [(found["sql"], found["store_requests"]) for found in told(caplog)][1:] == [
            ("SELECT count(*) FROM t", 0)
        ]

    play(scenario)


def test_statements_of_a_transaction_are_told_too(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.app = App(world.app.databases, world.app.codec, default="d", slow_ms=0)
        await Client(world.app).say("BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "COMMIT")
        assert [found["sql"] for found in told(caplog)] == ["INSERT INTO t VALUES (1)"]

    play(scenario)


@pytest.mark.parametrize(("slow_ms", "elapsed_s", "count"), [(100, 0.0999, 0), (100, 0.1, 1), (None, 1000.0, 0)])
def test_what_is_fast_enough_is_not_told_and_without_the_option_nothing_is(
    caplog: pytest.LogCaptureFixture, slow_ms: int | None, elapsed_s: float, count: int
) -> None:
    Watch(slow_ms, lambda: elapsed_s).ended("d", "SELECT 1", 0.0, Receipt())
    assert len(told(caplog)) == count


def test_a_text_is_shown_by_its_beginning() -> None:
    assert shortened_sql("SELECT\n\t1") == "SELECT 1"
    assert shortened_sql("SELECT '" + "x" * 1_000_000) == "SELECT '" + "x" * (SQL_CHARS - 9) + "…"


def test_each_request_is_told_at_debug_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        caplog.set_level(logging.INFO, "virke")
        await world.values()
        assert not [record for record in caplog.records if record.name == "virke.access"]
        caplog.set_level(logging.DEBUG, "virke")
        await world.values()
        [record] = [record for record in caplog.records if record.name == "virke.access"]
        fields = record.fields  # type: ignore[attr-defined]
        assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/db/d/query", "200")

    play(scenario)


def record_of(message: str, **more: Any) -> logging.LogRecord:
    record = logging.LogRecord("virke.x", logging.WARNING, "x.py", 1, message, (), more.pop("exc_info", None))
    record.__dict__.update(more)
    return record


def test_a_line_of_json_has_the_fields_of_its_record() -> None:
    line = JsonFormat().format(record_of("two\nlines", fields={"database": "d", "ms": 5}))
    found = json.loads(line)
    assert "\n" not in line
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "logger": "virke.x", "message": "two\nlines", "database": "d", "ms": 5}


def test_a_message_can_not_write_a_second_line_or_act_on_a_terminal() -> None:
    line = TextFormat().format(record_of("two\nlines \x1b[31m"))
    assert line.endswith(r"WARNING virke.x: two\x0alines \x1b[31m")


def test_a_traceback_is_shown_in_both() -> None:
    try:
        raise ValueError("a fault")
    except ValueError:
        record = record_of("failed", exc_info=sys.exc_info())
    assert "ValueError: a fault" in json.loads(JsonFormat().format(record))["traceback"]
    assert "\nTraceback" in TextFormat().format(record)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_has_a_secret(tmp_path: Path, form: str) -> None:
    """A token that is good, one that is not, one in a query, and parameters, at the level that says most."""
    store = f"local:{tmp_path / 'store'}"
    made = run_virke(tmp_path, "token", "create", "--store", store, "--db", "*", "--scope", "admin", "--json")
    token = json.loads(made)["token"]
    options = ["--log-level", "debug", "--log-format", form, "--slow-ms", "0", "--store", store, "--port", "0"]
    command = [sys.executable, "-m", "virke", "serve", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        ready = process.stderr.readline()
        port = int(ready.rsplit(":", 1)[1])
        for shown, path, body in (
            (token, "/db/d", None),
            (token, "/db/d/execute", {"sql": "CREATE TABLE t (v)"}),
            (token, "/db/d/execute", {"sql": "INSERT INTO t VALUES (?)", "params": [SECRET]}),
            (token, f"/db/d/query?authToken={token}", {"sql": "SELECT v FROM nowhere WHERE v = ?", "params": [SECRET]}),
            (token[:-1] + "x", "/db/d/query", {"sql": "SELECT 1"}),
            (token, "/tokens", {"db": "d", "scope": "read"}),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
            method = "PUT" if path == "/db/d" else "POST"
            connection.request(method, path, json.dumps(body or {}), {"authorization": f"Bearer {shown}"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            connection.close()
        process.terminate()
        text = process.stderr.read()
        assert process.wait(START_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()
    assert "INSERT INTO t VALUES (?)" in text
    assert "/db/d/query" in text
    for secret in (token, token[:-1], SECRET, found["token"]):
        assert secret not in text
    if form == "json":
        assert all(json.loads(line)["logger"].startswith("virke") for line in text.splitlines())


def run_virke(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "virke", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=START_S).stdout
