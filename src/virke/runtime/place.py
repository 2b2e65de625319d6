"""What differs between the places that a program runs in: how databases are opened, where blocking calls run, who serves.

Knows no way to open one: the place sets itself (`use`), and `native` is the one for Python processes.

1. Whoever runs programs elsewhere calls `use` before the program is imported; without that, the first call that needs a
   place takes `native`, which is imported then.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.opening import Where

NATIVE: Final = "virke.runtime.native"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the databases of a program are, as it says; a place may have only one answer to that."""

    store: Where = None
    token: str | None = None
    create: bool = False


class Open(Protocol):
    """Opens a database by its name, or by None for the one that is configured. Raises as `virke.connect`."""

    def __call__(self, name: str | None, source: Source) -> Database:
        """The open database."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a place has. `threads` is where blocking calls of async programs run; `fire` serves an app."""

    open: Open
    threads: Callable[[], Executor]
    fire: Callable[[Callable[..., Any], str], None]
    """Serves the app; it is also given the module whose top level called it, "" if it was called in a function."""


_place: Place | None = None


def use_place(place: Place | None) -> None:
    """From now on programs run in this place; None: in the native one."""
    global _place
    _place = place


def current_place() -> Place:
    """The place that programs run in."""
    if _place is None:
        use_place(import_module(NATIVE).PLACE)
    assert _place is not None, "it was set"
    return _place
