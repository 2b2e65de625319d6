"""SQLite itself: connections, the guard that keeps SQL inside its database, and error translation.

The only package that imports apsw. Knows SQL statements and limits; knows nothing of pages, snapshots or stores.
Callers import from here; its files (`guard`, `opening`, `statement`, `parameters`, `translation`, `pragmas`,
`scoped`, `raw_text`) are rooms.
"""

from virke.engine.sqlite.care import (
    CAPPED,
    CAPPED_VALUE_BYTES,
    CAREFUL_STEPS,
    HOT_COLUMNS,
    HOT_VALUE_BYTES,
    careful,
    limit_caches,
    memory_used,
)
from virke.engine.sqlite.columns import ColumnChange, column_change, definition_of, with_definition
from virke.engine.sqlite.extending import Aggregate, Extensions, OnConnect, SqlFunction, SqlValue, count_per_request
from virke.engine.sqlite.guard import (
    NO_DEADLINE,
    PROGRESS_STEPS,
    WORK_BYTES,
    Guard,
    interrupt_overdue,
    is_reserved,
)
from virke.engine.sqlite.linear import install_linear
from virke.engine.sqlite.opening import (
    SQLITE_VERSION,
    VFS,
    Connection,
    Cursor,
    forget,
    has_broken_keys,
    limit_text,
    limit_values,
    open_connection,
    total_changes,
    without_triggers,
)
from virke.engine.sqlite.parameters import (
    PLAIN_TYPES,
    Parameter,
    Parameters,
    Plain,
    Row,
    Value,
    check_parameters,
    check_value,
    plain,
)
from virke.engine.sqlite.pragmas import ALLOWED, ANSWERING, DENIED_FUNCTIONS, MODES, QUIET, READ_ONLY, WITH_ARGUMENT
from virke.engine.sqlite.randomness import draw_random_from
from virke.engine.sqlite.raw_text import EscapedRows, can_be_spelled_out, execute
from virke.engine.sqlite.scoped import RESERVED_PREFIX, why_not
from virke.engine.sqlite.statement import ALONE, Column, Description, Statement, check_text, describe, keyword, split
from virke.engine.sqlite.translation import FAILURES, MEMORY_ERRORS, Error, ReadOnlyError, TooBigError, translate

__all__ = [
    "ALLOWED",
    "ALONE",
    "ANSWERING",
    "CAPPED",
    "CAPPED_VALUE_BYTES",
    "CAREFUL_STEPS",
    "DENIED_FUNCTIONS",
    "FAILURES",
    "HOT_COLUMNS",
    "HOT_VALUE_BYTES",
    "MEMORY_ERRORS",
    "MODES",
    "NO_DEADLINE",
    "PLAIN_TYPES",
    "PROGRESS_STEPS",
    "QUIET",
    "READ_ONLY",
    "RESERVED_PREFIX",
    "SQLITE_VERSION",
    "VFS",
    "WITH_ARGUMENT",
    "WORK_BYTES",
    "Aggregate",
    "Column",
    "ColumnChange",
    "Connection",
    "Cursor",
    "Description",
    "Error",
    "EscapedRows",
    "Extensions",
    "Guard",
    "OnConnect",
    "Parameter",
    "Parameters",
    "Plain",
    "ReadOnlyError",
    "Row",
    "SqlFunction",
    "SqlValue",
    "Statement",
    "TooBigError",
    "Value",
    "can_be_spelled_out",
    "careful",
    "check_parameters",
    "check_text",
    "check_value",
    "column_change",
    "count_per_request",
    "definition_of",
    "describe",
    "draw_random_from",
    "execute",
    "forget",
    "has_broken_keys",
    "install_linear",
    "interrupt_overdue",
    "is_reserved",
    "keyword",
    "limit_caches",
    "limit_text",
    "limit_values",
    "memory_used",
    "open_connection",
    "plain",
    "split",
    "total_changes",
    "translate",
    "why_not",
    "with_definition",
    "without_triggers",
]
