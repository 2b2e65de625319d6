"""The Containerfile: what it runs is what the command takes, as a user without rights, from the wheel alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
import venv
from pathlib import Path

import pytest

from virke.cli.serve import serve

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Containerfile").read_text()
WAIT_S = 300
NOT_OF_A_NODE = {"test", "checks", "dev", "runtime", "client", "sqlalchemy", "django", "datasette", "arrow", "edge"}
"""Extras for those who write programs, or Virke itself."""


def words(instruction: str) -> list[str]:
    """What the last instruction of this kind says, as a list or as words."""
    said = re.findall(rf"^{instruction} (.*)$", TEXT, re.MULTILINE)[-1]
    return list(json.loads(said[said.index("[") :])) if "[" in said else said.split()


def extras() -> list[str]:
    """The extras that the image has."""
    found = re.search(r"\.whl\)\[([\w,]+)\]", TEXT)
    assert found is not None
    return found[1].split(",")


def test_it_runs_a_command_that_there_is_as_a_user_without_rights() -> None:
    assert words("ENTRYPOINT") == ["virke"]
    command, *options = words("CMD")
    assert command == serve.name
    parsed = serve.make_context("serve", options)
    assert (parsed.params["host"], parsed.params["port"]) == ("0.0.0.0", int(words("EXPOSE")[0]))
    assert str(parsed.params["journal"]).startswith(words("VOLUME")[0])
    assert words("USER") != ["root"]
    assert int(words("USER")[0]) > 0


def test_it_has_the_extras_that_there_are() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras()) == known.keys() - NOT_OF_A_NODE


@pytest.mark.slow
def test_the_wheel_with_these_extras_is_a_node_that_is_healthy(tmp_path: Path) -> None:
    """The steps of the file, without an engine for containers."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path / "dist"), str(ROOT)], check=True, timeout=WAIT_S)
    [wheel] = (tmp_path / "dist").glob("virke-*.whl")
    venv.create(tmp_path / "user", with_pip=True)
    python = tmp_path / "user" / "bin" / "python"
    wanted = f"{wheel}[{','.join(extras())}]"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True, timeout=WAIT_S)
    command, *options = words("CMD")
    options = [{"0.0.0.0": "127.0.0.1"}.get(option, option) for option in options]
    options = [str(tmp_path / "journal") if "/journal" in option else option for option in options]
    node = subprocess.Popen(
        [tmp_path / "user" / "bin" / "virke", command, *options, "--port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stderr is not None
    try:
        url = node.stderr.readline().split()[-1]
        check = words("HEALTHCHECK")[-1].replace("http://127.0.0.1:8080", url)
        subprocess.run([python, "-c", check], check=True, timeout=WAIT_S)
        with urllib.request.urlopen(f"{url}/metrics", timeout=WAIT_S) as answer:
            assert b"virke_requests_total" in answer.read()
        node.terminate()
        assert node.wait(WAIT_S) == 0
    finally:
        if node.poll() is None:
            node.kill()
        node.wait()
        node.stderr.close()
