"""One SQLite connection on a snapshot: pinned for reading, or writing into its overlay.

Knows SQL statements, limits and one paged file; no root and no commit. One thread at a time uses it, except for `interrupt`.

1. A pinned connection holds a read transaction, so that SQLite's page cache answers without a single callback.
2. Parameters are checked against the statement before anything runs.
3. A result larger than the budget is `TooLarge`, however it comes: many rows or long values, in one result or in all
   those of a request.
4. After any error the connection is usable again: the failed statement left nothing behind.
5. How long values may be depends on the statement (`lengths`); what the engine itself runs has the full length.
6. No statement begins past the deadline of its request.
7. Statistics are part of the schema: a statement that writes them raises the schema cookie, so that every connection
   in every process reads them before it plans again.
8. What is known of a statement is known under one scope: it is prepared before it runs under another.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from virke.engine import sqlite
from virke.engine.allowance import Allowance
from virke.engine.altering import alter_column, raise_schema_cookie, reload_schema
from virke.engine.bare import Bare, open_bare
from virke.engine.budget import ResultBudget, collect_rows, rows_at_once, run_and_collect
from virke.engine.layers import Pages
from virke.engine.lengths import LONG_TEXT, Lengths
from virke.engine.room import WORK_BYTES, NeedsRoom, Room
from virke.engine.sqlite import Column, Guard, OnConnect, Parameters, Row, Statement
from virke.engine.vfs import release_connection
from virke.errors import Denied, Invalid, ReadOnly, TooLarge, VirkeError
from virke.scopes import Scope

CACHE_KIB: Final = 8 << 10
"""The page cache of a connection that writes: what it wrote beyond that goes into the overlay."""
READER_CACHE_KIB: Final = 1 << 30
"""That of one that reads: no bound of its own, but that of the process (`memory`)."""
OVERLAY_BYTES_MAX: Final = 1 << 30
STATEMENTS_MAX: Final = 1000
STATEMENT_CHARS_KEPT: Final = 4096
_CHECK_SCHEMA: Final = "SELECT 1 FROM sqlite_schema LIMIT 1"
_SCHEMA_WORDS: Final = frozenset({"CREATE", "DROP", "ALTER", "VACUUM", "PRAGMA", "ROLLBACK"})
T = TypeVar("T")
Columns = tuple[Column, ...]


class Connection:
    """A guarded connection with its own VFS and file."""

    def __init__(
        self,
        snapshot: Pages,
        *,
        value_bytes_max: int,
        overlay_bytes_max: int = OVERLAY_BYTES_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        on_connect: OnConnect | None = None,
        cache_kib: int = CACHE_KIB,
        closed: Callable[[Connection], None] | None = None,
        allowance: Allowance | None = None,
        room: Room | None = None,
        bare: Bare | None = None,
    ) -> None:
        """`bare` was opened ahead, and has its page cache."""
        self._closed, self._work_bytes = closed, sqlite.WORK_BYTES
        if allowance is not None:
            limits, self._work_bytes = allowance.limits, allowance.limits.work_bytes
            overlay_bytes_max, cache_kib = limits.written_bytes, limits.caches_bytes >> 10
        self.guard = Guard(monotonic, allowance)
        self.guard.allow_transactions = False  # except for our own (`control`)
        if bare:
            bare.shows(snapshot, overlay_bytes_max)
        else:
            bare = open_bare(snapshot, cache_kib=cache_kib, overlay_bytes_max=overlay_bytes_max, room=room)
        self.file, self.vfs, self.raw = bare.file, bare.vfs, bare.raw
        sqlite.put_under(self.raw, self.guard, cache_kib=bare.cache_kib, value_bytes_max=value_bytes_max)
        if room:
            sqlite.use_files(self.raw, self.guard)
        self._release = weakref.finalize(self, release_connection, self.raw, self.vfs)
        self._release.atexit = False
        if not snapshot.head.page_count:  # the file has no header yet to tell it
            self.raw.pragma("page_size", snapshot.head.page_size)
        self.pinned: Pages | None = None
        lengths = partial(Lengths, bytes_max=value_bytes_max, work_bytes_min=self._work_bytes)
        self.lengths = lengths(self.raw, self.guard, self.guarded)
        self._write_bytes = WORK_BYTES if room else self._work_bytes if allowance else overlay_bytes_max
        self.has_room_elsewhere = False
        """Whether what is too large for its memory is to be run again in room (`NeedsRoom`)."""
        self._schema_checked, self._changes_before = False, 0
        self.reads_only = False
        """What would change something is `Denied`."""
        self._statements: dict[tuple[Scope, str], Statement] = {}
        self._draw: Callable[[int], bytes] | None = None
        self._me = me = weakref.proxy(self)  # for SQLite's functions: a cycle through them is never collected
        sqlite.count_per_request(self.raw, lambda: me.changes(), lambda: me.raw.total_changes() - me._changes_before)
        self.own_functions: frozenset[str] = frozenset()
        """Names of the functions that the application added, in small letters."""
        if on_connect:
            try:
                self.extend(on_connect)
            except BaseException:
                self.close()
                raise

    def outgrow(self, bytes_max: int) -> None:
        """What changes more than so much raises `NeedsRoom` from now on; SQLite holds values and sorts in 1.5 times that (B2)."""
        self.file.overlay_bytes_max, self._write_bytes = bytes_max, bytes_max + bytes_max // 2
        self.has_room_elsewhere = True

    def extend(self, hook: OnConnect) -> None:
        """Let the application's hook add what it has to. Raises `Invalid`, `SqlError`: it can't."""
        made = sqlite.Extensions(self.raw, self.guard)
        self.guarded(lambda: made.call(hook))
        self.own_functions |= made.functions
        self._statements.clear()  # what is known of them is by the functions and the authorizer of before

    def draw_random_from(self, draw: Callable[[int], bytes] | None) -> None:
        """Let `random()` and `randomblob()` take their bytes from `draw(length)`; None: from the system."""
        me = self._me
        if draw is not None and self._draw is None:  # from now on, so that prepared statements stay
            sqlite.draw_random_from(self.raw, lambda length: (me._draw or os.urandom)(length))
        if draw is not None or self._draw is not None:
            self._draw = draw or os.urandom

    def pin(self, snapshot: Pages) -> None:
        """Show `snapshot` and hold a read transaction on it."""
        self.move(snapshot)
        self.control(f"BEGIN; {_CHECK_SCHEMA}")
        self._schema_checked = True
        self.pinned = snapshot
        self.lengths.short()

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
            page_size = self.file.snapshot.head.page_size
            same_history = not self.file.is_dirty and self.file.snapshot.lineage == snapshot.lineage
            self.file.move(snapshot)
            self._statements.clear()
            if not same_history:
                reload_schema(self)
            if snapshot.head.page_size != page_size:  # SQLite would bring the old one back with its next VACUUM
                self.raw.pragma("page_size", snapshot.head.page_size)

    def schema_cookie(self) -> bytes:
        """What SQLite changes with every change of the schema: four bytes of page 1; empty without a first page."""
        return self.file.xRead(4, 40)

    def begin_request(self, *, now_ms: int, deadline: float, result_bytes: int) -> ResultBudget:
        """The instant, the time limit and the lengths of one request, before its first statement; what it may answer."""
        self.vfs.now_ms = now_ms
        self.guard.deadline = deadline
        self.lengths.allow(result_bytes)
        return ResultBudget(result_bytes)

    def start_request(self) -> None:
        """`last_insert_rowid()`, `changes()` and `total_changes()` tell nothing of the request before."""
        self.raw.set_last_insert_rowid(0)
        self._changes_before = self.raw.total_changes()

    def changes(self) -> int:
        """Rows changed by the last statement of this request that changes rows."""
        return self.raw.changes() if self._has_changed() else 0

    def _has_changed(self) -> bool:
        return self.raw.total_changes() > self._changes_before

    def interrupt(self) -> bool:
        """From any thread: end the statement that runs now, which raises `TimedOut`; False if none does."""
        return self.guard.interrupt()

    def expire(self) -> None:
        """From any thread: the time of the request that runs is over, whether or not SQLite runs at this moment."""
        self.guard.expire()

    def end_request(self) -> None:
        """Let nothing of this request be seen by the next one: temporary tables, modes set by PRAGMA."""
        if self.guard.left_behind:
            self.guard.deadline = sqlite.NO_DEADLINE
            self._statements.clear()
            self.guarded(lambda: sqlite.forget(self.raw, self.guard))

    @property
    def is_open(self) -> bool:
        """Whether it was neither closed nor met by the garbage collector."""
        return self._release.alive

    def close(self) -> None:
        """Close it; harmless when closed."""
        self._release()
        if self._closed:
            self._closed(self)

    def shrink(self) -> None:
        """Empty the page cache; what is pinned stays pinned."""
        self.raw.release_memory()

    def describe(self, sql: str) -> Statement:
        """The first statement of `sql`, prepared but not run. Raises `SqlError`, `Denied`."""
        known = self._statements.get((self.guard.scope, sql))
        if known is None:
            self.lengths.full()
            if not self._schema_checked:  # preparing alone trusts the schema that SQLite has in memory
                self.guarded(lambda: self.raw.execute(_CHECK_SCHEMA).fetchall())
                self._schema_checked = True
            with ExitStack() as stack:
                if len(sql) > LONG_TEXT:
                    stack.enter_context(sqlite.careful(self.raw, self._work_bytes))
                known = self.guarded(lambda: sqlite.describe(self.raw, self.guard, sql))
            self.lengths.short()
            if known.keyword not in _SCHEMA_WORDS and len(sql) <= STATEMENT_CHARS_KEPT:
                if len(self._statements) >= STATEMENTS_MAX:
                    self._statements.clear()
                self._statements[self.guard.scope, sql] = known
        return known

    def prepare_single(self, sql: str) -> Statement:
        """`sql` as exactly one statement. Raises `Invalid`: there is none, or more than one."""
        statement = self.describe(sql)
        if statement.rest and sqlite.keyword(statement.rest):
            raise Invalid("more than one statement in a call that takes one; use batch() or run_script()")
        if statement.is_empty:
            raise Invalid("there is no SQL statement in the text")
        return statement

    def fetch(self, sql: str, params: Parameters, budget: ResultBudget | int) -> tuple[Columns, list[Row]]:
        """Run one statement and return its columns and rows.

        Raises:
            VirkeError: what SQLite, the guard or a limit said; the statement left nothing behind.
            ReadOnly: it would change something (`Statement.read_only`), and the connection only reads.
        """
        statement = self.prepare_single(sql)
        self._check_allowed(statement)
        sqlite.check_parameters(statement, params)
        spent = budget.spent if isinstance(budget, ResultBudget) else 0
        return statement.described, self._run_limited(
            statement, lambda: self._rows_of_statement(statement, params, budget), spent
        )

    def _check_allowed(self, statement: Statement) -> None:
        scope = self.guard.scope
        if not statement.read_only and (self.reads_only or scope < Scope.WRITE):
            raise ReadOnly(f"{statement.keyword} is not allowed: only reads are allowed here; nothing was changed")
        if statement.keyword == "VACUUM" and scope < Scope.SCHEMA:  # of which SQLite says nothing before it runs
            raise Denied(sqlite.why_not(scope, "VACUUM writes the whole database again"))

    def _rows_of_statement(self, statement: Statement, params: Parameters, budget: ResultBudget | int) -> list[Row]:
        if statement.alters:
            alter_column(self, statement.alters)
            return []
        at_once = rows_at_once(len(statement.columns), self.lengths.now)
        spend = self.lengths.spend if statement.read_only else None
        return run_and_collect(self.raw, (statement, params), budget, at_once, spend=spend)

    def collect(self, sql: str, params: Parameters, result_bytes: int, at_once: int) -> list[Row]:
        """The rows of a statement with short values, as it is. Raises what SQLite does, and `TooLarge`."""
        try:
            return collect_rows(self.raw.execute(sql, params), result_bytes, at_once, self.lengths.spend)
        finally:
            if self.lengths.is_spent:
                self.lengths.restore()

    def _run_limited(self, statement: Statement, action: Callable[[], T], spent: int = 0) -> T:
        """Run a described statement within its limits (invariants 5, 6 and 7); `spent` is what is answered already."""
        self.guard.check()
        is_write = not statement.read_only and statement.keyword != "PRAGMA"
        if not is_write or self.lengths.is_spent:
            self.lengths.spend(0 if is_write else spent)
        if is_write:
            self.guard.allow_memory(self._write_bytes)
        self.guard.analyzed, allowed = False, self.guard.allow_transactions
        if statement.keyword == "VACUUM":  # SQLite runs ATTACH, BEGIN and COMMIT inside it
            self.guard.allow_vacuum = self.guard.allow_transactions = True
        if statement.checks and not self.file.is_dirty and not self._has_changed():
            reload_schema(self)  # FTS5 would check the index of today by its structure of an earlier snapshot
        self.guard.start()
        try:
            result = self.lengths.run(statement, action, is_pinned=self.pinned is not None)
            if statement.analyzes or self.guard.analyzed:
                raise_schema_cookie(self)
            return result
        finally:
            self.guard.stop()
            self.guard.allow_vacuum, self.guard.allow_transactions = False, allowed
            if statement.keyword in _SCHEMA_WORDS:
                self._statements.clear()
            self.lengths.short()

    def open_stream(self, statement: Statement, params: Parameters) -> sqlite.EscapedRows:
        """Begin a statement whose rows are asked for one by one (`next_rows`), until `close_stream`."""
        sqlite.check_parameters(statement, params)
        return self._step_stream(statement, lambda: sqlite.EscapedRows(self.raw, statement, params))

    def next_rows(self, cursor: sqlite.EscapedRows, limit: int) -> list[Row]:
        """The next rows of a stream, as many as that; fewer at its end."""
        return self._step_stream(cursor.statement, lambda: list(islice(cursor, limit)))

    def close_stream(self, cursor: sqlite.EscapedRows) -> None:
        """End a stream."""
        cursor.close(True)
        self.lengths.short()

    def _step_stream(self, statement: Statement, action: Callable[[], T]) -> T:
        """One step of a stream, within the limits of a statement that is run with care."""
        self.guard.check()
        self.lengths.spend(0)
        self.lengths.prepare_care(statement)
        self.guard.start()
        try:
            return self.guarded(action)
        finally:
            self.guard.stop()

    def change(self, sql: str, params: Parameters, budget: ResultBudget | int) -> tuple[Columns, list[Row], int]:
        """As `fetch`, and the rows inserted, updated or deleted by the statement itself (its triggers not counted)."""
        before = self.raw.total_changes()
        columns, rows = self.fetch(sql, params, budget)
        return columns, rows, self.raw.changes() if self.raw.total_changes() > before else 0

    def many(self, sql: str, rows: Sequence[Parameters]) -> int:
        """Run one statement that writes with each of `rows`; returns the rows affected.

        Raises as `fetch`; what is wrong with any row's parameters is raised before what SQLite says.
        """
        statement = self.prepare_single(sql)
        if statement.read_only:
            raise Invalid("executemany takes a statement that writes")
        self._check_allowed(statement)
        many = sqlite.ManyRows(self.raw, statement, rows, self.guard.check)
        try:
            self._run_limited(statement, many.run)
        except VirkeError:
            many.check()
            raise
        return many.affected

    def guarded(self, action: Callable[[], T]) -> T:
        """Do something with SQLite; every error leaves as one of Virke's, the one a page read failed with first."""
        try:
            return action()
        except sqlite.FAILURES as error:
            raise self.failed(error) from error

    def failed(self, error: Exception) -> VirkeError:
        """What an error of SQLite's is to the caller; the page read that failed first, if one did."""
        failure, self.file.failure = self.file.failure, None
        self._statements.clear()  # SQLite may have rolled back, and with it a schema
        if not self.raw.in_transaction:
            self.pinned = None
        is_full = isinstance(failure, TooLarge) or isinstance(error, sqlite.MEMORY_ERRORS) or self.guard.is_greedy
        found = sqlite.translate(error if failure is None else failure, self.guard)
        return NeedsRoom(found.message) if is_full and self.has_room_elsewhere else found

    def internal(self, sql: str, params: Parameters = ()) -> list[Row]:
        """Run a statement of our own inside the transaction that is open, whatever its scope; returns its rows."""
        if sqlite.keyword(sql) in _SCHEMA_WORDS:
            self._statements.clear()
        self.lengths.full()
        scope, self.guard.scope = self.guard.scope, Scope.ADMIN
        try:
            return self.guarded(lambda: self.raw.execute(sql, params).fetchall())
        finally:
            self.guard.scope = scope

    def control(self, sql: str) -> None:
        """Run transaction control of our own, which the guard denies to requests."""
        self.guard.deadline = sqlite.NO_DEADLINE
        self.lengths.full()
        allowed, self.guard.allow_transactions = self.guard.allow_transactions, True
        try:
            # not cached: a request with the same text would find it prepared and past the guard
            self.guarded(lambda: self.raw.execute(sql, can_cache=False).fetchall())
        finally:
            self.guard.allow_transactions = allowed
            if sql.startswith("ROLLBACK"):  # what was described may have been of a schema that is gone
                self._statements.clear()

    def control_within(self, sql: str) -> None:
        """As `control`, in the middle of a request, whose time limit goes on to hold."""
        deadline = self.guard.deadline
        try:
            self.control(sql)
        finally:
            self.guard.deadline = deadline
