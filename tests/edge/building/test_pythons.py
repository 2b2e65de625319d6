"""Which Python the build tool runs on, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.edge.building.pythons import script
from virke.edge.building.pythons import OLDEST, find_python
from virke.errors import UsageError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without Pythons; the one that runs the tests counts as old."""
    old = script(tmp_path / "own" / "python", "echo 3 11 7")
    monkeypatch.setattr(sys, "executable", str(old))
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")}


def test_the_first_that_is_new_enough_and_can_make_environments_is_taken(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    script(tmp_path / "bin" / "python3.14", "echo 3 14 0; exit 1")  # as Debian's, without python3.14-venv
    script(tmp_path / "bin" / "python3.13", "echo 3 13 2")
    script(tmp_path / "bin" / "python3", "echo 3 12 1")

    found = find_python(nowhere)

    assert (found.path.name, found.version) == ("python3.13", (3, 13, 2))


def test_one_that_uv_knows_is_found(tmp_path: Path, nowhere: dict[str, str]) -> None:
    managed = script(tmp_path / "uv" / "python3.12", "echo 3 12 9")
    script(tmp_path / "bin" / "uv", f'[ "$1 $2" = "python find" ] && echo {managed}')

    assert find_python(nowhere).path == managed


def test_the_newest_of_pyenv_is_found(tmp_path: Path, nowhere: dict[str, str]) -> None:
    for version in ("3.9.18", "3.12.1", "3.13.0"):
        script(tmp_path / "home/.pyenv/versions" / version / "bin/python", f"echo {version.replace('.', ' ')}")

    assert find_python(nowhere).version == (3, 13, 0)


def test_where_there_is_none_the_error_says_what_each_lacks(tmp_path: Path, nowhere: dict[str, str]) -> None:
    script(tmp_path / "bin" / "python3.13", "echo 3 13 2; exit 1")
    script(tmp_path / "bin" / "python3", "echo 3 11 2")
    script(tmp_path / "bin" / "python", "echo pyenv: no such version >&2; exit 127")  # a shim: nothing to say of it

    with pytest.raises(UsageError) as caught:
        find_python(nowhere)

    message = caught.value.message
    assert "needs Python 3.12 or newer" in message
    assert (
        f"{tmp_path}/bin/python3.13 is 3.13.2 without venv and ensurepip (Debian has them in python3.13-venv)"
        in message
    )
    assert f"{tmp_path}/bin/python3 is 3.11.2" in message
    assert f"{tmp_path}/bin/python " not in message
    assert "uv python install" in str(caught.value.context["hint"])


def test_the_oldest_is_what_the_tool_asks_for() -> None:
    assert OLDEST == (3, 12)
