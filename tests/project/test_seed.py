"""`[edge] seed`: a new database gets its first rows once, by `virke deploy` and `virke dev`; never twice, never over a user's."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SEED_TOML, Virke
from tests.project.developing import developing
from tests.project.fastly_project import write_project
from tests.project.test_deploy import said, write
from tests.project.test_dev import PLAIN
from tests.servers.fastly_api import FastlyApi, account_of_the_environment
from tests.servers.node import node
from virke.config import load_config
from virke.engine.long_writes import LongWrite
from virke.errors import Unavailable
from virke.opening import connect
from virke.project.seed import Standing, seed_of, sow_seed, standing_of

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
KINDS = "CREATE TABLE kinds (name TEXT);\nINSERT INTO kinds VALUES ('a'), ('b');\n"
ROWS = "INSERT INTO users (name) VALUES ('Ann');\nINSERT INTO users (name) VALUES ('Ben');\n"
NAMES = "SELECT name FROM users ORDER BY id"


@pytest.fixture
def app(folder: Path) -> Path:
    """A project with a migration that puts rows of its own there, and a seed."""
    (folder / "migrations").mkdir()
    write(folder, "001_users", USERS)
    write(folder, "002_kinds", KINDS)
    seeded(folder, "seed.sql", ROWS)
    return folder


@pytest.fixture(params=["node", "local"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a node, and of a folder."""
    place = tmp_path_factory.mktemp("place")
    if request.param == "local":
        yield f"local:{place / 'store'}"
        return
    with node(f"local:{place / 'store'}", place) as running:
        yield running.url


def seeded(folder: Path, name: str, content: str | bytes) -> None:
    """Let the project name a seed, and write it."""
    (folder / "virke.toml").write_text(SEED_TOML + f'\n[edge]\nseed = "{name}"\n')
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def rows(virke: Virke, url: str, sql: str = NAMES) -> list[list[object]]:
    """What the database has there."""
    found: list[list[object]] = json.loads(said(virke, "db", "query", sql, "--store", url, "--json"))["rows"]
    return found


def test_it_comes_with_the_first_deployment_and_never_again(app: Path, virke: Virke, url: str) -> None:
    """Not after a change of the file, and not after all rows were deleted."""
    first = said(virke, "deploy", "--store", url).splitlines()
    assert first[:4] == ["created my-app-db", "applied 001_users.sql", "applied 002_kinds.sql", "imported seed.sql"]
    assert rows(virke, url) == [["Ann"], ["Ben"]]
    (app / "seed.sql").write_text("INSERT INTO users (name) VALUES ('Cid');\n")
    assert said(virke, "deploy", "--store", url).startswith("nothing to do")
    said(virke, "db", "execute", "DELETE FROM users; DELETE FROM kinds", "--store", url)
    assert json.loads(said(virke, "deploy", "--store", url, "--json"))["imported"] is None
    assert rows(virke, url) == []


def test_a_dry_run_says_so_and_imports_nothing(app: Path, virke: Virke, url: str) -> None:
    assert said(virke, "deploy", "--store", url, "--dry-run").splitlines()[-1] == "would import seed.sql"
    assert json.loads(said(virke, "deploy", "--store", url, "--dry-run", "--json"))["would_import"] == "seed.sql"
    (app / "seed.sql").rename(app / "later.sql")
    (app / "virke.toml").write_text(SEED_TOML)
    said(virke, "deploy", "--store", url)
    seeded(app, "seed.sql", ROWS)
    assert said(virke, "deploy", "--store", url, "--dry-run") == "would import seed.sql\n"
    assert rows(virke, url) == []
    assert said(virke, "deploy", "--store", url).startswith("imported seed.sql\n")
    assert rows(virke, url) == [["Ann"], ["Ben"]]


def test_a_database_with_rows_of_its_own_is_left_alone(app: Path, virke: Virke, url: str) -> None:
    """One row more than the migrations put there is enough, in whichever table."""
    (app / "virke.toml").write_text(SEED_TOML)
    said(virke, "deploy", "--store", url)
    said(virke, "db", "execute", "INSERT INTO kinds VALUES ('c')", "--store", url)
    seeded(app, "seed.sql", ROWS)
    found = said(virke, "deploy", "--store", url).splitlines()
    assert found[0] == "left alone seed.sql: the database has rows of its own"
    assert found[1].startswith("nothing to do")
    assert rows(virke, url) == []


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("seed.sql", ROWS + "INSERT INTO nowhere VALUES (1);\n", "seed.sql: line 3: no such table: nowhere"),
        ("data/users.csv", "id,name\n1,Ann\n1,Ben\n", "users.csv, line 3: UNIQUE constraint failed: users.id"),
        ("seed.sql", "SELEC 1;\n", "seed.sql: line 1: near"),
        ("seed.sqlite", b"SQLite format 3\0rest", "seed.sqlite"),
    ],
)
def test_a_broken_one_is_found_before_anything_is_made(
    app: Path, virke: Virke, name: str, content: str | bytes, error: str
) -> None:
    """By `deploy` and by `build`: the message names file and line, and nothing is created."""
    seeded(app, name, content)
    for command in (("deploy", "--store", "local:there"), ("build",)):
        found = virke(*command)
        assert found.exit_code == 1, found.output
        assert error in found.stderr
    assert (
        not (app / "there").exists()
        or json.loads(said(virke, "db", "list", "--store", "local:there", "--json"))["databases"] == []
    )


def test_a_seed_that_is_not_there_is_wrong_usage(app: Path, virke: Virke) -> None:
    (app / "seed.sql").unlink()
    for command in (
        ("deploy", "--store", "local:there"),
        ("build",),
        ("dev", "--edge"),
        ("deploy", "--target", "fastly", "--dry-run"),
    ):
        found = virke(*command)
        assert found.exit_code == 2, found.output
        assert "[edge] seed names seed.sql, and there is no such file" in found.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [("users.csv", "id,name\n1,Ann\n2,Ben\n"), ("users.ndjson", '{"id":1,"name":"Ann"}\n{"id":2,"name":"Ben"}\n')],
)
def test_a_file_of_rows_goes_into_the_table_of_its_name(
    app: Path, virke: Virke, url: str, name: str, content: str
) -> None:
    seeded(app, f"data/{name}", content)
    assert f"imported data/{name}" in said(virke, "deploy", "--store", url)
    assert said(virke, "deploy", "--store", url).startswith("nothing to do")
    assert rows(virke, url) == [["Ann"], ["Ben"]]


def test_a_sqlite_file_comes_before_the_migrations(app: Path, virke: Virke, url: str) -> None:
    """Which go on from its tables; a database that was ever written to gets none."""
    with sqlite3.connect(app / "made.sqlite") as made:
        made.executescript(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'Ann')"
        )
    made.close()
    seeded(app, "made.sqlite", (app / "made.sqlite").read_bytes())
    write(app, "001_users", "ALTER TABLE users ADD COLUMN email TEXT;\n")
    dry = said(virke, "deploy", "--store", url, "--dry-run").splitlines()
    assert dry == [
        "would create my-app-db",
        "would import made.sqlite",
        "would apply 001_users.sql",
        "would apply 002_kinds.sql",
    ]
    first = said(virke, "deploy", "--store", url).splitlines()
    assert first[:3] == ["created my-app-db", "imported made.sqlite", "applied 001_users.sql"]
    assert rows(virke, url, "SELECT name, email FROM users") == [["Ann", None]]
    said(virke, "db", "execute", "DROP TABLE users", "--store", url)
    assert said(virke, "deploy", "--store", url).startswith("nothing to do")


def test_of_two_that_deploy_at_once_one_imports_it(app: Path, virke: Virke) -> None:
    """They end well, and its rows are there once."""
    seeded(app, "seed.sql", ROWS)
    command = [sys.executable, "-m", "virke", "deploy", "--store", "local:there"]
    pipe = subprocess.PIPE
    all_ = [subprocess.Popen(command, cwd=app, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in all_]
    assert [code for _, _, code in ends] == [0, 0, 0], ends
    assert sum("imported seed.sql" in out for out, _, _ in ends) == 1
    assert rows(virke, "local:there") == [["Ann"], ["Ben"]]


def test_who_comes_second_changes_nothing(app: Path, virke: Virke) -> None:
    """Both found it due; the second finds the record in the commit of the first."""
    (app / "virke.toml").write_text(SEED_TOML)
    said(virke, "deploy", "--store", "local:there")
    seeded(app, "seed.sql", ROWS)
    seed = seed_of(load_config())
    assert seed is not None
    with connect("my-app-db", "local:there") as one, connect("my-app-db", "local:there") as other:
        assert (
            standing_of(one, seed, app / "migrations") is standing_of(other, seed, app / "migrations") is Standing.DUE
        )
        reported = list[tuple[str, str]]()
        report = lambda verb, what: reported.append((verb, what))  # noqa: E731
        assert (sow_seed(one, seed, report), sow_seed(other, seed, report)) == (True, False)
        assert reported == [("imported", "seed.sql")]
        assert other.query(NAMES).rows == [("Ann",), ("Ben",)]


def test_rows_and_record_are_one_commit(app: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that goes away leaves neither, and the next run imports it."""
    (app / "virke.toml").write_text(SEED_TOML)
    said(virke, "deploy", "--store", "local:there")
    seeded(app, "seed.sql", ROWS)

    commits = list[object]()

    def gone(write: LongWrite, *args: Any, **options: Any) -> int:
        commits.append(write)
        if len(commits) > 1:  # the first is the rehearsal's
            raise Unavailable("the store does not answer")
        return commit_pages(write, *args, **options)

    commit_pages = LongWrite.commit_pages
    with monkeypatch.context() as patch:
        patch.setattr("virke.engine.long_writes.LongWrite.commit_pages", gone)
        found = virke("deploy", "--store", "local:there")
    assert found.exit_code == 3
    assert "seed.sql: the store does not answer; no migration was applied" in found.stderr
    assert rows(virke, "local:there", "SELECT name FROM sqlite_schema WHERE name = 'virke_seed'") == []
    assert said(virke, "deploy", "--store", "local:there").startswith("imported seed.sql\n")


def test_on_fastly_it_is_in_the_kv_store_before_the_service(
    folder: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run says so; the second deployment does nothing."""
    with account_of_the_environment(monkeypatch) as api:
        write_project(folder)
        seeded(folder, "seed.sql", ROWS)
        deploy = ("deploy", "--target", "fastly")
        assert "would import seed.sql" in said(virke, *deploy, "--dry-run").splitlines()
        assert not api.account.kv
        printed = said(virke, *deploy).splitlines()
        assert printed.index("imported seed.sql") < next(n for n, line in enumerate(printed) if "service" in line)
        (kv,) = api.account.kv
        assert rows(virke, kv_address(api, kv)) == [["Ann"], ["Ben"]]
        assert "imported" not in said(virke, *deploy)
        assert rows(virke, kv_address(api, kv)) == [["Ann"], ["Ben"]]


def kv_address(api: FastlyApi, kv_id: str) -> str:
    """Where the command line finds the database."""
    return f"fastly-kv://{kv_id}?api={api.url}"


def test_virke_dev_imports_it_and_tries_a_broken_one_again_when_it_is_saved(app: Path) -> None:
    (app / "app.py").write_text(PLAIN)
    seeded(app, "seed.sql", "INSERT INTO nowhere VALUES (1);\n")
    with developing(app) as dev:
        dev.wait_for("applied 002_kinds.sql")
        dev.wait_for("error: seed.sql: line 1: no such table: nowhere")
        dev.wait_for("app       ")
        (app / "seed.sql").write_text(ROWS)
        dev.wait_for("imported seed.sql")
    with connect("my-app-db", f"local:{app / '.virke'}") as database:
        assert database.query(NAMES).rows == [("Ann",), ("Ben",)]
