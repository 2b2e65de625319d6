"""`virke init --hono`, `build` and `dev --edge`, with packages and the vendor's compiler from npm: the seed's program, word for word."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import start
from tests.clients.test_runtime import the_seeds_program
from tests.project.developing import alive, developing
from tests.project.documented import assert_printed, documented, typed
from tests.project.test_edge import DAVE, cache, missing

__all__ = ["cache"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.skipif(not shutil.which("npm"), reason="Node and npm are not on this machine"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]


def test_the_seeds_hono_program_runs_word_for_word(tmp_path: Path, cache: dict[str, str]) -> None:
    """Two services, as at Fastly: the program compiled by the vendor's compiler, and the database that it reaches as a backend.

    First the program that `init` writes, as README shows it; then that of the seed's text takes its place.
    """
    folder, npm = tmp_path / "my-app", {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    folder.mkdir()
    assert start("init", "--hono", folder=folder).returncode == 0
    build, serve = documented("README.md", "virke build")
    printed = typed(build.command, folder, **cache)
    assert_printed(
        build, printed[printed.index("compiling ") :]
    )  # before that npm installs, as `virke dev` did for the reader
    with developing(folder, "--edge", **cache, **npm) as dev:
        assert dev.wait_for("ready  ").startswith(f"ready  {dev.url}, its database http://127.0.0.1:")
        assert_printed(serve, "".join(dev.said))
        assert dev.ask("/users") == (200, [])
        assert dev.ask("/users", DAVE) == (201, {"created": 1})
        assert dev.ask("/users", DAVE)[0] == 400
        assert dev.ask("/users") == (200, [[1, "Dave", "dave@example.com"]])
        found = start("db", "query", "--csv", "SELECT name FROM users", folder=folder)
        assert found.stdout == "name\nDave\n"

        (folder / "src" / "index.ts").write_text(the_seeds_program())
        dev.wait_for("serves the new build")
        assert dev.ask("/users", {"name": "Eve", "email": "eve@example.com"}) == (200, {"created": 1})
        status, rows = dev.ask("/users")
        assert (status, [row[:3] for row in rows]) == (200, [[1, "Dave", DAVE["email"]], [2, "Eve", "eve@example.com"]])
        assert [len(row) for row in rows] == [4, 4]  # all columns: it is the seed's `SELECT *`

        family = dev.family()
        assert dev.end() == 0
        assert alive(family) == set()
