"""examples/fastapi-s3: its commands, its policy and two processes, on an S3 server that enforces the policy."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import virke
from tests.runtime.serving import CLEAN, DB, EXAMPLES, PYTHON, Visitor, example, program
from tests.servers.s3 import BUCKET, S3Server, put_policy, seaweedfs
from virke.errors import Denied

FOLDER: Final = EXAMPLES / "fastapi-s3"
USER: Final = "my-app"
KEYS: Final = {"AWS_ACCESS_KEY_ID": "my-app-key", "AWS_SECRET_ACCESS_KEY": "my-app-secret"}
POLICY: Final[dict[str, Any]] = json.loads((FOLDER / "bucket-policy.json").read_text().replace("my-app-data", BUCKET))
COMMANDS: Final = re.findall(r"```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An S3 server that knows the app's user, who may do nothing so far."""
    with seaweedfs(users={USER: (KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])}) as found:
        yield found


@pytest.fixture(autouse=True)
def _as_the_apps_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def _without(action: str) -> dict[str, Any]:
    """The policy without one of its actions."""
    statements = []
    for statement in POLICY["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if left := [one for one in actions if one != action]:
            statements.append({**statement, "Action": left})
    return {**POLICY, "Statement": statements}


def _uses_it_all(url: str) -> None:
    """What a program and the commands do with a bucket: create, write, read, list, collect, delete."""
    with virke.connect("tried", url, create=True) as database:
        database.run_script("CREATE TABLE t (a BLOB); INSERT INTO t VALUES (randomblob(200000))")
        assert database.query("SELECT length(a) FROM t").rows == [(200_000,)]
        database.collect()
    assert virke.list_databases(url) == ["tried"]
    virke.delete("tried", url)


def test_the_policy_is_enough_and_no_action_of_it_can_be_spared(server: S3Server) -> None:
    put_policy(server, POLICY)
    _uses_it_all(server.url("enough"))
    actions = {
        action
        for one in POLICY["Statement"]
        for action in (one["Action"] if isinstance(one["Action"], list) else [one["Action"]])
    }
    for action in sorted(actions):
        put_policy(server, _without(action))
        with pytest.raises(virke.VirkeError, match="AccessDenied"):
            _uses_it_all(server.url(action.partition(":")[2]))
    put_policy(server, POLICY)
    with pytest.raises(Denied):
        virke.list_databases(server.url().replace(f"s3://{BUCKET}", "s3://another-bucket"))


def _old_database(path: Path) -> None:
    """What somebody has used so far: a file in WAL mode, the last commit still in the log beside it."""
    old = sqlite3.connect(path)
    old.execute("PRAGMA journal_mode = wal")
    old.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE)")
    old.execute("INSERT INTO users (name, email) VALUES ('Zoe', 'zoe@example.com')")
    old.commit()
    old.close()


def test_two_processes_serve_a_database_that_was_imported(server: S3Server, tmp_path: Path) -> None:
    put_policy(server, POLICY)
    folder, url = example("fastapi-s3", tmp_path), server.url("app")
    environ = {**KEYS, "VIRKE_STORE": url}
    _old_database(folder / "app.db")
    (commands,) = COMMANDS
    for command in commands.strip().splitlines():
        words = shlex.split(command)
        assert words[0] == "virke"
        subprocess.run([PYTHON, "-m", *words], cwd=folder, env=CLEAN | environ, check=True, capture_output=True)
    with virke.connect(DB, url) as database:  # from here on only a bookmark makes a process look
        database.change_settings({"max_staleness_ms": 600_000})
    with program(folder, "fire", environ=environ) as one, program(folder, "uvicorn", environ=environ) as other:
        for port in (one, other):
            assert Visitor(port).get("/users").json == [[1, "Zoe", "zoe@example.com"]]
        _sees_what_they_wrote(one, other)
        _loses_nothing(one, other, url)


def _sees_what_they_wrote(one: int, other: int) -> None:
    visitor = Visitor(one)
    assert visitor.post("/users", {"name": "Alice", "email": "alice@example.com"}).json == {"created": 1}
    assert len(Visitor(other).get("/users").json) == 1  # a stranger may be shown the older state, as the setting says
    elsewhere = Visitor(other, visitor.cookie)
    assert [row[1] for row in elsewhere.get("/users").json] == ["Zoe", "Alice"]
    again = elsewhere.post("/users", {"name": "Alice", "email": "alice@example.com"})
    assert (again.status, again.json["error"]["sqlite_code"]) == (400, "SQLITE_CONSTRAINT_UNIQUE")
    renamed = elsewhere.post("/users/2/rename?name=Ada", {})
    assert (renamed.json, elsewhere.post("/users/99/rename?name=x", {}).status) == ({"was": "Alice", "is": "Ada"}, 404)
    assert Visitor(one, elsewhere.cookie).get("/users").json[1][1] == "Ada"


def _loses_nothing(one: int, other: int, url: str) -> None:
    """Writers through both processes at the same time: each answer of 200 is a row, each row had one."""

    def write(number: int) -> int:
        user = {"name": f"writer {number}", "email": f"{number}@example.com"}
        return Visitor((one, other)[number % 2]).post("/users", user).status

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(write, range(40)))
    with virke.connect(DB, url) as database:
        written = {name for (name,) in database.query("SELECT name FROM users WHERE name LIKE 'writer %'").rows}
    assert written == {f"writer {number}" for number, status in enumerate(statuses) if status == 200}
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) >= 30
