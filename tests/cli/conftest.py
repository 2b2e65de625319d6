"""A folder with the seed's virke.toml, and `virke` run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from virke.cli.main import cli

Virke = Callable[..., Result]

SOURCE = Path(__file__).resolve().parents[2] / "src"
SEED_TOML = '[project]\nname = "my-app"\n\n[database]\nname = "my-app-db"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder in which no variable of the machine holds."""
    for name in ("VIRKE_DB", "VIRKE_URL", "VIRKE_STORE", "VIRKE_TOKEN", "VIRKE_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def virke(folder: Path) -> Virke:
    """Run `virke` in this process: `virke("db", "status").stdout`."""

    def run(*args: str, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, list(args), input=input)

    return run


@pytest.fixture
def project(folder: Path, virke: Virke) -> Path:
    """The folder with the seed's virke.toml and its database."""
    (folder / "virke.toml").write_text(SEED_TOML)
    assert virke("db", "create").exit_code == 0
    return folder


@pytest.fixture
def users(project: Path, virke: Virke) -> Path:
    """The project with the users of the seed's example."""
    sql = (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, active INTEGER);"
        "INSERT INTO users (name, email, active) VALUES ('Alice', 'alice@example.com', 1),"
        "('Bob', 'bob@example.com', 0), ('Carol', 'carol@example.com', 1)"
    )
    found = virke("db", "execute", sql)
    assert found.exit_code == 0, found.output
    return project


def start(*args: str, folder: Path, timeout_s: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `virke` as a process of its own in `folder`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE")}
    return subprocess.run(
        [sys.executable, "-m", "virke.cli.main", *args],
        cwd=folder,
        env=environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), environ.get("PYTHONPATH", "")])} | variables,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
