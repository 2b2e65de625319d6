"""Opening guarded connections, their limits, and what a request leaves behind on one. Knows no SQL of callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from virke.engine.sqlite.care import LIKE_PATTERN_BYTES
from virke.engine.sqlite.guard import Guard
from virke.engine.sqlite.pragmas import MODES

Connection = apsw.Connection
Cursor = apsw.Cursor
VFS = apsw.VFS
VFSFile = apsw.VFSFile
MAIN_DATABASE: Final = apsw.SQLITE_OPEN_MAIN_DB
MAIN_JOURNAL: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL
TEMPORARY_FILE: Final = (
    apsw.SQLITE_OPEN_TEMP_JOURNAL
    | apsw.SQLITE_OPEN_READWRITE
    | apsw.SQLITE_OPEN_CREATE
    | apsw.SQLITE_OPEN_EXCLUSIVE
    | apsw.SQLITE_OPEN_DELETEONCLOSE
)
"""How SQLite opens a file that has no name."""
SQLITE_VERSION: Final[str] = apsw.sqlite_lib_version()
SQL_BYTES_MAX: Final = 16 << 20
LENGTH_MAX: Final = (1 << 31) - 1
_TEMPORARY: Final = """
SELECT type, name FROM temp.sqlite_schema WHERE type IN ('table', 'view', 'trigger') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""


def open_connection(
    filename: str, *, vfs: str | None, guard: Guard, cache_kib: int, value_bytes_max: int, read_only: bool = False
) -> Connection:
    """Open a guarded connection on `filename` of the VFS named `vfs` (None: the operating system's files)."""
    connection = open_unguarded(filename, vfs=vfs, cache_kib=cache_kib, read_only=read_only)
    put_under(connection, guard, cache_kib=cache_kib, value_bytes_max=value_bytes_max)
    return connection


def open_unguarded(filename: str, *, vfs: str | None, cache_kib: int, read_only: bool = False) -> Connection:
    """Open a connection that no SQL of a caller may run on yet."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(filename, flags=flags, vfs=vfs, statementcachesize=200)
    connection.execute(
        f"PRAGMA journal_mode=MEMORY; PRAGMA temp_store=MEMORY; PRAGMA locking_mode=NORMAL; "
        f"PRAGMA cache_size=-{cache_kib}; PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF"
    ).fetchall()
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches its own scratch database
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)
    connection.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_BYTES)
    return connection


def put_under(connection: Connection, guard: Guard, *, cache_kib: int, value_bytes_max: int) -> None:
    """Let `guard` watch what runs on `connection` from now on, with the page cache that it was opened with."""
    limit_values(connection, value_bytes_max)
    limit_text(connection, value_bytes_max)
    guard.cache_bytes_max = cache_kib << 10
    guard.attach(connection)


def use_files(connection: Connection, guard: Guard) -> None:
    """Let sorts, temporary tables and journals be files, which the connection's VFS opens: they may outgrow memory."""
    connection.set_authorizer(None)
    connection.execute("PRAGMA journal_mode=DELETE; PRAGMA temp_store=FILE").fetchall()
    connection.set_authorizer(guard.authorize)


def forget(connection: Connection, guard: Guard) -> None:
    """Drop temporary tables and switch modes off: what a request leaves on its connection is not for the next one."""
    for kind, name in connection.execute(_TEMPORARY).fetchall():
        quoted = str(name).replace('"', '""')
        connection.execute(f'DROP {kind} IF EXISTS temp."{quoted}"').fetchall()
    for mode in MODES:
        connection.execute(f"PRAGMA {mode}=0").fetchall()
    guard.left_behind = False


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """Meanwhile no trigger of this connection runs."""
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    try:
        yield
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)


def limit_values(connection: Connection, value_bytes_max: int) -> None:
    """Let no value be longer than `value_bytes_max`."""
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, min(value_bytes_max, LENGTH_MAX))


@contextmanager
def short_values(connection: Connection, value_bytes_max: int) -> Iterator[None]:
    """Meanwhile a value that is longer is a `TooBigError`, also one that is read."""
    before = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
    limit_values(connection, min(before, value_bytes_max))
    try:
        yield
    finally:
        limit_values(connection, before)


def limit_text(connection: Connection, value_bytes_max: int) -> None:
    """Let no SQL text be longer than `value_bytes_max`, and never longer than `SQL_BYTES_MAX`."""
    connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, min(SQL_BYTES_MAX, value_bytes_max))


def has_broken_keys(connection: Connection) -> bool:
    """Whether a foreign key is broken at this moment, which only the end of the transaction would say."""
    return bool(connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0])


def total_changes(connection: Connection) -> int:
    """Rows inserted, updated and deleted on this connection so far."""
    return connection.total_changes()


def prepared(connection: Connection) -> int:
    """Statements that were prepared on this connection and are not kept for the next time, so far; those that could not be do not count."""
    return int(connection.cache_stats()["no_cache"])
