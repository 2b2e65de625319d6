"""What an app needs: which lines pip gets, and what of the packages is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.building.pythons import stand_in
from virke.edge.building.dependencies import leave_native_out, packages_for, requirements_of
from virke.edge.building.pythons import Python
from virke.errors import Unavailable, UsageError

PYTHON = Python(Path("/a/python"), (3, 13, 0))
PIP = """while [ $# -gt 0 ]; do case $1 in --target) site=$2;; --requirement) file=$2;; esac; shift; done
mkdir -p "$site/flask" "$site/markupsafe"; cp "$file" "$site/asked.txt"; touch "$site/markupsafe/_speedups.cpython-313-x86_64-linux-gnu.so"
"""


def no_words(line: str) -> None:
    """Says nothing."""


def test_files_that_name_files_are_one_list_and_virke_is_not_in_it(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "flask>=3.1 # the framework\n-r more/base.txt\nvirke[runtime]>=0.1\nVirke\nvirke-extras\n\n# nothing\n"
        "jinja2==3.1.6 \\\n    --hash=sha256:aa\n-c limits.txt\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("click\n")

    assert requirements_of(tmp_path) == [
        "flask>=3.1",
        "click",
        "virke-extras",
        "jinja2==3.1.6       --hash=sha256:aa".replace("       ", "      "),
        f"-c {tmp_path / 'limits.txt'}",
    ]


def test_a_project_without_requirements_has_its_dependencies(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = ["flask", "virke[edge] @ file:///x"]\n'
    )

    assert requirements_of(tmp_path) == ["flask"]


def test_a_folder_with_neither_needs_nothing(tmp_path: Path) -> None:
    assert requirements_of(tmp_path) == []


@pytest.mark.parametrize("text", ['[project]\ndependencies = "flask"\n', "[project\n"])
def test_a_broken_pyproject_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        requirements_of(tmp_path)


def test_files_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r requirements.txt\n")

    with pytest.raises(UsageError, match="circle"):
        requirements_of(tmp_path)


def test_native_files_are_left_out_and_remembered_with_their_package(tmp_path: Path) -> None:
    (tmp_path / "fast").mkdir()
    for name in ("_core.cpython-313-x86_64-linux-gnu.so", "_core.py", "kept.cpython-314-wasm32-wasi.so"):
        (tmp_path / "fast" / name).touch()
    (tmp_path / "_alone.abi3.so").touch()
    (tmp_path / "fast_math-2.1.dist-info").mkdir()
    (tmp_path / "fast_math-2.1.dist-info" / "RECORD").write_text(
        "fast/_core.cpython-313-x86_64-linux-gnu.so,sha256=x,1\n"
    )

    assert leave_native_out(tmp_path) == {"_alone": "_alone.abi3.so", "fast._core": "fast_math 2.1"}
    assert sorted(path.name for path in (tmp_path / "fast").iterdir()) == [
        "_core.py",
        "kept.cpython-314-wasm32-wasi.so",
    ]


def test_packages_are_installed_once_for_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tools = stand_in(tmp_path, PYTHON, PIP)
    said: list[str] = []

    first = packages_for(["flask", "-c /limits.txt"], tools, said.append)
    again = packages_for(["flask", "-c /limits.txt"], tools, said.append)

    assert said == ["installing what the app needs: flask"]
    assert first == again
    assert first is not None
    assert (first.site / "asked.txt").read_text() == "flask\n-c /limits.txt\n"
    assert first.native == {"markupsafe._speedups": "markupsafe"}
    other = packages_for(["bottle"], tools, said.append)
    assert other is not None
    assert other.site != first.site
    assert packages_for(["-c /limits.txt"], tools, said.append) is None


def test_what_pip_says_is_in_the_error_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tools = stand_in(tmp_path, PYTHON, 'echo "no such package: flusk"; exit 1')

    with pytest.raises(Unavailable, match="no such package: flusk"):
        packages_for(["flusk"], tools, no_words)

    assert (
        sorted(path.name for path in (tmp_path / "virke/build").iterdir() if "packages" in path.name and path.is_dir())
        == []
    )
