"""SQLite itself: connections, the guard that keeps SQL inside its database, and error translation.

The only file that imports apsw. Knows SQL statements and limits; knows nothing of pages, snapshots or stores.

1. A guarded connection reaches no other database, no file and no extension (ATTACH, DETACH, VACUUM INTO,
   `load_extension`, `fts3_tokenizer`, and every PRAGMA that is not in a list below are `Denied`).
2. A PRAGMA of `QUIET` that would change how SQLite stores pages has no effect and is no error, because
   dumps and clients send them; its reading form works.
3. A statement past its deadline is interrupted at the next of every `PROGRESS_STEPS` steps: `TimedOut`.
4. Every `apsw` error leaves here as one of `virke.errors`, with SQLite's extended code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from virke.errors import Corrupt, Denied, Invalid, SqlError, TimedOut, TooLarge, Unavailable, VirkeError

Connection = apsw.Connection
Cursor = apsw.Cursor
VFS = apsw.VFS
Error = apsw.Error
ReadOnlyError = apsw.ReadOnlyError
SQLITE_VERSION: Final[str] = apsw.sqlite_lib_version()

Value = None | int | float | str | bytes
Parameter = Value | bytearray | memoryview
Parameters = Sequence[Parameter] | Mapping[str, Parameter]
Row = tuple[Value, ...]

PROGRESS_STEPS: Final = 4000
SQL_BYTES_MAX: Final = 16 << 20
NO_DEADLINE: Final = float("inf")
LENGTH_MAX: Final = (1 << 31) - 1
ALONE: Final = ("VACUUM", "PRAGMA")
"""What refuses a transaction, or has no effect in one."""
_TEMPORARY: Final = """
SELECT type, name FROM temp.sqlite_schema WHERE type IN ('table', 'view', 'trigger') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""
_UNBOUND: Final = apsw._null_bindings  # type: ignore[attr-defined]
"""Bindings for a statement that is described but not run: as many NULLs as it needs."""

# PRAGMAs, by what SQL may do with them. Documented in docs/sql.md.
ALLOWED: Final = frozenset(
    "analysis_limit application_id auto_vacuum case_sensitive_like cell_size_check defer_foreign_keys encoding "
    "foreign_keys ignore_check_constraints incremental_vacuum legacy_alter_table optimize page_size recursive_triggers "
    "reverse_unordered_selects user_version".split()
)
READ_ONLY: Final = frozenset(
    "collation_list compile_options data_version database_list foreign_key_check foreign_key_list freelist_count "
    "function_list index_info index_list index_xinfo integrity_check module_list page_count pragma_list quick_check "
    "schema_version table_info table_list table_xinfo".split()
)
WITH_ARGUMENT: Final = frozenset(
    "foreign_key_check foreign_key_list index_info index_list index_xinfo integrity_check quick_check table_info "
    "table_list table_xinfo".split()
)
QUIET: Final = frozenset(
    "automatic_index busy_timeout cache_size cache_spill checkpoint_fullfsync fullfsync journal_mode journal_size_limit "
    "locking_mode max_page_count mmap_size secure_delete synchronous temp_store threads wal_autocheckpoint "
    "wal_checkpoint".split()
)
MODES: Final = frozenset(
    "analysis_limit case_sensitive_like cell_size_check ignore_check_constraints legacy_alter_table recursive_triggers "
    "reverse_unordered_selects".split()
)
"""Of `ALLOWED`, what belongs to SQLite's connection and not to the database: holds for one request, 0 is the default."""
RESERVED_PREFIX: Final = "virke_"
_SCHEMA_TABLES: Final = frozenset({"sqlite_master", "sqlite_temp_master"})
DENIED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})


class Guard:
    """What one connection may do right now: the authorizer and the deadline of its current statement."""

    __slots__ = (
        "_monotonic",
        "allow_schema_writes",
        "allow_transactions",
        "allow_vacuum",
        "deadline",
        "denied",
        "left_behind",
    )

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.deadline = NO_DEADLINE
        self.left_behind = False
        self.allow_transactions = True
        self.allow_vacuum = False
        self.allow_schema_writes = False
        self.denied: str | None = None

    def authorize(self, operation: int, first: str | None, second: str | None, *where: str | None) -> int:
        """SQLite's authorizer callback; remembers why it refused in `denied`, and what will have to be forgotten."""
        reason = self._refusal(operation, first, second)
        if operation == apsw.SQLITE_INSERT and where[0] == "temp" and first in _SCHEMA_TABLES:
            self.left_behind = True
        if reason is None:
            return apsw.SQLITE_OK
        if reason == "":
            return apsw.SQLITE_IGNORE
        self.denied = reason
        return apsw.SQLITE_DENY

    def _refusal(self, operation: int, first: str | None, second: str | None) -> str | None:
        """None to allow, "" to ignore quietly, else the reason to deny."""
        if operation == apsw.SQLITE_PRAGMA:
            return self._refuse_pragma((first or "").lower(), second)
        if operation == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            return f"function {name}() is not available" if name in DENIED_FUNCTIONS else None
        if operation == apsw.SQLITE_ATTACH:
            return None if self.allow_vacuum and first == "" else "ATTACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_DETACH:
            return None if self.allow_vacuum else "DETACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_SAVEPOINT and not self.allow_transactions and is_reserved(second or ""):
            return f"savepoint names that start with {RESERVED_PREFIX} are not allowed"
        if operation == apsw.SQLITE_TRANSACTION and not self.allow_transactions:
            return f"{first} is not allowed here: a call is one transaction by itself (use batch() or transaction())"
        return None

    def _refuse_pragma(self, name: str, argument: str | None) -> str | None:
        if name in ALLOWED or (name == "writable_schema" and self.allow_schema_writes):
            self.left_behind = self.left_behind or (argument is not None and name in MODES)
            return None
        if name in QUIET:
            return None if argument is None else ""
        if name in READ_ONLY:
            if argument is None or name in WITH_ARGUMENT:
                return None
            return f"PRAGMA {name} can only be read"
        return f"PRAGMA {name} is not allowed (docs/sql.md lists those that are)"

    def expired(self) -> bool:
        """SQLite's progress callback: True interrupts the statement."""
        return self._monotonic() > self.deadline


def open_connection(
    filename: str, *, vfs: str | None, guard: Guard, cache_kib: int, value_bytes_max: int, read_only: bool = False
) -> Connection:
    """Open a guarded connection on `filename` of the VFS named `vfs` (None: the operating system's files)."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(filename, flags=flags, vfs=vfs, statementcachesize=200)
    connection.execute(
        f"PRAGMA journal_mode=MEMORY; PRAGMA temp_store=MEMORY; PRAGMA locking_mode=NORMAL; "
        f"PRAGMA cache_size=-{cache_kib}; PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF"
    ).fetchall()
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches its own scratch database
    limit_values(connection, value_bytes_max)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)
    connection.set_authorizer(guard.authorize)
    connection.set_progress_handler(guard.expired, PROGRESS_STEPS)
    return connection


def is_reserved(name: str) -> bool:
    """True for names of savepoints that only Virke itself may use."""
    return name.lower().startswith(RESERVED_PREFIX)


def forget(connection: Connection, guard: Guard) -> None:
    """Drop temporary tables and switch modes off: what a request leaves on its connection is not for the next one."""
    for kind, name in connection.execute(_TEMPORARY).fetchall():
        quoted = str(name).replace('"', '""')
        connection.execute(f'DROP {kind} IF EXISTS temp."{quoted}"').fetchall()
    for mode in MODES:
        connection.execute(f"PRAGMA {mode}=0").fetchall()
    guard.left_behind = False


def limit_values(connection: Connection, value_bytes_max: int) -> None:
    """Let no value, and no SQL text, be longer than `value_bytes_max`."""
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, min(value_bytes_max, LENGTH_MAX))
    connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, min(SQL_BYTES_MAX, value_bytes_max))


@dataclass(frozen=True, slots=True)
class Statement:
    """What SQLite says of the first statement of an SQL text, without running it."""

    sql: str
    rest: str
    keyword: str
    read_only: bool
    parameter_count: int
    parameter_names: tuple[str | None, ...]
    columns: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to run: white space, comments or `;` only."""
        return self.keyword == ""


def describe(connection: Connection, guard: Guard, sql: str) -> Statement:
    """Prepare the first statement of `sql`.

    Raises:
        SqlError: it does not parse, or names what does not exist.
        Denied: the guard refuses it.
    """
    found: list[Statement] = []

    def trace(cursor: apsw.Cursor, text: str, _: object) -> bool:
        # getdescription fails for statements that were expired by a schema change; exec tracers run before that.
        columns = tuple(str(column[0]) for column in cursor.get_description())
        found.append(
            Statement(
                sql=text,
                rest=sql[len(text) :],
                keyword=keyword(text),
                read_only=cursor.is_readonly,
                parameter_count=cursor.bindings_count,
                parameter_names=cursor.bindings_names,
                columns=columns,
            )
        )
        return False

    cursor = connection.cursor()
    cursor.exec_trace = trace
    try:
        cursor.execute(sql, _UNBOUND, can_cache=False)  # a cached one has the columns of the schema of its day
    except apsw.ExecTraceAbort:
        return found[0]
    except (apsw.Error, ValueError, TypeError) as error:
        raise translate(error, guard, sql) from error
    return Statement(sql, "", "", True, 0, (), ())


def check_text(sql: object) -> None:
    """Raise `Invalid` unless `sql` is text."""
    if not isinstance(sql, str):
        raise Invalid(f"SQL must be text, not {type(sql).__name__}")


def keyword(sql: str) -> str:
    """The first word of a statement in capitals, past white space, comments and `;`; "" if there is none."""
    at, end = 0, len(sql)
    while at < end:
        if sql[at].isspace() or sql[at] in ";\ufeff":
            at += 1
        elif sql.startswith("--", at):
            at = sql.find("\n", at) + 1 or end
        elif sql.startswith("/*", at):
            close = sql.find("*/", at + 2)
            at = end if close < 0 else close + 2
        else:
            stop = at
            while stop < end and (sql[stop].isalnum() or sql[stop] == "_"):
                stop += 1
            return sql[at : max(stop, at + 1)].upper()
    return ""


_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|;""", re.DOTALL)


def split(sql: str) -> Iterator[tuple[int, str]]:
    """The statements of a script with their offsets, each with its `;`; white space and comments alone are left out.

    SQLite itself says where a statement is complete, so trigger bodies are cut as it would cut them.
    """
    start = 0
    for token in _TOKEN.finditer(sql):
        if token[0] == ";" and apsw.complete(sql[start : token.end()]):
            if keyword(sql[start : token.end()]):
                yield start, sql[start : token.end()]
            start = token.end()
    if keyword(sql[start:]):
        yield start, sql[start:]


def check_parameters(statement: Statement, params: Parameters) -> None:
    """Refuse parameters that do not fit, before anything runs.

    Raises:
        Invalid: a wrong count, a missing name, or a type that SQLite does not have.
    """
    if isinstance(params, Mapping):
        missing = [name for name in statement.parameter_names if name is None or name not in params]
        if missing:
            raise Invalid(f"missing parameter {missing[0] or '?'!r}: the statement needs {statement.parameter_count}")
        values: Sequence[object] = list(params.values())
    else:
        if isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, Sequence):
            raise Invalid("parameters must be a list, a tuple or a mapping, not a single value")
        if len(params) != statement.parameter_count:
            raise Invalid(
                f"wrong number of parameters: the statement needs {statement.parameter_count}, {len(params)} given"
            )
        values = params
    for value in values:
        check_value(value)


def check_value(value: object) -> None:
    """Raise `Invalid` unless SQLite can store `value` (None, bool, int of 64 bits, float, str, bytes-like)."""
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise Invalid(f"integer {value} does not fit in 64 bits")
    elif isinstance(value, memoryview):
        if not value.c_contiguous:
            raise Invalid("a memoryview with gaps can't be a parameter; use bytes(view)")
    elif value is not None and not isinstance(value, (float, str, bytes, bytearray)):
        raise Invalid(
            f"a parameter of type {type(value).__name__} is not supported (use int, float, str, bytes or None)"
        )


def translate(error: Exception, guard: Guard | None = None, sql: str = "") -> VirkeError:
    """The Virke error that `error`, raised while SQLite ran `sql`, means to the caller."""
    denied = guard.denied if guard else None
    if guard:
        guard.denied = None
    match error:
        case VirkeError():
            return error
        case apsw.InterruptError():
            return TimedOut("the statement ran longer than query_timeout_ms and was interrupted; nothing was changed")
        case apsw.AuthError():
            return Denied(denied or "this statement is not allowed")
        case apsw.BindingsError() | apsw.RangeError():
            return Invalid(f"wrong parameters: {error}")
        case apsw.TooBigError() | apsw.NoMemError():
            return TooLarge(f"{error}: a value or statement is larger than the limit")
        case apsw.CorruptError() | apsw.NotADBError():
            return Corrupt(f"{error}")
        case apsw.IOError() | apsw.CantOpenError() | apsw.FullError() | apsw.BusyError():
            return Unavailable(f"{error}")
        case apsw.Error():
            if denied:
                return Denied(denied)
            code = getattr(error, "extendedresult", 1)
            offset = getattr(error, "error_offset", -1)
            return SqlError(f"{error}{_near(sql, offset)}", code=code)
        case UnicodeError():
            return Invalid(f"text is not valid Unicode: {error}")
        case MemoryError():
            return TooLarge("out of memory")
        case _:
            return Invalid(f"{error}")


def _near(sql: str, offset: int) -> str:
    """Where in a text of several lines the error lies."""
    if offset < 0 or "\n" not in sql.strip():
        return ""
    before = sql.encode()[:offset].decode(errors="replace")
    return f" (line {before.count(chr(10)) + 1})"


def total_changes(connection: Connection) -> int:
    """Rows inserted, updated and deleted on this connection so far."""
    return connection.total_changes()
