"""`virke deploy`: to a node and to a bucket, again, with one more migration, with a broken one; and where to at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.cli.conftest import SEED_TOML, Virke
from tests.servers.node import node
from tests.servers.running import free_ports
from tests.servers.s3 import CREDENTIALS, S3Server
from virke.config import Config, parse_config
from virke.errors import Unavailable, UsageError
from virke.migrations.derive import Ran
from virke.migrations.running import run_file
from virke.migrations.target import Step
from virke.project.destination import HINT, destination_of

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
POSTS = "CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users);\n"
BROKEN = "CREATE TABLE tags (id INTEGER PRIMARY KEY);\nINSERT INTO nowhere VALUES (1);\n"


@pytest.fixture
def app(folder: Path) -> Path:
    """The seed's project with one migration."""
    (folder / "virke.toml").write_text(SEED_TOML)
    (folder / "migrations").mkdir()
    write(folder, "001_users", USERS)
    return folder


@pytest.fixture(params=["node", "S3"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a node, and of a bucket on a real server."""
    if request.param == "node":
        place = tmp_path_factory.mktemp("node")
        with node(f"local:{place / 'store'}", place) as running:
            yield running.url
        return
    server: S3Server = request.getfixturevalue("seaweedfs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "VIRKE_CACHE": "off"}.items():
            patch.setenv(name, value)
        yield server.url(tmp_path_factory.mktemp("bucket").name)


def write(folder: Path, name: str, sql: str) -> None:
    """Put a migration into a project."""
    (folder / "migrations" / f"{name}.sql").write_text(sql)


def said(virke: Virke, *args: str) -> str:
    """What a command that succeeds prints."""
    found = virke(*args)
    assert found.exit_code == 0, found.output
    return found.stdout


def tables(virke: Virke, url: str) -> list[str]:
    """The tables of the database that was deployed, without Virke's own."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'virke_%' ORDER BY name"
    rows = json.loads(said(virke, "db", "query", sql, "--store", url, "--json"))["rows"]
    return [name for (name,) in rows]


def test_deploying_again_and_again(app: Path, virke: Virke, url: str) -> None:
    """Created once, applied once, the second time nothing; one more migration alone; of a broken one nothing."""
    variable = "VIRKE_URL" if url.startswith("http") else "VIRKE_STORE"

    first = said(virke, "deploy", "--store", url).splitlines()
    assert first[:2] == ["created my-app-db", "applied 001_users.sql"]
    assert first[2].startswith(f"my-app-db is at {url}, version ")
    assert first[3].startswith(f"an app reaches it with {variable}=")
    version = json.loads(said(virke, "db", "status", "--store", url, "--json"))["version"]

    again = said(virke, "deploy", "--store", url).splitlines()
    assert again[0] == f"nothing to do: my-app-db at {url} is up to date, version {version}"
    assert json.loads(said(virke, "db", "status", "--store", url, "--json"))["version"] == version

    write(app, "002_posts", POSTS)
    more = json.loads(said(virke, "deploy", "--store", url, "--json"))
    assert (more["created"], more["applied"], more["environment"]) == (False, ["002_posts.sql"], {variable: url})
    assert tables(virke, url) == ["posts", "users"]

    write(app, "003_more", "CREATE TABLE more (id INTEGER);\n")
    write(app, "004_tags", BROKEN)
    broken = virke("deploy", "--store", url)
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "004_tags.sql: no such table: nowhere" in broken.stderr
    assert "(line 2); this was the rehearsal: nothing was applied" in broken.stderr
    assert tables(virke, url) == ["posts", "users"]


def test_the_app_reaches_it_as_deploying_said(folder: Path, virke: Virke, url: str) -> None:
    """The template's own program, started as its Containerfile does, in the environment that `virke deploy` names."""
    said(virke, "init", "--python", "--name", "my-app")
    environment = json.loads(said(virke, "deploy", "--store", url, "--json"))["environment"]
    command = re.findall(r"^CMD (.*)$", (folder / "Containerfile").read_text(), re.MULTILINE)
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, *json.loads(command[0])[1:]],
        env={**os.environ, **environment, "PORT": str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any("Uvicorn running on" in line for line in process.stderr)
        body = b'{"name": "Dave", "email": "dave@example.com"}'
        with urlopen(Request(f"http://127.0.0.1:{port}/users", body), timeout=60) as answer:
            assert json.loads(answer.read()) == {"created": 1}
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert "Dave" in said(virke, "db", "query", "SELECT name FROM users", "--store", url)


def test_a_broken_first_migration_creates_nothing(app: Path, virke: Virke, url: str) -> None:
    write(app, "002_tags", BROKEN)
    found = virke("deploy", "--store", url, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["applied"] == []
    assert json.loads(found.stderr)["error"]["file"] == "002_tags.sql"
    assert "my-app-db" not in json.loads(said(virke, "db", "list", "--store", url, "--json"))["databases"]


def test_a_dry_run_changes_nothing(app: Path, virke: Virke, url: str) -> None:
    """Not a database that is missing, not one that is there."""
    assert said(virke, "deploy", "--store", url, "--dry-run") == "would create my-app-db\nwould apply 001_users.sql\n"
    assert "my-app-db" not in said(virke, "db", "list", "--store", url)
    said(virke, "deploy", "--store", url)
    write(app, "002_posts", POSTS)
    found = json.loads(said(virke, "deploy", "--store", url, "--dry-run", "--json"))
    assert (found["would_create"], found["would_apply"]) == (False, ["002_posts.sql"])
    assert tables(virke, url) == ["users"]
    (app / "migrations" / "002_posts.sql").unlink()
    assert said(virke, "deploy", "--store", url, "--dry-run").startswith("nothing to do: my-app-db is up to date")


def test_an_error_that_no_rehearsal_sees_says_what_was_applied(
    app: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the store goes away between two files."""
    write(app, "002_posts", POSTS)
    ran = list[str]()

    def fails_later(step: Step, sql: str, label: str) -> list[Ran]:
        ran.append(label)
        if ran.count("002_posts.sql") == 2:
            raise Unavailable("the store does not answer")
        return run_file(step, sql, label)

    monkeypatch.setattr("virke.migrations.run.run_file", fails_later)
    found = virke("deploy", "--store", "local:there")
    assert found.exit_code == 3
    assert found.stdout == "created my-app-db\napplied 001_users.sql\n"
    assert "error: the store does not answer; applied before it: 001_users.sql" in found.stderr
    monkeypatch.undo()
    monkeypatch.chdir(app)
    assert said(virke, "deploy", "--store", "local:there").startswith("applied 002_posts.sql\nmy-app-db is at")


def test_two_that_deploy_at_once_end_as_one(app: Path) -> None:
    """One database, each migration once, whichever was first."""
    for number in range(2, 6):
        write(app, f"00{number}_t", f"CREATE TABLE t{number}(x);")
    command = [sys.executable, "-m", "virke", "deploy", "--store", "local:there"]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, cwd=app, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert [code for _, _, code in ends] == [0, 0], ends
    applied = [line for out, _, _ in ends for line in out.splitlines() if line.startswith("applied ")]
    assert sorted(applied) == ["applied 001_users.sql", *(f"applied 00{number}_t.sql" for number in range(2, 6))]


def test_an_edited_migration_is_an_error_and_a_project_without_any_is_not(app: Path, virke: Virke) -> None:
    said(virke, "deploy", "--store", "local:there")
    write(app, "001_users", USERS.replace("name", "nom"))
    found = virke("deploy", "--store", "local:there")
    assert found.exit_code == 1
    assert "001_users.sql was edited after it was applied" in found.stderr
    for path in (app / "migrations").iterdir():
        path.unlink()
    (app / "migrations").rmdir()
    assert said(virke, "deploy", "--store", "local:other").startswith("created my-app-db\n")


def test_where_nothing_is_known_the_hint_names_the_three(app: Path, virke: Virke) -> None:
    found = virke("deploy")
    assert (found.exit_code, found.stdout) == (2, "")
    assert all(word in found.stderr for word in ("hint: ", "--target node", "--target store", "--target fastly"))


NODE_TOML = '[deploy]\nurl = "https://deploy"\ntoken = "vk_1"\n'
BUCKET_TOML = '[store]\nurl = "s3://bucket/app"\naccess_key_id = "id"\n'


@pytest.mark.parametrize(
    ("text", "environ", "asked", "found"),
    [
        ("", {"VIRKE_URL": "http://n"}, (None, None), ("node", "http://n", {})),
        ("", {"VIRKE_STORE": "s3://b"}, (None, None), ("store", "s3://b", {})),
        ("", {"VIRKE_STORE": "s3://b", "VIRKE_URL": "http://n"}, (None, None), ("node", "http://n", {})),
        ("", {"VIRKE_STORE": "s3://b", "VIRKE_URL": "http://n"}, ("store", None), ("store", "s3://b", {})),
        ("", {"VIRKE_URL": "http://n"}, (None, "local:x"), ("store", Path("x").absolute().as_uri(), {})),
        (NODE_TOML, {}, (None, None), ("node", "https://deploy", {"token": "vk_1"})),
        (NODE_TOML, {"VIRKE_TOKEN": "vk_2"}, (None, None), ("node", "https://deploy", {"token": "vk_2"})),
        (NODE_TOML, {"VIRKE_STORE": "s3://b"}, (None, None), ("node", "https://deploy", {"token": "vk_1"})),
        (NODE_TOML, {"VIRKE_URL": "http://n"}, (None, None), ("node", "http://n", {})),
        (BUCKET_TOML, {}, (None, None), ("store", "s3://bucket/app", {"access_key_id": "id"})),
        (BUCKET_TOML, {"VIRKE_TOKEN": "vk_2"}, (None, None), ("store", "s3://bucket/app", {"access_key_id": "id"})),
        (BUCKET_TOML + NODE_TOML, {}, ("store", None), ("store", "s3://bucket/app", {"access_key_id": "id"})),
        ('[deploy]\ntarget = "store"\n' + BUCKET_TOML, {"VIRKE_URL": "http://n"}, (None, None), ("store",)),
        ('[store]\nurl = "https://n"\ntoken = "vk_1"\n', {}, (None, None), ("node", "https://n", {"token": "vk_1"})),
        ('[store]\nurl = "local:/data"\n', {}, ("store", None), ("store", "file:///data", {})),
        ('[deploy]\nurl = "local:/data"\n', {}, (None, None), ("store", "file:///data", {})),
    ],
)
def test_where_to(
    text: str, environ: dict[str, str], asked: tuple[str | None, str | None], found: tuple[object, ...]
) -> None:
    """What was asked, else a node that is known, else a store that is; with the token that belongs there."""
    chosen = destination_of(parse_config(text, Path("/p/virke.toml")), *asked, environ)
    assert (chosen.target, chosen.store.url, dict(chosen.store.options))[: len(found)] == found


@pytest.mark.parametrize(
    ("text", "environ", "asked", "words"),
    [
        ("", {}, (None, None), "no store but this folder is known"),
        ("", {"VIRKE_STORE": "local:x"}, (None, None), "no store but this folder is known"),
        ('[store]\nurl = "local:x"\n', {}, (None, None), "no store but this folder is known"),
        ("", {"VIRKE_STORE": "s3://b"}, ("node", None), "No node is known"),
        ("", {"VIRKE_URL": "http://n"}, ("store", None), "No store is known"),
        ("", {}, ("node", "s3://b"), "s3://b is not a node"),
        ("", {"VIRKE_URL": "s3://b"}, (None, None), "VIRKE_URL names a node"),
    ],
)
def test_where_to_is_an_error(
    text: str, environ: dict[str, str], asked: tuple[str | None, str | None], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        destination_of(parse_config(text, Path("/p/virke.toml")), *asked, environ)
    assert caught.value.context.get("hint", HINT) == HINT


def test_a_token_that_was_given_is_for_a_node() -> None:
    with pytest.raises(UsageError, match="leave --token out"):
        destination_of(Config(Path("/p")), None, "s3://b", {}, token="vk_1")
