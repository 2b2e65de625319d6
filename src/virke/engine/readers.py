"""Reading: pinned connections keyed by snapshot, one statement each, with a deadline and a way to cancel.

Knows connections and what is shown; knows no store and no commit. Shared by all threads of a database: a connection
belongs to one call at a time.

1. A result comes from one snapshot, whole (P4). A read that writes nothing changes nothing: a statement that would
   write raises `WritesInstead`, by SQLite's own knowledge, before it runs.
2. What is known of a statement survives a commit as long as the schema is the same.
3. A snapshot that was collected is an error where the caller named a version; only "now" starts over on the newest.
4. `rows` holds one connection and one row at a time, whatever the size of the result; the time its caller takes between
   rows does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from virke.engine import sqlite
from virke.engine.branch import Branch
from virke.engine.budget import collect_rows, rows_at_once
from virke.engine.connection import STATEMENT_CHARS_KEPT, STATEMENTS_MAX, Connection
from virke.engine.freshness import Freshness, Shown
from virke.engine.results import QueryResult
from virke.engine.rows import Rows
from virke.engine.vfs import Pages
from virke.engine.volume import Snapshot, SnapshotGone
from virke.errors import Invalid, NotFound, TimedOut, VirkeError

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameters, Statement

READERS_KEPT: Final = 16
_PLAIN_PARAMETERS: Final = frozenset({tuple, list, dict})


class WritesInstead(Exception):
    """The statement is not a read: the caller sends it to the writer, or refuses it."""


class Cancel:
    """A handle with which another thread may end a read; it holds for one call."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._connection: Connection | None = None

    def cancel(self) -> None:
        """End the read as soon as SQLite can be interrupted: `TimedOut`."""
        self.is_cancelled = True
        if (connection := self._connection) is not None:
            connection.interrupt()

    def attach(self, connection: Connection | None) -> None:
        """This connection runs the read from now on (None: no more). Raises `TimedOut`: it was cancelled before."""
        self._connection = connection
        if connection is not None and self.is_cancelled:
            raise TimedOut("the read was cancelled")


class Reader:
    """A connection on a pinned snapshot, and what it knows of statements; the key says of which schema."""

    __slots__ = ("connection", "known", "schema")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.known: dict[str, tuple[list[str], int]] = {}
        """Of statements that may be given to SQLite as they are: columns, and how many rows to fetch at once."""
        self.schema: object = None

    def pin(self, view: Pages, *, foreign_keys: bool) -> None:
        """Show `view`; forget the statements of another schema."""
        connection = self.connection
        connection.unpin()
        connection.raw.pragma("foreign_keys", foreign_keys)  # what `PRAGMA foreign_keys` reports; reads check nothing
        connection.pin(view)
        schema = view.lineage, connection.schema_cookie()
        if schema != self.schema:
            self.known.clear()
            self.schema = schema


class Readers:
    """The reading connections of one database, and what they show."""

    def __init__(self, branch: Branch, freshness: Freshness, connect: Callable[[], Connection]) -> None:
        self._branch = branch
        self._freshness = freshness
        self._connect = connect
        self._look = branch.look
        self._monotonic = branch.environment.monotonic
        self._now_ms = branch.environment.now_ms
        self.idle: list[Reader] = []
        self.foreign_keys = False
        self.is_closed = False

    def query(
        self,
        sql: str,
        params: Parameters,
        consistency: str | None = None,
        bookmark: str | None = None,
        *,
        cancel: Cancel | None = None,
    ) -> QueryResult:
        """Run one reading statement on a state that is new enough; its rows.

        Raises:
            WritesInstead: it would write; nothing ran.
            SqlError, Invalid, Denied, TimedOut, TooLarge, Unavailable.
        """
        if type(sql) is not str:
            sqlite.check_text(sql)
        shown = self._freshness.shown
        now = self._monotonic()
        if (
            now >= shown.fresh_until
            or consistency is not None
            or bookmark is not None
            or (shown.is_watched and self._look() != self._branch.stamp)
        ):
            self._check_open()
            shown = self._freshness.current(consistency, bookmark)
        try:
            reader = self.idle.pop()
        except IndexError:
            reader = self._new_reader()
        try:
            known = reader.known.get(sql)
            connection = reader.connection
            if (
                known is None
                or connection.pinned is not shown.view
                or cancel is not None
                or type(params) not in _PLAIN_PARAMETERS
            ):
                return self._run_first(sql, params, reader, shown, cancel=cancel)
            columns, at_once = known
            connection.vfs.now_ms = None
            connection.guard.deadline = now + shown.timeout_s
            try:
                rows = collect_rows(connection.raw.execute(sql, params), shown.result_bytes, at_once)
            except Exception as error:
                return self._run_again(sql, params, reader, shown, error=error)
        except SnapshotGone:
            self._branch.refresh()
            self._freshness.show()
            return self.query(sql, params, cancel=cancel)
        self.idle.append(reader)
        if self.is_closed:
            self._close_idle()
        return QueryResult(columns.copy(), rows, shown.root)

    def query_at(self, snapshot: Snapshot, sql: str, params: Parameters, cancel: Cancel | None = None) -> QueryResult:
        """As `query`, on one version. Raises `NotFound`: it was collected meanwhile."""
        self._check_open()
        try:
            shown = self._freshness.shown_at(snapshot)
            return self._run_first(sql, params, self._take(snapshot), shown, cancel=cancel)
        except SnapshotGone as error:
            raise NotFound(f"version {snapshot.version} was collected: history is kept for a while only") from error

    def _run_again(
        self, sql: str, params: Parameters, reader: Reader, shown: Shown, *, error: Exception
    ) -> QueryResult:
        """After an error of the fast path: with care where that may be enough, else what the error means is raised."""
        if not isinstance(error, (sqlite.TooBigError, *sqlite.MEMORY_ERRORS)):
            raise self._failure(sql, params, reader, error) from error
        if isinstance(error, sqlite.TooBigError):
            reader.connection.lengths.remember(sql)
        reader.known.pop(sql, None)
        reader.connection.unpin()
        return self._run_first(sql, params, reader, shown, cancel=None)

    def _new_reader(self) -> Reader:
        reader = Reader(self._connect())
        reader.connection.vfs.clock = self._now_ms
        return reader

    def _check_open(self) -> None:
        if self.is_closed:
            raise Invalid(f"database {self._branch.name!r} is closed")

    def _run_first(
        self, sql: str, params: Parameters, reader: Reader, shown: Shown, *, cancel: Cancel | None
    ) -> QueryResult:
        """A statement that this reader does not know, or a snapshot that it has not seen."""
        connection = reader.connection
        try:
            if cancel:
                cancel.attach(connection)
            self._prepare(reader, sql, shown)
            connection.guard.deadline = self._monotonic() + shown.timeout_s
            columns, rows = connection.fetch(sql, params, shown.result_bytes)
            return QueryResult(columns, rows, shown.root)
        except SnapshotGone:
            connection.unpin()
            raise
        finally:
            if cancel:
                cancel.attach(None)
            connection.end_request()
            self.give_back(reader)

    def _prepare(self, reader: Reader, sql: str, shown: Shown) -> Statement:
        """Show what is shown, and know the statement. Raises `WritesInstead`."""
        connection = reader.connection
        if connection.pinned is not shown.view:
            reader.pin(shown.view, foreign_keys=self.foreign_keys)
        connection.guard.allow_transactions = False
        connection.lengths.allow(shown.result_bytes)
        statement = connection.prepare_single(sql)
        if not statement.read_only or (statement.keyword == "PRAGMA" and not statement.columns):
            raise WritesInstead
        if (
            connection.lengths.is_hot(statement)
            and len(reader.known) < STATEMENTS_MAX
            and len(sql) <= STATEMENT_CHARS_KEPT
        ):
            at_once = rows_at_once(len(statement.columns), sqlite.HOT_VALUE_BYTES)
            reader.known[sql] = list(statement.columns), at_once
        connection.vfs.now_ms = None
        return statement

    def _failure(self, sql: str, params: Parameters, reader: Reader, error: Exception) -> VirkeError:
        """What an error of the fast path means; an unchecked parameter is named."""
        connection = reader.connection
        reader.known.pop(sql, None)
        failure, connection.file.failure = connection.file.failure, None
        try:
            if isinstance(error, SnapshotGone) or isinstance(failure, SnapshotGone):
                connection.unpin()
                return failure or error if isinstance(error, VirkeError) else SnapshotGone(str(error))
            sqlite.check_parameters(connection.prepare_single(sql), params)
            return failure or sqlite.translate(error, connection.guard, sql)
        except VirkeError as wrong:
            return wrong
        finally:
            self.give_back(reader)

    def rows(self, sql: str, params: Parameters, consistency: str | None, bookmark: str | None) -> Rows:
        """The rows of one reading statement, one at a time. Raises as `query`."""
        self._check_open()
        shown = self._freshness.current(consistency, bookmark)
        reader = self._take(shown.view)
        try:
            self._prepare(reader, sql, shown)
            return Rows(
                reader.connection,
                (sql, params),
                shown,
                done=lambda: self.give_back(reader),
                monotonic=self._monotonic,
            )
        except SnapshotGone:
            reader.connection.unpin()
            self.give_back(reader)
            self._branch.refresh()
            return self.rows(sql, params, consistency, bookmark)
        except BaseException:
            self.give_back(reader)
            raise

    def describe(self, sql: str) -> Statement:
        """What SQLite says of one statement on the state that is shown, without running it."""
        self._check_open()
        shown = self._freshness.current()
        reader = self._take(shown.view)
        try:
            if reader.connection.pinned is not shown.view:
                reader.pin(shown.view, foreign_keys=self.foreign_keys)
            return reader.connection.prepare_single(sql)
        finally:
            self.give_back(reader)

    def _take(self, view: Pages) -> Reader:
        """An idle connection, one that shows `view` if there is one."""
        for number in range(len(self.idle) - 1, -1, -1):
            if self.idle[number].connection.pinned is view:
                with suppress(IndexError):
                    return self.idle.pop(number)
        try:
            return self.idle.pop()
        except IndexError:
            return self._new_reader()

    def use_foreign_keys(self, value: bool) -> None:
        """What `PRAGMA foreign_keys` reports from now on: connections are pinned again for it before their next read."""
        if value == self.foreign_keys:
            return
        self.foreign_keys = value
        for reader in list(self.idle):
            with suppress(VirkeError):
                reader.connection.unpin()

    def give_back(self, reader: Reader) -> None:
        """Keep the connection for the next read, or close it."""
        if len(self.idle) < READERS_KEPT:
            self.idle.append(reader)
        else:
            reader.connection.close()
        if self.is_closed:
            self._close_idle()

    def close(self) -> None:
        """Close the idle connections, and the others when they come back."""
        self.is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self.idle.pop().connection.close()
