"""`virke build`: the program of a project as a component, `bin/main.wasm`, and the package that Fastly takes.

Knows a project's files and the order of the steps; how each step works is said in `virke.edge.building`.

1. What is built is found out of files alone: the same files are not built twice (`bin/.built` says what they were).
2. The configuration of a service is not in it, so that one package can be deployed anywhere. In it are the app, its pure-Python
   packages, and the seed.
3. The database's component is `bin/main.wasm` in every project; a JavaScript app is a second program, `bin/app.wasm`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from virke.config import Config
from virke.edge.building import checking, component, packing
from virke.edge.building.dependencies import packages_for, requirements_of
from virke.edge.building.pythons import find_python
from virke.edge.building.tools import pins, tools_for
from virke.errors import UsageError
from virke.project.entry import Entry, entry_of, is_any
from virke.project.init import database_of, project_name

BIN: Final = Path("bin")
PKG: Final = Path("pkg")
PROGRAM: Final = "main.wasm"
_STAMP: Final = ".built"
_NOT_OF_THE_APP: Final = frozenset(
    {"node_modules", "venv", "__pycache__", "dist", "build", "bin", "pkg", "migrations", "vendor"}
)
FILE_BYTES_MAX: Final = 16 << 20
"""A larger file of the app's folder is left out: nothing of that size fits beside a database."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be built: an app (None: the HTTP API itself) of a folder, under a name."""

    folder: Path
    name: str
    database: str
    entry: Entry | None

    @property
    def program(self) -> Path:
        """The component."""
        return self.folder / BIN / PROGRAM

    @property
    def package(self) -> Path:
        """What Fastly takes."""
        return self.folder / PKG / f"{self.name}.tar.gz"

    @property
    def app(self) -> Entry | None:
        """The app that goes into the component; one of JavaScript does not."""
        return self.entry if self.entry is not None and self.entry.is_python else None


@dataclass(frozen=True, slots=True)
class Built:
    """What came of it; `is_new`: it was built now."""

    program: Path
    package: Path
    is_new: bool
    checked: str = ""
    """What the vendor's CLI said of the package, or why it was not asked."""


def plan_of(config: Config) -> Plan:
    """What a project builds. Raises `UsageError`: its entry is not there."""
    name = config.project or project_name(config.folder, None)
    entry = entry_of(config.folder, config.entry) if config.entry or is_any(config.folder) else None
    if entry is not None and entry.name.split(":")[0] == component.ENTRY:
        raise UsageError(f"the app can't be called {component.ENTRY}: that is the name of the component's entry")
    return Plan(config.folder, name, config.database or database_of(name), entry)


def build(plan: Plan, say: Say) -> Built:
    """Build what changed.

    Raises:
        UsageError: something is missing here; it says what. Invalid: the app can't run in a component. Unavailable: a tool failed.
    """
    files, lines = list(app_files(plan)), requirements_of(plan.folder) if plan.app is not None else []
    made = {f"{component.ENTRY}.py": entry_text(plan.app).encode()}
    manifest = packing.manifest_of(plan.folder, plan.name, "python")
    digest = _digest(files, lines, made, manifest)
    stamp = plan.folder / BIN / _STAMP
    if _is_built(plan, stamp, digest):
        return Built(plan.program, plan.package, is_new=False)
    tools = tools_for(find_python(), say)
    packages = packages_for(lines, tools, say)
    what = "the HTTP API" if plan.app is None else plan.app.name
    say(f"building {what} (some seconds)")
    site, native = (packages.site, packages.native) if packages else (None, {})
    sources = component.Sources(files, site, native, made)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="virke-build-") as work:
        component.build(sources, plan.program, Path(work), tools)
    packing.pack(plan.package, plan.name, plan.program, manifest)
    checked = checking.check(plan.package, plan.folder)
    stamp.write_text(json.dumps({"inputs": digest, "program": _sha256(plan.program)}) + "\n")
    return Built(plan.program, plan.package, True, checked)


def entry_text(app: Entry | None) -> str:
    """The module that the component begins with."""
    lines = [
        '"""What this component begins with; made by `virke build`."""',
        "",
        "from virke.edge.guest import main",
        "",
    ]
    if app is not None:
        lines += [f"main.build_in({app.name!r})"]
    return "\n".join([*lines, "HttpIncoming = main.HttpIncoming", ""])


def app_files(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The files of the app's folder that come along: where each is seen, and where it is."""
    if plan.app is None:
        return
    for top, folders, names in os.walk(plan.folder):
        folders[:] = sorted(name for name in folders if name not in _NOT_OF_THE_APP and not name.startswith("."))
        for name in sorted(names):
            path = Path(top) / name
            if not name.startswith(".") and path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
                yield path.relative_to(plan.folder).as_posix(), path


def _is_built(plan: Plan, stamp: Path, digest: str) -> bool:
    try:
        said = json.loads(stamp.read_text())
        return bool(plan.package.is_file() and said == {"inputs": digest, "program": _sha256(plan.program)})
    except (OSError, ValueError):
        return False


def _digest(files: list[tuple[str, Path]], lines: list[str], made: dict[str, bytes], manifest: bytes) -> str:
    found = hashlib.sha256(pins())
    for path, origin in (*files, *component.own_sources(), ("apsw", component.wheel())):
        found.update(f"{path}\0".encode() + hashlib.sha256(origin.read_bytes()).digest())
    for name, content in (*made.items(), ("lines", "\n".join(lines).encode()), ("manifest", manifest)):
        found.update(f"{name}\0".encode() + hashlib.sha256(content).digest())
    return found.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
