"""Imports what the edge needs as if it were built there: without what that Python does not have. Run by itself.

Prints, as JSON, which module failed and why.

The Python of a WebAssembly component (CPython 3.14 for WASI) was asked what it lacks: each of `ABSENT` and `ATTRIBUTES`.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import sys
from importlib import import_module
from pkgutil import walk_packages
from typing import Final

ABSENT: Final = frozenset(
    """fcntl mmap ssl _ssl ctypes _ctypes resource readline termios pwd grp _hashlib bz2 lzma _bz2 _lzma
    isal urllib3 obstore valkey click rich uvicorn msgspec prometheus_client watchfiles httptools uvloop""".split()
)
ATTRIBUTES: Final = ((os, "register_at_fork"), (os, "getuid"), (os, "fork"), (concurrent.futures, "ThreadPoolExecutor"))
NEEDED: Final = ("core", "engine", "api", "migrations", "runtime")
"""Packages that must import whole."""
NATIVE: Final = ("runtime.native", "runtime.litestar")
"""But these: what opens databases on a machine; and Litestar, which is built on msgspec."""
NEEDED_TOO: Final = (
    "errors",
    "nearest",
    "scopes",
    "processes",
    "stores.base",
    "stores.memory",
    "stores.receipt",
    "stores.counted",
    "stores.bounded",
    "stores.composite",
    "stores.cached.blobs",
    "stores.fastly_kv.layout",
    "tokens.keeping",
    "tokens.record",
    "tokens.table",
    "edge.limits",
    "client",
    "client.database",
    "client.node",
)


class NotThere:
    """A finder that comes before all others, and finds that a module is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise for what the edge does not have; else let others look."""
        if name.split(".")[0] in ABSENT:
            raise ImportError(f"{name} is not there at the edge")


def block() -> None:
    """From now on this process has what the edge has."""
    for name in list(sys.modules):
        if name.split(".")[0] in ABSENT:
            del sys.modules[name]
    for holder, name in ATTRIBUTES:
        if name in vars(holder):
            delattr(holder, name)
    sys.meta_path.insert(0, NotThere())


def failures() -> dict[str, str]:
    """Why each module that the edge needs, and that can't be imported, can't."""
    import virke

    every = [found.name for found in walk_packages(virke.__path__, "virke.", onerror=lambda name: None)]
    native = [f"virke.{part}" for part in NATIVE]
    wanted = [f"virke.{part}" for part in (*NEEDED, *NEEDED_TOO)]
    failed = {name: "there is no such module" for name in wanted if name not in every}
    for name in every:
        if name in native:
            continue
        if name in wanted or name.startswith(tuple(f"virke.{part}." for part in NEEDED)):
            try:
                import_module(name)
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
    return failed


if __name__ == "__main__":
    block()
    print(json.dumps(failures()))
