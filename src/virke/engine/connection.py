"""One SQLite connection on a snapshot: pinned for reading, or writing into its overlay.

Knows SQL statements, limits and one paged file; knows no root and no commit. Used by one thread at a time.

1. A pinned connection holds a read transaction, so that SQLite's page cache answers without a single callback.
2. Parameters are checked against the statement before anything runs.
3. A result larger than the limit is `TooLarge`, however it comes: many rows or long values.
4. After any error the connection is usable again: the failed statement left nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from virke.engine import sqlite
from virke.engine.sqlite import Cursor, Guard, Parameters, Row, Statement
from virke.engine.vfs import PagedFile, Pages, SnapshotVFS
from virke.errors import Invalid, TooLarge, VirkeError

CACHE_KIB: Final = 8 << 10
OVERLAY_BYTES_MAX: Final = 1 << 30
STATEMENTS_MAX: Final = 1000
STATEMENT_CHARS_KEPT: Final = 4096
_CHECK_SCHEMA: Final = "SELECT 1 FROM sqlite_schema LIMIT 1"
_NUMBER_BYTES: Final = 8
T = TypeVar("T")


class Connection:
    """A guarded connection with its own VFS and file."""

    def __init__(
        self,
        snapshot: Pages,
        *,
        value_bytes_max: int,
        overlay_bytes_max: int = OVERLAY_BYTES_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file = PagedFile(snapshot, overlay_bytes_max)
        self.vfs = SnapshotVFS(self.file)
        self.guard = Guard(monotonic)
        try:
            self.raw = sqlite.open_connection(
                "main", vfs=self.vfs.name, guard=self.guard, cache_kib=CACHE_KIB, value_bytes_max=value_bytes_max
            )
        except BaseException:
            self.vfs.unregister()
            raise
        if not snapshot.head.page_count:  # the file has no header yet to tell it
            self.raw.pragma("page_size", snapshot.head.page_size)
        self.pinned: Pages | None = None
        self._value_bytes_max = value_bytes_max
        self._schema_checked = False
        self._statements: dict[str, Statement] = {}

    def pin(self, snapshot: Pages) -> None:
        """Show `snapshot` and hold a read transaction on it."""
        self.move(snapshot)
        self.control("BEGIN")
        self.control(_CHECK_SCHEMA)
        self._schema_checked = True
        self.pinned = snapshot

    def unpin(self) -> None:
        """End the read transaction, if any."""
        if self.raw.in_transaction:
            self.control("ROLLBACK")
        self.pinned = None

    def move(self, snapshot: Pages) -> None:
        """Show `snapshot`, dropping whatever was written and not committed."""
        self.unpin()
        if self.file.snapshot is not snapshot or self.file.is_dirty:
            self._schema_checked = False
            same_history = not self.file.is_dirty and self.file.snapshot.lineage == snapshot.lineage
            self.file.move(snapshot)
            self._statements.clear()
            if not same_history:
                self._reload_schema()

    def _reload_schema(self) -> None:
        """SQLite keeps its schema while the schema cookie stays the same, which means nothing in another history."""
        self.guard.allow_schema_writes = True
        try:
            self.guarded(lambda: self.raw.execute("PRAGMA writable_schema=RESET", can_cache=False).fetchall())
        finally:
            self.guard.allow_schema_writes = False

    def start_request(self) -> None:
        """`last_insert_rowid()` tells nothing of the request before."""
        self.raw.set_last_insert_rowid(0)

    def end_request(self) -> None:
        """Let nothing of this request be seen by the next one: temporary tables, modes set by PRAGMA."""
        if self.guard.left_behind:
            self.guard.deadline = sqlite.NO_DEADLINE
            self._statements.clear()
            self.guarded(lambda: sqlite.forget(self.raw, self.guard))

    def limit_values(self, value_bytes_max: int) -> None:
        """Let no value be longer than `value_bytes_max`."""
        if value_bytes_max != self._value_bytes_max:
            sqlite.limit_values(self.raw, value_bytes_max)
            self._value_bytes_max = value_bytes_max

    def close(self) -> None:
        """Close SQLite's connection and unregister the VFS."""
        self.raw.close(True)
        self.vfs.unregister()

    def describe(self, sql: str) -> Statement:
        """The first statement of `sql`, prepared but not run. Raises `SqlError`, `Denied`."""
        known = self._statements.get(sql)
        if known is None:
            if not self._schema_checked:  # preparing alone trusts the schema that SQLite has in memory
                self.guarded(lambda: self.raw.execute(_CHECK_SCHEMA).fetchall())
                self._schema_checked = True
            known = self.guarded(lambda: sqlite.describe(self.raw, self.guard, sql))
            if known.keyword not in _SCHEMA_WORDS and len(sql) <= STATEMENT_CHARS_KEPT:
                if len(self._statements) >= STATEMENTS_MAX:
                    self._statements.clear()
                self._statements[sql] = known
        return known

    def prepare_single(self, sql: str) -> Statement:
        """`sql` as exactly one statement.

        Raises:
            Invalid: there is none, or more than one.
        """
        statement = self.describe(sql)
        if statement.rest and sqlite.keyword(statement.rest):
            raise Invalid("more than one statement in a call that takes one; use batch() or run_script()")
        if statement.is_empty:
            raise Invalid("there is no SQL statement in the text")
        return statement

    def fetch(self, sql: str, params: Parameters, result_bytes_max: int) -> tuple[list[str], list[Row]]:
        """Run one statement and return its columns and rows.

        Raises:
            VirkeError: what SQLite, the guard or a limit said; the statement left nothing behind.
        """
        statement = self.prepare_single(sql)
        sqlite.check_parameters(statement, params)

        def run() -> tuple[list[str], list[Row]]:
            cursor = self.raw.execute(sql, params)
            return list(statement.columns), collect_rows(cursor, result_bytes_max)

        allowed = self.guard.allow_transactions
        if statement.keyword == "VACUUM":  # SQLite runs ATTACH, BEGIN and COMMIT inside it
            self.guard.allow_vacuum = self.guard.allow_transactions = True
        try:
            return self.guarded(run)
        finally:
            self.guard.allow_vacuum, self.guard.allow_transactions = False, allowed
            if statement.keyword in _SCHEMA_WORDS:
                self._statements.clear()

    def change(self, sql: str, params: Parameters, result_bytes_max: int) -> tuple[list[str], list[Row], int]:
        """As `fetch`, and the rows inserted, updated or deleted by the statement itself (its triggers not counted)."""
        before = self.raw.total_changes()
        columns, rows = self.fetch(sql, params, result_bytes_max)
        return columns, rows, self.raw.changes() if self.raw.total_changes() > before else 0

    def many(self, sql: str, rows: Sequence[Parameters]) -> int:
        """Run one statement that writes with each of `rows`; returns the rows affected.

        Raises:
            VirkeError: as `fetch`; all parameters are checked before the first row is written.
        """
        statement = self.prepare_single(sql)
        if statement.read_only:
            raise Invalid("executemany takes a statement that writes")
        for params in rows:
            sqlite.check_parameters(statement, params)

        def run() -> int:
            affected, before = 0, self.raw.total_changes()
            for params in rows:
                for _ in self.raw.execute(sql, params):
                    pass
                if (after := self.raw.total_changes()) > before:
                    affected, before = affected + self.raw.changes(), after
            return affected

        try:
            return self.guarded(run)
        finally:
            if statement.keyword in _SCHEMA_WORDS:
                self._statements.clear()

    def script(self, sql: str, params: Parameters, result_bytes_max: int) -> tuple[list[str], list[Row], int]:
        """Run every statement of `sql`; returns columns and rows of the last one that has any, and all rows affected.

        `BEGIN` and `COMMIT` around it are passed over: a script is one transaction anyway, begun here before the first
        statement that can stand in one, if it is not yet. Parameters are for its first statement that takes any, and
        must fit it.
        """
        result: tuple[list[str], list[Row]] = ([], [])
        total = 0
        left: Parameters | None = params
        for _, text in sqlite.split(sql):
            word = sqlite.keyword(text)
            if word in ("BEGIN", "COMMIT", "END"):
                continue
            if word not in sqlite.ALONE and not self.raw.in_transaction:
                deadline = self.guard.deadline
                self.control("BEGIN IMMEDIATE")
                self.guard.deadline = deadline
            statement = self.prepare_single(text)
            given: Parameters = ()
            if left is not None and statement.parameter_count:
                given, left = left, None
            columns, rows, affected = self.change(text, given, result_bytes_max)
            result = (columns, rows) if columns else result
            total += affected
        if left:
            raise Invalid(f"{len(left)} parameters given, but no statement takes any")
        return *result, total

    def guarded(self, action: Callable[[], T]) -> T:
        """Do something with SQLite; every error leaves as one of Virke's, the one a page read failed with first."""
        try:
            return action()
        except (sqlite.Error, ValueError, TypeError, KeyError, MemoryError, VirkeError) as error:
            failure, self.file.failure = self.file.failure, None
            self._statements.clear()  # SQLite may have rolled back, and with it a schema
            if failure is not None:
                raise failure from error
            raise sqlite.translate(error, self.guard) from error

    def control(self, sql: str) -> None:
        """Run transaction control of our own, which the guard denies to requests."""
        self.guard.deadline = sqlite.NO_DEADLINE
        allowed, self.guard.allow_transactions = self.guard.allow_transactions, True
        try:
            # not cached: a request with the same text would find it prepared and past the guard
            self.guarded(lambda: self.raw.execute(sql, can_cache=False).fetchall())
        finally:
            self.guard.allow_transactions = allowed
            if sql.startswith("ROLLBACK"):  # what was described may have been of a schema that is gone
                self._statements.clear()


_SCHEMA_WORDS: Final = frozenset({"CREATE", "DROP", "ALTER", "VACUUM", "PRAGMA", "ROLLBACK"})


def collect_rows(cursor: Cursor, result_bytes_max: int) -> list[Row]:
    """All rows of a cursor.

    Raises:
        TooLarge: their values have more than `result_bytes_max` bytes together.
    """
    rows: list[Row] = []
    append, total = rows.append, 0
    for row in cursor:
        append(row)
        for value in row:  # this loop is most of what a long result costs
            if type(value) is str or type(value) is bytes:
                total += len(value)
            else:
                total += _NUMBER_BYTES
        if total > result_bytes_max:
            cursor.close(True)
            raise TooLarge(
                f"the result is larger than {result_bytes_max >> 20} MiB; ask for less (LIMIT) or raise max_result_mb"
            )
    return rows
