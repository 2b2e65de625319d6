"""Runs one program of other people's clients against a node and against a real sqld, each with an empty database.

A program is started with a URL and prints one JSON: its answers, by the names of its checks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.clients.install import HERE, NODE, SDIST, VENV
from tests.servers.node import node
from tests.servers.sqld import PLACE, binary, sqld

TIMEOUT_S: Final = 120
Answers = Mapping[str, Any]


def missing() -> str | None:
    """What keeps the programs from running here; None if nothing does."""
    if shutil.which("node") is None:
        return "Node is not on this machine"
    if not all(path.exists() for path in (NODE / "node_modules", VENV, SDIST, PLACE / "sqld")):
        return "the clients are not installed: python -m tests.clients.install"
    return None


@contextmanager
def a_node(folder: Path) -> Iterator[str]:
    """The URL of a node whose default database is empty and checks foreign keys, as sqld's does."""
    folder.mkdir()
    store = f"local:{folder / 'store'}"
    for words in (("create", "app"), ("create", "other"), ("settings", "foreign_keys=on", "--db", "app")):
        command = [sys.executable, "-m", "virke", "db", *words, "--store", store]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    with node(store, folder, "--db", "app") as running:
        yield running.url


@contextmanager
def a_sqld() -> Iterator[str]:
    """The URL of a sqld with an empty database."""
    program = binary()
    assert program is not None, "`missing` says so"
    with sqld(program) as (url, _):
        yield url


def answers(program: str, url: str, folder: Path, *words: str) -> Answers:
    """What a program was answered at a URL. `folder` is its own to write in."""
    folder.mkdir()
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    done = subprocess.run(
        [*command(program), url, *words],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{program} at {url}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    found: Answers = json.loads(done.stdout.splitlines()[-1])
    return found


def command(program: str) -> list[str]:
    """How a program is started. JavaScript is copied to where its packages are, which is how Node finds them."""
    if program.endswith(".mjs"):
        for path in (HERE / "js").glob("*.mjs"):
            shutil.copy(path, NODE / path.name)
        return ["node", "--no-warnings", str(NODE / program)]
    return [str(VENV / "bin" / "python"), str(HERE / "python" / program)]
