"""The component of the HTTP API, built once for each state of what goes into it, and kept in the user's cache folder.

`VIRKE_TEST_COMPONENT=/path/to/main.wasm` takes one that is there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from virke.config import cache_folder
from virke.edge.building.component import ENTRY, Sources, apsw_wheel, build_program, own_sources
from virke.edge.building.pythons import find_python
from virke.edge.building.tools import made_once, pinned_tools, tools_for
from virke.errors import UsageError
from virke.project.building import entry_text

VARIABLE: Final = "VIRKE_TEST_COMPONENT"
KEPT: Final = 6
"""Components of other states, of which the oldest go: a rebase goes back and forth."""
_OF_THE_EDGE: Final = ("virke/edge/guest/", "virke/edge/limits.py")
_NOT_THERE: Final = frozenset(
    "__main__ aio arrow asgi_server cli datasette dbapi django doctor journal node opening project pytest_plugin "
    "sqlalchemy".split()
)
"""Units that the guest can't import (tests/engine/test_edge_clean.py): a change there is no other component."""


def why_not() -> str | None:
    """In one line, what is missing for a component in a host; None if nothing is."""
    if find_spec("wasmtime") is None:
        return "the edge's host needs wasmtime: pip install 'virke[edge]'"
    if os.environ.get(VARIABLE):
        return None
    try:
        apsw_wheel()
        find_python()
    except UsageError as error:
        return error.message
    return None


def component(made: dict[str, bytes] | None = None) -> Path:
    """The program; `made` are other files than the API's entry. Built if it is not there. Raises `Unavailable`, `UsageError`."""
    if (given := os.environ.get(VARIABLE)) and made is None:
        return Path(given)
    files = made or {f"{ENTRY}.py": entry_text(None).encode()}
    base = cache_folder()
    assert base is not None, "set XDG_CACHE_HOME"
    folder = base / "test-components" / _digest(files)
    with made_once(folder) as new:
        if new is not None:
            new.mkdir()
            with tempfile.TemporaryDirectory(prefix="virke-build-") as work:
                build_program(Sources(made=files), new / "main.wasm", Path(work), tools_for(find_python(), print))
            _forget(folder.parent)
    os.utime(folder)
    return folder / "main.wasm"


def _digest(files: dict[str, bytes]) -> str:
    parts = [pinned_tools(), apsw_wheel().read_bytes(), repr(sorted(files.items())).encode()]
    for name, path in own_sources():
        unit = name.split("/")[1].removesuffix(".py")
        is_guests = name.startswith(_OF_THE_EDGE) if unit == "edge" else unit not in _NOT_THERE
        if is_guests:
            parts += [name.encode(), path.read_bytes()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:24]


def _forget(folder: Path) -> None:
    kept = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in kept[:-KEPT]:
        (path / "main.wasm").unlink(missing_ok=True)
        path.rmdir()
