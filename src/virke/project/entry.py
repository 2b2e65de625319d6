"""What `virke dev` runs: the entry of an app, by what `virke.toml` says or what is in the folder.

Knows names of files; starts nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

USUAL: Final = ("src/index.ts", "index.ts", "app.py", "main.py")
"""Where an entry is looked for, in this order."""
NODE_SUFFIXES: Final = frozenset({".ts", ".tsx", ".mts", ".js", ".mjs", ".jsx"})
ATTRIBUTE: Final = "app"
_OBJECT: Final = re.compile(r"(\w+(?:\.\w+)*):(\w+(?:\.\w+)*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """An app's entry: for Python `module:attribute`, else the path of a file for Node, relative to the folder."""

    name: str
    is_python: bool


def is_any(folder: Path) -> bool:
    """Whether a folder has one of the usual entries."""
    return any((folder / path).is_file() for path in USUAL)


def entry_of(folder: Path, given: str | None) -> Entry:
    """The entry that `[app] entry` names, else the first of `USUAL`.

    Raises:
        UsageError: it is not there, or nothing is.
    """
    name = given or next((path for path in USUAL if (folder / path).is_file()), None)
    if name is None:
        raise UsageError(
            f"nothing to run in {folder}: there is no {', '.join(USUAL[:-1])} or {USUAL[-1]}",
            hint='begin with virke init, or say which: [app] entry = "app:app" in virke.toml',
        )
    if found := _OBJECT.fullmatch(name):
        _check_module(folder, found[1], name)
        return Entry(name, is_python=True)
    path = Path(name)
    if path.suffix not in NODE_SUFFIXES | {".py"}:
        raise UsageError(
            f"[app] entry {name!r} is neither a file of Python, TypeScript or JavaScript, nor an object of a module",
            hint='write it like "src/index.ts", "app.py" or "app:app"',
        )
    if not (folder / path).is_file():
        raise UsageError(f"[app] entry: there is no {name} in {folder}")
    if path.suffix != ".py":
        return Entry(name, is_python=False)
    if path.is_absolute() or not all(re.fullmatch(r"\w+", part) for part in path.with_suffix("").parts):
        raise UsageError(f"[app] entry {name!r} can't be imported: its path is not made of Python's names")
    return Entry(f"{'.'.join(path.with_suffix('').parts)}:{ATTRIBUTE}", is_python=True)


def _check_module(folder: Path, module: str, name: str) -> None:
    place = folder.joinpath(*module.split("."))
    if not place.with_name(f"{place.name}.py").is_file() and not place.is_dir():
        raise UsageError(f"[app] entry {name!r}: there is no module {module} in {folder}")
