"""A new project: the files of a template, written into a folder.

Knows the templates, which are package data: `templates/KIND/…`, each file with `.txt` behind its name (so that no tool
takes it for a file of Virke's) and `dot-` in place of a leading dot. What all kinds share is in `templates/common`.

1. Nothing of the user's is overwritten: if one of the files is there, that is an error, and nothing is written.
2. All files or none: if one can't be written, those before it are removed again.
3. A template names the project and its database by `{{project}}`, `{{database}}`, `{{package}}` (as npm has it), and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from virke.core.ids import NAME_BYTES_MAX
from virke.errors import Exists, UsageError

KINDS: Final = ("hono", "python", "fastapi", "edge")
BARE: Final = "bare"
"""`virke.toml` alone."""
RUNTIME: Final = "virke-runtime.tgz"
"""The packed `@virke/runtime`, which no registry has yet."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SUFFIX: Final = ".txt"


def project_name(folder: Path, given: str | None) -> str:
    """The name that was given, else one made of the folder's. Raises `UsageError`."""
    if given is None:
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip("-.")[: NAME_BYTES_MAX - len("-db")] or "my-app"
    if not _NAME.fullmatch(given) or len(database_of(given)) > NAME_BYTES_MAX:
        raise UsageError(
            f"invalid project name {given!r}: use letters, digits, '_', '-' and '.', "
            f"at most {NAME_BYTES_MAX - len('-db')} of them"
        )
    return given


def database_of(project: str) -> str:
    """What the database of a new project is called."""
    return f"{project}-db"


def kind_for(folder: Path) -> str:
    """The kind of project where none is asked for: a Python program, or in a folder with files only `virke.toml`."""
    has_files = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    return BARE if has_files else "python"


def write_project(folder: Path, kind: str, name: str) -> list[str]:
    """Write the files of a kind of project; their names, `virke.toml` first. The folder is made if it is not there.

    Raises:
        Exists: one of them is there. UsageError: they can't be written. After both nothing was written.
    """
    wanted = dict(sorted(_contents_of_kind(kind, name), key=lambda item: (item[0] != "virke.toml", item[0])))
    taken = [path for path in wanted if _is_taken(folder, path)]
    if taken:
        what = " and ".join(taken) if len(taken) < 3 else f"{', '.join(taken[:-1])} and {taken[-1]}"
        raise Exists(
            f"{folder}: {what} {'exist' if len(taken) > 1 else 'exists'} already; nothing was written",
            hint="name a new folder: virke init FOLDER",
        )
    with ExitStack() as undo:
        _make_folder(folder, undo)
        for path, content in wanted.items():
            _write_file(folder, path, content, undo)
        undo.pop_all()
    return list(wanted)


def _contents_of_kind(kind: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file of a kind."""
    if kind == BARE:
        yield from _fill_template(_template_folder() / "common" / f"virke.toml{_SUFFIX}", "virke.toml", name)
        return
    found = dict(_walk_templates(_template_folder() / "common", "", name))
    found |= dict(_walk_templates(_template_folder() / kind, "", name))
    yield from found.items()
    if kind == "hono":
        yield f"vendor/{RUNTIME}", (files("virke.project") / "vendor" / RUNTIME).read_bytes()


def _template_folder() -> Traversable:
    return files("virke.project") / "templates"


def _walk_templates(folder: Traversable, prefix: str, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        own = entry.name.removesuffix(_SUFFIX)
        path = prefix + (f".{own.removeprefix('dot-')}" if own.startswith("dot-") else own)
        if entry.is_dir():
            yield from _walk_templates(entry, f"{path}/", name)
        elif entry.name.endswith(_SUFFIX):
            yield from _fill_template(entry, path, name)


def _fill_template(entry: Traversable, path: str, name: str) -> Iterator[tuple[str, bytes]]:
    text = entry.read_text("utf-8")
    words = {"project": name, "database": database_of(name), "package": name.lower().lstrip("._-") or "app"}
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    yield path, text.encode()


def _is_taken(folder: Path, path: str) -> bool:
    """Whether something is there, or in the place of a folder on the way."""
    place = folder / path
    return place.is_symlink() or place.exists() or any(p.is_file() for p in place.parents if p != folder.parent)


def _make_folder(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it that are missing. Raises `UsageError`."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except OSError as error:
            raise UsageError(f"{path}: can't be made: {error.strerror}") from error
        undo.callback(path.rmdir)


def _write_file(folder: Path, path: str, content: bytes, undo: ExitStack) -> None:
    place = folder / path
    _make_folder(place.parent, undo)
    try:
        with place.open("xb") as file:
            undo.callback(place.unlink)
            file.write(content)
    except FileExistsError as error:
        raise Exists(f"{place} exists already; nothing was written") from error
    except OSError as error:
        raise UsageError(f"{place}: can't be written: {error.strerror}") from error
