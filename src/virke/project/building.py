"""`virke build`: the program of a project as a component, `bin/main.wasm`, and the package that Fastly takes.

Knows a project's files and the order of the steps; how each step works is said in `virke.edge.building`.

1. What is built is found out of files alone: the same files are not built twice (`bin/.main.wasm.inputs` says what they were).
2. The configuration of a service is not in it, so that one package can be deployed anywhere. In it are the app, its pure-Python
   packages, and the seed.
3. The database's component is `bin/main.wasm` in every project; a JavaScript app is a second program, `bin/app.wasm`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from virke.config import Config
from virke.edge.building import checking, component, javascript, packing
from virke.edge.building.dependencies import packages_for, requirements_of
from virke.edge.building.pythons import find_python
from virke.edge.building.tools import pinned_tools, tools_for
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass
from virke.project.children import Children
from virke.project.entry import Entry, entry_of, is_any
from virke.project.init import database_of, project_name
from virke.project.javascript import check_node, install_packages

BIN: Final = Path("bin")
PKG: Final = Path("pkg")
PROGRAM: Final = "main.wasm"
PROGRAM_OF_APP: Final = "app.wasm"
_NOT_OF_THE_APP: Final = frozenset(
    {"node_modules", "venv", "__pycache__", "dist", "build", "bin", "pkg", "migrations", "vendor"}
)
FILE_BYTES_MAX: Final = 16 << 20
"""A larger file of the app's folder is left out: nothing of that size fits next to a database."""
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
    def program_of_app(self) -> Path:
        """The program of an app of JavaScript."""
        return self.folder / BIN / PROGRAM_OF_APP

    @property
    def package_of_app(self) -> Path:
        """What Fastly takes of that."""
        return self.folder / PKG / f"{self.name}-app.tar.gz"

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
    app: Built | None = None
    """What came of an app that is a program of its own."""


def plan_of(config: Config) -> Plan:
    """What a project builds. Raises `UsageError`: its entry is not there."""
    name = config.project or project_name(config.folder, None)
    entry = entry_of(config.folder, config.entry) if config.entry or is_any(config.folder) else None
    if entry is not None and entry.name.split(":")[0] == component.ENTRY:
        raise UsageError(f"the app can't be called {component.ENTRY}: that is the name of the component's entry")
    return Plan(config.folder, name, config.database or database_of(name), entry)


def build_changed(plan: Plan, say: Say) -> Built:
    """Build what changed.

    Raises:
        UsageError: something is missing here; it says what. Invalid: the app can't run there. Unavailable: a tool failed.
    """
    app = _build_of_javascript(plan, say) if plan.entry is not None and not plan.entry.is_python else None
    return replace(_build_component(plan, say), app=app)


def _build_component(plan: Plan, say: Say) -> Built:
    files, lines = list(app_files(plan)), requirements_of(plan.folder) if plan.app is not None else []
    made = {f"{component.ENTRY}.py": entry_text(plan.app).encode()}
    manifest = packing.manifest_of(plan.folder, plan.name, "python")
    own = (*files, *component.own_sources(), ("apsw", component.apsw_wheel()))
    stamp = _Stamp(plan.program, plan.package, own, {**made, "lines": "\n".join(lines).encode(), "manifest": manifest})
    if stamp.holds:
        return Built(plan.program, plan.package, is_new=False)
    tools = tools_for(find_python(), say)
    packages = packages_for(lines, tools, say)
    what = "the HTTP API" if plan.app is None else plan.app.name
    say(f"building {what} (some seconds)")
    site, native = (packages.site, packages.native) if packages else (None, {})
    sources = component.Sources(files, site, native, made)
    with stamp.renewed(), tempfile.TemporaryDirectory(prefix="virke-build-") as work:
        component.build_program(sources, plan.program, Path(work), tools)
        packing.pack_program(plan.package, plan.name, plan.program, manifest)
        checked = checking.check_package(plan.package, plan.folder)
    return Built(plan.program, plan.package, True, checked)


def _build_of_javascript(plan: Plan, say: Say) -> Built:
    assert plan.entry is not None, "it is what is built"
    check_node()
    with Children() as children:
        install_packages(plan.folder, children, say)
    program, package, name = plan.program_of_app, plan.package_of_app, f"{plan.name}-app"
    manifest = packing.manifest_of(plan.folder, name, "javascript")
    more = {"tools": javascript.tools_digest().encode(), "manifest": manifest, "entry": plan.entry.name.encode()}
    stamp = _Stamp(program, package, tuple(folder_files(plan.folder)), more)
    if stamp.holds:
        return Built(program, package, is_new=False)
    tools = javascript.tools_for(say)
    say(f"compiling {plan.entry.name} (some seconds)")
    with stamp.renewed(), tempfile.TemporaryDirectory(prefix="virke-build-") as work:
        javascript.compile_app(plan.folder / plan.entry.name, program, Path(work), tools)
        packing.pack_program(package, name, program, manifest)
        checked = checking.check_package(package, plan.folder)
    return Built(program, package, True, checked)


def entry_text(app: Entry | None) -> str:
    """The module that the component begins with."""
    lines = ['"""What this component begins with; made by `virke build`."""', ""]
    if app is not None:
        module, _, name = app.name.partition(":")
        lines += ["from virke.edge.guest import programs", "", f"programs.use({module!r}, {name!r})", ""]
    return "\n".join([*lines, "from virke.edge.guest.main import HttpIncoming as HttpIncoming", ""])


def app_files(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The files that come along with an app of Python: where each is seen, and where it is."""
    return iter(()) if plan.app is None else folder_files(plan.folder)


def folder_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of an app's folder: what is hidden, made or huge is not among them."""
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _NOT_OF_THE_APP and not name.startswith("."))
        for name in sorted(names):
            path = Path(top) / name
            if not name.startswith(".") and path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
                yield path.relative_to(folder).as_posix(), path


class _Stamp:
    """What a program was made of, written next to it (invariant 1)."""

    def __init__(
        self, program: Path, package: Path, files: tuple[tuple[str, Path], ...], more: Mapping[str, bytes]
    ) -> None:
        self._program = program
        self._package = package
        self._path = program.with_name(f".{program.name}.inputs")
        digest = hashlib.sha256(pinned_tools())
        for path, origin in files:
            digest.update(f"{path}\0{_sha256_of(origin)}\n".encode())
        for name, content in more.items():
            digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        self._inputs = digest.hexdigest()

    @property
    def holds(self) -> bool:
        """Whether the program that is there was made of these, and so was its package."""
        try:
            said = json.loads(self._path.read_text())
            return bool(self._package.is_file() and said == self._current_digests())
        except (OSError, ValueError):
            return False

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Write it after the block; while the block runs, and if it fails, it holds for nothing."""
        self._path.unlink(missing_ok=True)
        yield
        self._path.write_text(json.dumps(self._current_digests()) + "\n")

    def _current_digests(self) -> dict[str, str]:
        return {"inputs": self._inputs, "program": _sha256_of(self._program)}


def _sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
