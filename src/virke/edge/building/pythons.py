"""A Python that the build tool runs on: 3.12 or newer, of the PATH, of uv or of pyenv. Virke's own may be older.

Knows where Pythons are, and how to ask one what it is; installs none.

1. A Python that is chosen has run, and has said that it can make an environment.
2. Where there is none, the error says what was looked at and what each one lacks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

OLDEST: Final = (3, 12)
_NEWEST_MINOR: Final = 20
_ASK: Final = "import sys; print(*sys.version_info[:3]); import ensurepip, venv"
_ASK_S: Final = 20
HINT: Final = "uv python install 3.13, or pyenv install 3.13, brings one; Virke itself may stay where it is"


@dataclass(frozen=True, slots=True)
class Python:
    """A Python that can make environments."""

    path: Path
    version: tuple[int, ...]


def find_python(environ: Mapping[str, str] = os.environ) -> Python:
    """The first that is new enough: this one, those of the PATH, uv's, pyenv's.

    Raises:
        UsageError: there is none.
    """
    seen: dict[str, str] = {}
    for path in _candidate_paths(environ):
        if str(path) in seen:
            continue
        found = _ask_python(path)
        if isinstance(found, Python):
            return found
        seen[str(path)] = found
    looked = "; ".join(f"{path} {said}" for path, said in seen.items() if said) or "no Python at all"
    need = ".".join(map(str, OLDEST))
    raise UsageError(
        f"virke build needs Python {need} or newer next to this one, and there is none on the PATH, at uv or at pyenv: {looked}",
        hint=HINT,
    )


def _candidate_paths(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path(sys.executable)
    search = environ.get("PATH", "")
    names = [f"python3.{minor}" for minor in range(_NEWEST_MINOR, OLDEST[1] - 1, -1)]
    for name in (*names, "python3", "python"):
        for folder in filter(None, search.split(os.pathsep)):
            if found := shutil.which(name, path=folder):
                yield Path(found)
    if uv := shutil.which("uv", path=search):
        command = [uv, "python", "find", "--no-python-downloads", f">={OLDEST[0]}.{OLDEST[1]}"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if said:
            yield Path(said)
    root = environ.get("PYENV_ROOT") or os.path.join(environ.get("HOME", ""), ".pyenv")
    yield from sorted(Path(root).glob("versions/3.*/bin/python"), key=_version_in, reverse=True)


def _version_in(path: Path) -> tuple[int, ...]:
    """The version that a folder of pyenv's is named after."""
    return tuple(int(part) for part in path.parts[-3].split(".") if part.isdigit())


def _ask_python(path: Path) -> Python | str:
    """The Python, or why it is not one to build with; "" where there is nothing to say."""
    try:
        said = subprocess.run(
            [str(path), "-I", "-c", _ASK], capture_output=True, text=True, check=False, timeout=_ASK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not run"
    version = tuple(int(part) for part in said.stdout.split() if part.isdigit())
    if not version:
        return ""  # a shim of a version that is not there
    shown = ".".join(map(str, version))
    if version < OLDEST:
        return f"is {shown}"
    if said.returncode:
        return f"is {shown} without venv and ensurepip (Debian has them in python{version[0]}.{version[1]}-venv)"
    return Python(path, version)
