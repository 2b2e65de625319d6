"""A component of Python sources: gathered into a folder, and given to the vendor's build tool.

Knows what is where for the tool, and what its errors mean; knows nothing of projects.

1. Only what is gathered is on the tool's search path: nothing of the user's environment gets in, and nothing of Virke's that
   belongs to machines only is needed.
2. A program that is there is whole: it is written next to its place, and moved there.
3. An error of the app's own code is shown as Python does, with the paths that the user knows.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from dataclasses import field
from importlib.resources import files
from pathlib import Path
from typing import Final

import virke
from virke.edge.building.tools import Tools, failure_of, finish_command
from virke.errors import Invalid, Unavailable, UsageError
from virke.lazy_dataclasses import dataclass

ENTRY: Final = "virke_component"
"""The module that the tool imports; an app has none of this name."""
SITE: Final = "site"
_APSW: Final = "virke_edge-*.whl"
_ABSENT: Final = frozenset(
    "_bz2 _ctypes _curses _dbm _hashlib _lzma _multiprocessing _posixsubprocess _ssl _tkinter _zstd bz2 ctypes curses fcntl "
    "grp lzma mmap multiprocessing pwd readline resource ssl syslog termios tkinter zstd".split()
)
"""What Python has on a machine and not in a component."""
_TRACEBACK: Final = re.compile(r"Build failed: (.*)", re.DOTALL)
_MISSING: Final = re.compile(
    r"(?:No module named '([\w.]+)'|cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)')"
)
_MOUNT: Final = re.compile(r'File "/\d+/')


@dataclass(frozen=True, slots=True)
class Sources:
    """What a component is made of."""

    app: list[tuple[str, Path]] = field(default_factory=list)
    """The app's files: where each is seen, and where it is."""
    packages: Path | None = None
    native: dict[str, str] = field(default_factory=dict)
    """Native modules that were left out, and whose they are."""
    made: dict[str, bytes] = field(default_factory=dict)
    """Files made by the build, the entry among them."""


def apsw_wheel() -> Path:
    """The wheel with apsw for WebAssembly. Raises `UsageError`: this installation has none."""
    folder = Path(str(files("virke.edge") / "vendor"))
    found = sorted(folder.glob(_APSW))
    if not found:
        raise UsageError(
            f"this installation has no apsw for WebAssembly: there is no {_APSW} in {folder}",
            hint="a wheel of Virke has it; in a checkout, make wasi makes it",
        )
    return found[-1]


def own_sources() -> list[tuple[str, Path]]:
    """Virke's own files: where each is seen, and where it is."""
    top = Path(virke.__file__).parent
    return [(f"virke/{path.relative_to(top).as_posix()}", path) for path in sorted(top.rglob("*.py"))]


def build_program(sources: Sources, program: Path, work: Path, tools: Tools) -> None:
    """Make the program of these sources, in an empty folder `work`.

    Raises:
        Invalid: the app can't be imported there. Unavailable: the tool failed.
    """
    site = work / SITE / "lib" / "python3.12" / "site-packages"  # as the tool looks for them, whatever runs it
    site.mkdir(parents=True)
    if sources.packages is not None:
        shutil.copytree(sources.packages, site, dirs_exist_ok=True)
    with zipfile.ZipFile(apsw_wheel()) as apsw:
        apsw.extractall(site)
    top = work / "app"
    for path, origin in sources.app:
        _make_parent(top / path).write_bytes(origin.read_bytes())
    for path, origin in own_sources():
        _make_parent(top / path).write_bytes(origin.read_bytes())
    for path, content in sources.made.items():
        _make_parent(top / path).write_bytes(content)
    made = work / "main.wasm"
    words = ["--entry", ENTRY, "--output", str(made), "--virtualenv", str(work / SITE)]
    command = [str(tools.python), "-P", "-m", "fastly_compute.fastly_compute_py", "build", *words]
    code, said = finish_command(command, top)
    if code:
        raise _explained_error(code, said, sources.native)
    program.parent.mkdir(parents=True, exist_ok=True)
    new = program.with_name(f".{program.name}.new")
    shutil.copyfile(made, new)
    os.replace(new, program)


def _make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _explained_error(code: int, said: str, native: dict[str, str]) -> Unavailable | Invalid:
    """What the tool's words mean (invariant 3)."""
    failed = _TRACEBACK.search(said)
    if failed is None:
        return failure_of("the build tool", code, said)
    shown = _MOUNT.sub('File "', failed[1].strip())
    last = shown.splitlines()[-1]
    missing = _MISSING.search(last)
    names = () if missing is None else (missing[1],) if missing[1] else (f"{missing[3]}.{missing[2]}", missing[3])
    for name in filter(None, names):
        if name in native:
            return Invalid(
                f"{name} is a native module, of {native[name]}, and can't come along: a component has pure Python alone",
                hint="use a package that works without it, or leave it out of what runs at the edge",
                traceback=shown,
            )
        if name.split(".")[0] in _ABSENT:
            return Invalid(
                f"a component's Python has no {name}: {last}",
                hint='what needs it must not be imported there (it is after `if sys.platform == "wasi"`)',
                traceback=shown,
            )
    words = f"the app can't be imported in the component: {last}"
    if missing is None or not missing[1]:
        return Invalid(words, traceback=shown)
    hint = f"the app's folder and the packages of requirements.txt (else of pyproject.toml) come along, and {missing[1]} is in neither"
    return Invalid(words, hint=hint, traceback=shown)
