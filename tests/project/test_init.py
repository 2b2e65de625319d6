"""`virke init`: which files, and that nothing of the user's is ever overwritten."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Virke
from virke.errors import UsageError
from virke.project.init import KINDS, kind_for, write_project

ROOT = Path(__file__).resolve().parents[2]
SEED = '[project]\nname = "my-app"\n\n[database]\nname = "my-app-db"\n'
PROGRAMS = ("hono", "python", "fastapi")
"""The kinds with a program of their own, which runs anywhere."""


def files(folder: Path) -> list[str]:
    """All files of a project."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_names_itself_and_its_database(folder: Path, virke: Virke, kind: str) -> None:
    found = virke("init", f"--{kind}", "--name", "My-App", "--json")
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert (said["kind"], said["project"], said["database"]) == (kind, "My-App", "My-App-db")
    assert sorted(said["files"]) == files(folder)
    assert {"virke.toml", "migrations/001_create_users.sql", ".gitignore", "README.md"} <= {*files(folder)}
    assert ("Containerfile" in files(folder)) == (kind in PROGRAMS)
    for name in files(folder):
        if not name.endswith(".tgz"):
            assert "{{" not in (folder / name).read_text().replace("${{", "")
        if name.endswith(".py"):
            ast.parse((folder / name).read_text())
    toml = tomllib.loads((folder / "virke.toml").read_text())
    assert (toml["project"]["name"], toml["database"]["name"]) == ("My-App", "My-App-db")
    if kind not in PROGRAMS:
        assert "app" not in toml
        return
    module = toml["app"]["entry"].split(":")[0]
    assert (folder / module).exists() or (folder / f"{module}.py").exists()


def test_images_take_what_there_is(tmp_path: Path) -> None:
    """The extras that a Containerfile names exist, and what it copies and runs is in the project, or built as its README says."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for kind in PROGRAMS:
        folder = tmp_path / kind
        write_project(folder, kind, "my-app")
        text = (folder / "Containerfile").read_text()
        for extras in re.findall(r"\.whl\)\[([\w,]+)\]", text):
            assert {*extras.split(",")} <= known.keys()
        assert json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])[-1] in files(folder)
        for copied in re.findall(r"^COPY (\S+)", text, re.MULTILINE):
            is_built = copied.startswith("dist/") and "--wheel-dir dist" in (folder / "README.md").read_text()
            assert is_built or list(folder.glob(copied) if copied != "." else [folder]), copied


def test_without_an_option_it_is_the_python_program(folder: Path, virke: Virke) -> None:
    found = virke("init", "--name", "my-app")
    assert found.stdout.splitlines()[0] == "wrote virke.toml: project my-app, database my-app-db"
    assert found.stderr == "next: virke dev\n"
    assert 'entry = "app:app"' in (folder / "virke.toml").read_text()


def test_among_files_of_the_users_it_is_virke_toml_alone(folder: Path, virke: Virke) -> None:
    """Hidden ones aside: a new repository is an empty folder."""
    (folder / ".git").mkdir()
    assert kind_for(folder) == "python"
    (folder / "main.py").write_text("print()\n")
    found = virke("init", "--name", "my-app")
    assert found.stdout == "wrote virke.toml: project my-app, database my-app-db\n"
    assert files(folder) == ["main.py", "virke.toml"]
    assert (folder / "virke.toml").read_text() == SEED


def test_a_folder_can_be_named_and_is_made(folder: Path, virke: Virke) -> None:
    found = virke("init", "some/new", "--python")
    assert found.stdout.splitlines()[0] == "wrote some/new/virke.toml: project new, database new-db"
    assert found.stderr == "next: cd some/new && virke dev\n"
    assert (folder / "some" / "new" / "app.py").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", ["virke.toml", ".gitignore", "migrations/001_create_users.sql", "migrations"])
def test_what_is_there_is_named_and_nothing_is_written(folder: Path, virke: Virke, kind: str, taken: str) -> None:
    """Whether it is a file, a link that leads nowhere, or a file in the place of a folder."""
    place = folder / taken
    place.parent.mkdir(exist_ok=True)
    if taken == ".gitignore":
        place.symlink_to("nowhere")
    else:
        place.write_text("mine\n")
    found = virke("init", f"--{kind}")
    assert (found.exit_code, found.stdout) == (1, "")
    assert taken in found.stderr
    assert "nothing was written" in found.stderr
    assert [path.name for path in folder.rglob("*") if path.name != "migrations" or taken == "migrations"] == [
        place.name
    ]


def test_several_that_are_there_are_all_named(folder: Path, virke: Virke) -> None:
    for name in ("app.py", "virke.toml", "README.md"):
        (folder / name).write_text("")
    found = virke("init", "--python")
    assert "virke.toml, README.md and app.py exist already" in found.stderr


def test_what_was_written_before_an_error_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def fails(self: Path, *args: Any, **options: Any) -> object:
        if self.name == "app.py":
            raise OSError(28, "No space left on device")
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(UsageError, match=r"app\.py: can't be written: No space left"):
        write_project(folder / "new" / "app", "python", "x")
    assert list(folder.iterdir()) == []


def test_wrong_words_are_usage_errors(folder: Path, virke: Virke) -> None:
    for args in (("--hono", "--python"), ("--name", "a/b"), ("--name", "x" * 127), ("--name", "")):
        assert virke("init", *args).exit_code == 2, args
    assert list(folder.iterdir()) == []
