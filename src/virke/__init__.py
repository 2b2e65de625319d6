"""Virke DB: SQLite whose truth lives in a store, committed by compare-and-swap.

The public names. They are loaded when first used, so that `import virke` costs next to nothing (budget B12).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from virke.aio import AsyncDatabase as AsyncDatabase
    from virke.aio import AsyncRows as AsyncRows
    from virke.aio import AsyncTransaction as AsyncTransaction
    from virke.arrow import fetch_arrow as fetch_arrow
    from virke.core.settings import Settings as Settings
    from virke.core.verifying import Damage as Damage
    from virke.engine.database import Database as Database
    from virke.engine.results import Collected as Collected
    from virke.engine.results import Diff as Diff
    from virke.engine.results import Flushed as Flushed
    from virke.engine.results import Meta as Meta
    from virke.engine.results import ObjectDiff as ObjectDiff
    from virke.engine.results import QueryResult as QueryResult
    from virke.engine.results import RejectedWrite as RejectedWrite
    from virke.engine.results import Restored as Restored
    from virke.engine.results import SchemaEntry as SchemaEntry
    from virke.engine.results import Status as Status
    from virke.engine.results import TableDiff as TableDiff
    from virke.engine.results import Upkept as Upkept
    from virke.engine.results import VersionEntry as VersionEntry
    from virke.engine.rows import Rows as Rows
    from virke.engine.sqlite import Aggregate as Aggregate
    from virke.engine.sqlite import Column as Column
    from virke.engine.sqlite import Description as Description
    from virke.engine.sqlite import Extensions as Extensions
    from virke.engine.terms import Cancel as Cancel
    from virke.engine.transaction import Transaction as Transaction
    from virke.engine.verifying import Verified as Verified
    from virke.errors import Conflict as Conflict
    from virke.errors import Corrupt as Corrupt
    from virke.errors import Denied as Denied
    from virke.errors import Exists as Exists
    from virke.errors import Invalid as Invalid
    from virke.errors import NotFound as NotFound
    from virke.errors import NotHere as NotHere
    from virke.errors import OutcomeUnknown as OutcomeUnknown
    from virke.errors import SqlError as SqlError
    from virke.errors import TimedOut as TimedOut
    from virke.errors import TooLarge as TooLarge
    from virke.errors import Unavailable as Unavailable
    from virke.errors import UsageError as UsageError
    from virke.errors import VirkeError as VirkeError
    from virke.opening import connect as connect
    from virke.opening import create as create
    from virke.opening import delete as delete
    from virke.opening import list_databases as list_databases

__version__: Final = "0.1.0"

_NAMES: Final = {
    "virke.aio": "AsyncDatabase AsyncRows AsyncTransaction",
    "virke.arrow": "fetch_arrow",
    "virke.core.settings": "Settings",
    "virke.core.verifying": "Damage",
    "virke.engine.database": "Database",
    "virke.engine.results": "Collected Diff Flushed Meta ObjectDiff QueryResult RejectedWrite Restored SchemaEntry Status TableDiff Upkept VersionEntry",
    "virke.engine.rows": "Rows",
    "virke.engine.sqlite": "Aggregate Column Description Extensions",
    "virke.engine.terms": "Cancel",
    "virke.engine.transaction": "Transaction",
    "virke.engine.verifying": "Verified",
    "virke.errors": "Conflict Corrupt Denied Exists Invalid NotFound NotHere OutcomeUnknown SqlError TimedOut TooLarge Unavailable UsageError VirkeError",
    "virke.opening": "connect create delete list_databases",
}
_HOMES: Final = {name: home for home, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load a public name from its home (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        where = ": PEP 249 is virke.dbapi" if name in ("apilevel", "paramstyle", "threadsafety") else ""
        raise AttributeError(f"module 'virke' has no attribute {name!r}{where}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
