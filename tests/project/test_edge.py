"""`virke init`, `build` and `dev --edge` with the vendor's tools: the API, the Flask example as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.cli.conftest import SOURCE, start
from tests.project.developing import Dev, alive, developing
from tests.project.documented import assert_printed, documented, typed
from virke.config import cache_folder
from virke.edge.building.pythons import find_python
from virke.errors import UsageError


def missing() -> str:
    """Why there can be no build here; "" if there can."""
    try:
        find_python()
    except UsageError as error:
        return error.message
    return ""


pytestmark = [pytest.mark.slow, pytest.mark.once, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
EXAMPLES = SOURCE.parent / "examples"
BLOCK = "virke init --edge"
DAVE = {"name": "Dave", "email": "dave@example.com"}


@pytest.fixture
def cache() -> dict[str, str]:
    """The cache of this user, so that the tool is installed once, and no component compiled twice."""
    folder = cache_folder()
    assert folder is not None
    return {"XDG_CACHE_HOME": str(folder.parent)}


def run(dev: Dev, operation: str, sql: str, *params: object) -> dict[str, object]:
    """What the API answers."""
    status, body = dev.ask(f"/db/my-app-db/{operation}", {"sql": sql, "params": list(params)})
    assert status == 200, body
    assert isinstance(body, dict)
    return body


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An empty folder in which the first commands of README's block were typed, and what each printed."""
    folder = tmp_path_factory.mktemp("edge") / "my-app"
    folder.mkdir()
    return folder, [typed(step.command, folder) for step in documented("README.md", BLOCK)[:2]]


def test_an_empty_folder_becomes_what_the_readme_shows(
    built: tuple[Path, list[str]], tmp_path: Path, cache: dict[str, str]
) -> None:
    """Each line of its two blocks: what `init`, `build` and `dev --edge` print, and what is answered; the data last."""
    folder, printed = Path(shutil.copytree(built[0], tmp_path / "my-app")), built[1]
    *made, served = documented("README.md", BLOCK)
    for step, text in zip(made, printed, strict=True):
        assert_printed(step, text)
    for number in range(2):
        with developing(folder, "--edge", **cache) as dev:
            dev.wait_for("ready  ")
            if number == 0:
                assert_printed(served, "".join(dev.said))
            for step in documented("README.md", "curl -H")[number:]:
                assert_printed(step, typed(step.command.replace("http://127.0.0.1:7676", f"-sS {dev.url}"), folder))


def test_the_documents_show_the_same() -> None:
    assert documented("docs/develop.md", BLOCK) == documented("README.md", BLOCK)


def test_from_an_empty_folder_to_an_api_whose_data_last(
    built: tuple[Path, list[str]], tmp_path: Path, cache: dict[str, str]
) -> None:
    folder = Path(shutil.copytree(built[0], tmp_path / "my-app"))
    toml = folder / "virke.toml"
    toml.write_text(toml.read_text() + '\n[edge]\nseed = "users.csv"\n')
    (folder / "users.csv").write_text("id,name,email\n7,Ann,ann@example.com\n")
    again = start("build", folder=folder, timeout_s=600, **cache)
    assert again.stdout.startswith("up to date: bin/main.wasm"), again.stderr

    with developing(folder, "--edge", **cache) as dev:
        dev.wait_for("applied 001_create_users.sql")
        dev.wait_for("imported users.csv")
        assert dev.wait_for("ready  ").split() == ["ready", dev.url, "(my-app-db)"]
        assert not any(line.startswith("building") for line in dev.said)
        written = run(dev, "execute", "INSERT INTO users (name) VALUES (?)", "Dave")
        assert written["rows_affected"] == 1
        assert run(dev, "query", "SELECT id, name FROM users")["rows"] == [[7, "Ann"], [8, "Dave"]]
        assert (
            start("db", "query", "--csv", "SELECT id, name FROM users", folder=folder).stdout
            == "id,name\n7,Ann\n8,Dave\n"
        )
        assert start("db", "execute", "INSERT INTO users (name) VALUES ('Eve')", folder=folder).returncode == 0

        (folder / "migrations" / "002_posts.sql").write_text("CREATE TABLE posts (id INTEGER PRIMARY KEY);\n")
        dev.wait_for("applied 002_posts.sql")
        family = dev.family()
        assert dev.end() == 0
        assert alive(family) == set()

    with developing(folder, "--edge", **cache) as dev:
        dev.wait_for("ready  ")
        assert run(dev, "query", "SELECT name FROM users ORDER BY id")["rows"] == [["Ann"], ["Dave"], ["Eve"]]
        assert run(dev, "query", "SELECT count(*) FROM posts")["rows"] == [[0]]


def test_the_flask_example_runs_as_it_is_and_follows_its_files(tmp_path: Path, cache: dict[str, str]) -> None:
    shutil.copytree(EXAMPLES / "flask", tmp_path / "flask")
    folder = tmp_path / "flask"
    with developing(folder, "--edge", **cache) as dev:
        dev.wait_for("ready  ")
        assert dev.ask("/users") == (200, [])
        assert dev.ask("/users", DAVE) == (200, {"created": 1})
        assert dev.ask("/users", DAVE)[0] == 400
        [[number, name, email, _]] = dev.ask("/users")[1]
        assert [number, name, email] == [1, "Dave", "dave@example.com"]
        with pytest.raises(
            HTTPError, match="404"
        ) as refused:  # with an app inside, the API is off: this is Flask's page
            urlopen(f"{dev.url}/db/my-app-db/status")
        refused.value.close()

        program = (folder / "app.py").read_text()
        (folder / "app.py").write_text(f"import ctypes\n{program}")
        dev.wait_for("error: a component's Python has no")
        assert dev.ask("/users")[0] == 200  # what was served goes on
        (folder / "app.py").write_text(program.replace("SELECT * FROM users", "SELECT name FROM users"))
        dev.wait_for("serves the new build")
        assert dev.ask("/users") == (200, [["Dave"]])
