"""The place of Python processes: embedded databases, or those of a node, as `virke.connect` finds them.

1. Nothing is opened before a request needs it, and nothing that was opened is used on the other side of a fork: a module
   that calls `virke()` may be imported before a server forks its workers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from virke.config import database_name, load_config
from virke.opening import connect
from virke.processes import at_fork
from virke.runtime.fire import serve_app
from virke.runtime.place import Place, Source

if TYPE_CHECKING:
    from virke.engine.database import Database

THREADS_MAX: Final = 32
PROGRAM: Final = "__main__"
_threads: ThreadPoolExecutor | None = None


def shared_threads() -> ThreadPoolExecutor:
    """The threads of this process in which async programs' calls run, for all databases together."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="virke-runtime")
    return _threads


def _forget_threads() -> None:
    """A child has none of its parent's threads."""
    global _threads
    _threads = None


at_fork(in_child=_forget_threads)


def open_database(name: str | None, source: Source) -> Database:
    """Open it, by the environment and the nearest `virke.toml` where the program does not say. Raises as `virke.connect`."""
    found = name or database_name(load_config(), None)
    return connect(found, source.store, token=source.token, create=source.create)


def fire(app: Callable[..., Any], module: str) -> None:
    """Serve the app; not from the top level of a module that a server imports: it serves the app itself."""
    if module in ("", PROGRAM):
        serve_app(app)


PLACE: Final = Place(open_database, shared_threads, fire)
