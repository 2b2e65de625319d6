"""The examples run as their first lines say, on real servers, embedded and against a node."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.runtime.serving import CLEAN, DB, EXAMPLES, PYTHON, Visitor, deployed, example, program
from tests.servers.node import Node

NAMES = ("starlette", "fastapi", "flask", "litestar", "django")
LINES_MAX = 60
ALICE = {"name": "Alice", "email": "alice@example.com"}


def test_every_example_is_a_short_program() -> None:
    lengths = {one.parent.name: len(one.read_text().splitlines()) for one in EXAMPLES.glob("*/app.py")}
    assert lengths.keys() >= {*NAMES, "fastapi-s3"}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_names_the_framework_that_it_needs_in_the_versions_that_are_tested(name: str) -> None:
    """So that `pip install -r` and `virke build` bring it: the example runs as it is."""
    lines = (EXAMPLES / name / "requirements.txt").read_text().splitlines()
    tested = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [line.partition(">")[0] for line in lines] == [name]
    assert set(lines) <= {line for extra in tested.values() for line in extra}


def _plays(port: int) -> None:
    """What each example does: it lists, creates, and refuses the same address twice."""
    visitor = Visitor(port)
    first = visitor.get("/users")
    assert (first.status, first.json, first.bookmark) == (200, [], None)
    created = visitor.post("/users", ALICE)
    assert (created.status, created.json) == (200, {"created": 1})
    assert created.bookmark is not None
    again = visitor.post("/users", ALICE)
    assert (again.status, again.bookmark) == (400, None)
    assert "UNIQUE constraint failed: users.email" in again.body.decode()
    listed = visitor.get("/users")
    assert ([row[:3] for row in listed.json], listed.bookmark) == ([[1, "Alice", "alice@example.com"]], None)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_with_its_own_fire_embedded_as_its_commands_set_it_up(name: str, tmp_path: Path) -> None:
    folder = example(name, tmp_path)
    for command in (["db", "create", DB], ["db", "migrate"]):
        subprocess.run([PYTHON, "-m", "virke", *command], cwd=folder, env=CLEAN, check=True, capture_output=True)
    with program(folder, "fire") as port:
        _plays(port)


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("starlette", "uvicorn"),
        ("fastapi", "hypercorn"),
        ("flask", "gunicorn processes"),
        ("litestar", "uvicorn"),
        ("django", "uvicorn"),
    ],
)
def test_an_example_runs_on_a_server_against_a_node(name: str, server: str, tmp_path: Path, served: Node) -> None:
    folder = example(name, tmp_path)
    toml, own = folder / "virke.toml", f"app-{name}"
    for file in (toml, folder / "app.py"):
        file.write_text(file.read_text().replace(DB, own))
    deployed(folder, served.url, own)
    with program(folder, server, environ={"VIRKE_URL": served.url}) as port:
        _plays(port)
