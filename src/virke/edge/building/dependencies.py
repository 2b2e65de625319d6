"""What an app needs besides Virke: the packages of its requirements, as far as they are pure Python.

Knows requirements and what pip installs; knows nothing of components.

1. They are installed into a folder of their own in the user's cache, never next to the user's, and once for the same requirements.
2. Native files are left out, for they are of this machine. Which they were is remembered, by module: a package that has a way
   without them works, and where one does not, the error says which module of which package it was.
3. `virke` comes along by itself: a line that asks for it is passed over.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from virke.edge.building.tools import Say, Tools, build_folder, made_once
from virke.errors import Unavailable, UsageError
from virke.lazy_dataclasses import dataclass

REQUIREMENTS: Final = "requirements.txt"
PYPROJECT: Final = "pyproject.toml"
_NATIVE: Final = (".so", ".pyd", ".dylib", ".dll")
_FOR_WASI: Final = "wasm32-wasi.so"
_NAMES_VIRKE: Final = re.compile(r"virke(?:\[[^\]]*\])?\s*(?:$|[<>=!~;@#])", re.IGNORECASE)
_OTHER_FILE: Final = re.compile(r"(?:-r|--requirement)[ =]\s*(\S+)")
_CONSTRAINTS: Final = re.compile(r"(?:-c|--constraint)[ =]\s*(\S+)")
_DEPTH_MAX: Final = 10
_LEFT_OUT: Final = "left-out.json"


@dataclass(frozen=True, slots=True)
class Packages:
    """What was installed: the folder to import from, and native modules that were left out, each with its package."""

    site: Path
    native: dict[str, str]


def requirements_of(folder: Path) -> list[str]:
    """The lines that pip gets: of `requirements.txt`, else of `[project] dependencies` in `pyproject.toml`.

    Raises:
        UsageError: a file can't be read.
    """
    if (folder / REQUIREMENTS).is_file():
        lines = list(_requirement_lines(folder / REQUIREMENTS))
    elif (folder / PYPROJECT).is_file():
        lines = _of_pyproject(folder / PYPROJECT)
    else:
        return []
    return [line for line in lines if not _NAMES_VIRKE.match(line)]


def packages_for(lines: list[str], tools: Tools, say: Say) -> Packages | None:
    """The packages of these lines, installed if they are not yet; None for no lines.

    Raises:
        Unavailable: pip could not install them.
    """
    if all(line.startswith("-") for line in lines):
        return None
    text = "\n".join(lines) + "\n"
    digest = hashlib.sha256(f"{tools.digest}\0{text}".encode()).hexdigest()[:16]
    folder = build_folder() / f"packages-{digest}"
    with made_once(folder) as made:
        if made is not None:
            say(f"installing what the app needs: {', '.join(line for line in lines if not line.startswith('-'))}")
            _install_packages(made, text, tools)
    native = json.loads((folder / _LEFT_OUT).read_text())
    assert isinstance(native, dict), "it was written here"
    return Packages(folder / "site", native)


def _install_packages(made: Path, text: str, tools: Tools) -> None:
    made.mkdir()
    wanted, site = made / REQUIREMENTS, made / "site"
    wanted.write_text(text)
    try:
        tools.pip("install", "--quiet", "--no-compile", "--target", str(site), "--requirement", str(wanted))
    except Unavailable as error:
        raise Unavailable(
            f"the app's packages can't be installed: {error.message}",
            hint="they are those of requirements.txt, else of [project] dependencies in pyproject.toml",
        ) from error
    site.mkdir(exist_ok=True)
    (made / _LEFT_OUT).write_text(json.dumps(leave_native_out(site)))


def leave_native_out(site: Path) -> dict[str, str]:
    """Remove what is native from an installed folder; its modules, each with the package that it is of."""
    owners = _owners_of_files(site)
    found = {}
    for path in sorted(site.rglob("*")):
        if path.suffix in _NATIVE and path.is_file() and not path.name.endswith(_FOR_WASI):
            relative = path.relative_to(site)
            module = ".".join((*relative.parent.parts, path.name.split(".")[0]))
            found[module] = owners.get(relative.as_posix(), relative.parts[0])
            path.unlink()
    return found


def _owners_of_files(site: Path) -> dict[str, str]:
    """Each installed file's package and its version."""
    owners = {}
    for record in site.glob("*.dist-info/RECORD"):
        package = record.parent.name.removesuffix(".dist-info").replace("-", " ")
        with record.open(newline="", encoding="utf-8") as file:
            owners.update({row[0]: package for row in csv.reader(file) if row})
    return owners


def _requirement_lines(path: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file and of those that it names, continued lines in one."""
    if depth > _DEPTH_MAX:
        raise UsageError(f"{path}: files of requirements name each other in a circle")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read: {error}") from error
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        stripped = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if other := _OTHER_FILE.match(stripped):
            yield from _requirement_lines(path.parent / other[1], depth + 1)
        elif limits := _CONSTRAINTS.match(stripped):
            yield f"-c {(path.parent / limits[1]).absolute()}"
        elif stripped:
            yield stripped


def _of_pyproject(path: Path) -> list[str]:
    try:
        project = tomllib.loads(path.read_text("utf-8")).get("project", {})
        found = project.get("dependencies", []) if isinstance(project, dict) else []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: can't be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise UsageError(f"{path}: [project] dependencies must be a list of texts")
    return found
