"""`virke init --hono && virke dev` from an empty folder, with packages from npm: requests, edits, a crash, the end, a deployment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import start
from tests.project.developing import alive, developing
from tests.servers.node import node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.skipif(not shutil.which("npm"), reason="Node and npm are not on this machine"),
]
NPM = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
"""Where npm's own settings and cache are."""
DAVE = {"name": "Dave", "email": "dave@example.com"}


def test_from_an_empty_folder_to_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "my-app"
    folder.mkdir()
    assert start("init", "--hono", folder=folder).returncode == 0
    with developing(folder, **NPM) as dev:
        dev.wait_for("npm install (there is no node_modules yet)")
        dev.wait_for("applied 001_create_users.sql")
        dev.wait_for("database  http://127.0.0.1:")
        dev.wait_until_it_listens()
        assert dev.ask("/users") == (200, [])
        assert dev.ask("/users", DAVE) == (201, {"created": 1})
        assert dev.wait_for("INSERT INTO users (name, email) VALUES (?, ?)").rstrip().endswith(" bytes up)")
        assert dev.ask("/users", DAVE)[0] == 400
        assert dev.ask("/users") == (200, [[1, "Dave", "dave@example.com"]])

        (folder / "migrations" / "002_posts.sql").write_text("CREATE TABLE posts (id INTEGER PRIMARY KEY);\n")
        dev.wait_for("applied 002_posts.sql")

        program = (folder / "src" / "index.ts").read_text()
        (folder / "src" / "index.ts").write_text(program + 'throw new Error("an error of mine");\n')
        dev.wait_for("Error: an error of mine")
        dev.wait_for("Node.js v")  # its last words
        (folder / "src" / "index.ts").write_text(program.replace("ORDER BY id", "ORDER BY id LIMIT 0"))
        dev.wait_for("listening on ")
        assert dev.ask("/users") == (200, [])

        family = dev.family()
        assert len(family) >= 4
        assert dev.end() == 0
        assert alive(family) == set()

    checked = subprocess.run(["npm", "run", "check"], cwd=folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with node(f"local:{tmp_path / 'store'}", tmp_path) as running:
        first, again = (start("deploy", "--store", running.url, folder=folder) for _ in range(2))
        assert first.stdout.splitlines()[:3] == [
            "created my-app-db",
            "applied 001_create_users.sql",
            "applied 002_posts.sql",
        ]
        assert again.stdout.startswith(f"nothing to do: my-app-db at {running.url} is up to date")
