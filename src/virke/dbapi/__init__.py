"""PEP 249 for Virke's databases, with the habits of Python's `sqlite3` (docs/dbapi.md, decision 0026).

Knows the public names; the work is done in the files next to it.
"""

from __future__ import annotations

import sqlite3
from sqlite3 import PARSE_COLNAMES as PARSE_COLNAMES
from sqlite3 import PARSE_DECLTYPES as PARSE_DECLTYPES
from sqlite3 import Binary as Binary
from sqlite3 import Date as Date
from sqlite3 import DateFromTicks as DateFromTicks
from sqlite3 import PrepareProtocol as PrepareProtocol
from sqlite3 import Row as Row
from sqlite3 import Time as Time
from sqlite3 import TimeFromTicks as TimeFromTicks
from sqlite3 import Timestamp as Timestamp  # type: ignore[attr-defined]
from sqlite3 import TimestampFromTicks as TimestampFromTicks
from sqlite3 import adapters as adapters
from sqlite3 import complete_statement as complete_statement
from sqlite3 import converters as converters
from sqlite3 import register_adapter as register_adapter
from sqlite3 import register_converter as register_converter
from typing import Any, Final

from virke.dbapi.blob import Blob as Blob
from virke.dbapi.callbacks import enable_callback_tracebacks as enable_callback_tracebacks
from virke.dbapi.connection import Connection as Connection
from virke.dbapi.cursor import Cursor as Cursor
from virke.dbapi.errors import DatabaseError as DatabaseError
from virke.dbapi.errors import DataError as DataError
from virke.dbapi.errors import Error as Error
from virke.dbapi.errors import IntegrityError as IntegrityError
from virke.dbapi.errors import InterfaceError as InterfaceError
from virke.dbapi.errors import InternalError as InternalError
from virke.dbapi.errors import NotSupportedError as NotSupportedError
from virke.dbapi.errors import OperationalError as OperationalError
from virke.dbapi.errors import ProgrammingError as ProgrammingError
from virke.dbapi.errors import Warning as Warning
from virke.dbapi.session import LEGACY
from virke.engine.sqlite import SQLITE_VERSION
from virke.opening import Where

LEGACY_TRANSACTION_CONTROL: Final = LEGACY
apilevel: Final = "2.0"
threadsafety: Final = 1
paramstyle: Final = "qmark"
sqlite_version: Final = SQLITE_VERSION
sqlite_version_info: Final = tuple(int(part) for part in sqlite_version.split("."))
STRING, NUMBER, BINARY, DATETIME, ROWID = str, float, bytes, str, int


def connect(
    name: str, store: Where = None, token: str | None = None, *, factory: type[Connection] = Connection, **how: Any
) -> Connection:
    """Open a database of a store, or of a node by its URL; `:memory:` is a new one that no other connection sees.

    `create` makes it if it does not exist; `timeout` (5 s) is how long a transaction waits for others of this machine; `read_only`
    and `consistency` are those of `virke.connect` and `Database.query`; `isolation_level`, `detect_types`, `check_same_thread` and
    `autocommit` those of `sqlite3.connect`.

    Raises:
        OperationalError: there is no such database, or its store does not answer. ProgrammingError: the call is wrong.
    """
    return factory(name, store, token, **how)


def adapt(value: Any, protocol: Any = PrepareProtocol, /, *alternative: Any) -> Any:
    """What a registered adapter makes of a value. Raises `ProgrammingError`: there is none."""
    try:
        return sqlite3.adapt(value, protocol, *alternative)
    except sqlite3.ProgrammingError as error:
        raise ProgrammingError(str(error)) from error


def __getattr__(name: str) -> object:
    """SQLite's constants (`SQLITE_DENY`), as `sqlite3` has them."""
    if name.startswith("SQLITE_"):
        return getattr(sqlite3, name)
    raise AttributeError(f"module 'virke.dbapi' has no attribute {name!r}")
