"""SQLite itself: connections, the guard that keeps SQL inside its database, and error translation.

The only package that imports apsw. Knows SQL statements and limits; knows nothing of pages, snapshots or stores.
Callers import from here; its files (`guard`, `opening`, `statement`, `parameters`, `translation`, `pragmas`) are rooms.
"""

from virke.engine.sqlite.guard import NO_DEADLINE, PROGRESS_STEPS, RESERVED_PREFIX, Guard, is_reserved
from virke.engine.sqlite.opening import (
    SQLITE_VERSION,
    VFS,
    Connection,
    Cursor,
    forget,
    limit_values,
    open_connection,
    total_changes,
)
from virke.engine.sqlite.parameters import Parameter, Parameters, Row, Value, check_parameters, check_value
from virke.engine.sqlite.pragmas import ALLOWED, DENIED_FUNCTIONS, MODES, QUIET, READ_ONLY, WITH_ARGUMENT
from virke.engine.sqlite.statement import ALONE, Statement, check_text, describe, keyword, split
from virke.engine.sqlite.translation import Error, ReadOnlyError, translate

__all__ = [
    "ALLOWED",
    "ALONE",
    "DENIED_FUNCTIONS",
    "MODES",
    "NO_DEADLINE",
    "PROGRESS_STEPS",
    "QUIET",
    "READ_ONLY",
    "RESERVED_PREFIX",
    "SQLITE_VERSION",
    "VFS",
    "WITH_ARGUMENT",
    "Connection",
    "Cursor",
    "Error",
    "Guard",
    "Parameter",
    "Parameters",
    "ReadOnlyError",
    "Row",
    "Statement",
    "Value",
    "check_parameters",
    "check_text",
    "check_value",
    "describe",
    "forget",
    "is_reserved",
    "keyword",
    "limit_values",
    "open_connection",
    "split",
    "total_changes",
    "translate",
]
