"""The vendor's build tool, in an environment of its own in the user's cache: installed once, by hashes.

Knows how an environment is made and where it is; knows nothing of what is built.

1. Nothing is ever installed into an environment of the user's.
2. What is there is whole: it is made under another name, and gets its own when it is finished. One process makes it at a time.
3. Its name has what it is made of: other pins, or another Python, are another environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from virke.config import cache_folder
from virke.edge.building.pythons import Python
from virke.errors import Unavailable, UsageError
from virke.lazy_dataclasses import dataclass
from virke.processes import holding_lock

_BIN: Final = "Scripts" if os.name == "nt" else "bin"
_SUFFIX: Final = ".exe" if os.name == "nt" else ""
_WORDS_MAX: Final = 2000
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """An environment with the build tool; `digest` names what it is made of."""

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / _BIN / f"python{_SUFFIX}"

    def pip(self, *words: str) -> None:
        """Run its pip. Raises `Unavailable` with what it said."""
        run_command([str(self.python), "-P", "-m", "pip", "--disable-pip-version-check", *words], "pip")


def build_folder() -> Path:
    """Where what builds need is kept. Raises `UsageError`: no home folder is known."""
    folder = cache_folder()
    if folder is None:
        raise UsageError("no home folder is known, for what builds need: set XDG_CACHE_HOME")
    return folder / "build"


def pinned_tools() -> bytes:
    """The build tool and its hashes, as pip reads them."""
    return (files("virke.edge.building") / "tools.lock").read_bytes()


def tools_of(python: Python) -> Tools:
    """Where the environment for this Python is, or will be (invariant 3)."""
    digest = hashlib.sha256(repr((python.version, str(python.path))).encode() + pinned_tools()).hexdigest()[:16]
    return Tools(build_folder() / f"tools-{digest}", digest)


def tools_for(python: Python, say: Say) -> Tools:
    """The environment for this Python, made if it is missing.

    Raises:
        Unavailable: pip could not install the tool.
    """
    tools = tools_of(python)
    with made_once(tools.folder) as made:
        if made is not None:
            say(f"installing the build tool, once ({python.path}, Python {'.'.join(map(str, python.version))})")
            run_command([str(python.path), "-I", "-m", "venv", "--clear", str(made)], "venv")
            lock = made / "tools.lock"
            lock.write_bytes(pinned_tools())
            Tools(made, tools.digest).pip(
                "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", str(lock)
            )
    return tools


@contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """A folder to fill, which is `folder` after the block; None if that is there already (invariant 2)."""
    if folder.is_dir():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as file, holding_lock(file.fileno()):
        if folder.is_dir():
            yield None
            return
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        try:
            yield new
            new.rename(folder)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def run_command(command: list[str], what: str, *, folder: Path | None = None) -> str:
    """Run a command to its end; what it said. Raises `Unavailable`: it failed."""
    code, said = finish_command(command, folder)
    if code:
        raise failure_of(what, code, said)
    return said


def finish_command(command: list[str], folder: Path | None) -> tuple[int, str]:
    """Run a command to its end; its exit code, and all that it said."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )  # fmt: skip
    return done.returncode, done.stdout


def failure_of(what: str, code: int, said: str) -> Unavailable:
    """The error of a command that failed, with the end of what it said."""
    return Unavailable(f"{what} failed: {said.strip()[-_WORDS_MAX:] or f'exit code {code}'}")
