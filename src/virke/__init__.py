"""Virke DB: SQLite whose truth lives in a store, committed by compare-and-swap.

The public names. They are loaded when first used, so that `import virke` costs next to nothing (budget B12).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from virke.aio import AsyncDatabase as AsyncDatabase
    from virke.engine.database import Database as Database
    from virke.engine.results import QueryResult as QueryResult
    from virke.errors import (
        Conflict as Conflict,
    )
    from virke.errors import (
        Corrupt as Corrupt,
    )
    from virke.errors import (
        Denied as Denied,
    )
    from virke.errors import (
        Exists as Exists,
    )
    from virke.errors import (
        Invalid as Invalid,
    )
    from virke.errors import (
        NotFound as NotFound,
    )
    from virke.errors import (
        OutcomeUnknown as OutcomeUnknown,
    )
    from virke.errors import (
        SqlError as SqlError,
    )
    from virke.errors import (
        TimedOut as TimedOut,
    )
    from virke.errors import (
        TooLarge as TooLarge,
    )
    from virke.errors import (
        Unavailable as Unavailable,
    )
    from virke.errors import (
        VirkeError as VirkeError,
    )
    from virke.opening import connect as connect
    from virke.opening import create as create
    from virke.opening import delete as delete
    from virke.opening import list_databases as list_databases

__version__: Final = "0.1.0"

_ERRORS: Final = (
    "Conflict Corrupt Denied Exists Invalid NotFound OutcomeUnknown SqlError TimedOut TooLarge Unavailable VirkeError"
).split()
_HOMES: Final = {
    "AsyncDatabase": "virke.aio",
    "Database": "virke.engine.database",
    "QueryResult": "virke.engine.results",
    "connect": "virke.opening",
    "create": "virke.opening",
    "delete": "virke.opening",
    "list_databases": "virke.opening",
    **dict.fromkeys(_ERRORS, "virke.errors"),
}


def __getattr__(name: str) -> object:
    """Load a public name from its home (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'virke' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
