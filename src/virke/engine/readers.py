"""Reading: pinned connections keyed by snapshot, one statement each, with a deadline and a way to cancel.

Knows connections and what is shown; knows no store and no commit. Shared by all threads of a database: a connection
belongs to one call at a time.

1. A result comes from one snapshot, whole (P4). A read that writes nothing changes nothing: a statement that would
   write raises `WritesInstead`, by SQLite's own knowledge, before it runs. Where no connection is idle, none is opened
   for that if its first word says it.
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
from virke.engine.budget import ResultBudget, collect_rows, rows_at_once
from virke.engine.connection import STATEMENT_CHARS_KEPT, STATEMENTS_MAX, Connection
from virke.engine.freshness import Freshness, Shown
from virke.engine.layers import Pages
from virke.engine.reader import Known, Reader
from virke.engine.results import QueryResult, result_of
from virke.engine.rows import Rows
from virke.engine.snapshot import Snapshot, SnapshotGone
from virke.engine.terms import Terms
from virke.engine.volume import Volume
from virke.errors import Invalid, NotFound, TimedOut, VirkeError

if TYPE_CHECKING:
    from virke.engine.sqlite import Description, Parameters, Statement

READERS_KEPT: Final = 16
COUNTED_PAGES_MAX: Final = 2048
"""SQLite counts a table in one step, which may read every page of the database."""
_FULL_WORK_BYTES: Final = sqlite.WORK_BYTES
"""A request that may answer no more never has less than this to work with."""
_ANY_PAGES: Final = 1 << 32
_new: Final = object.__new__
_are_plain: Final = sqlite.PLAIN_TYPES.issuperset
_CHANGING: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
PLAIN_PARAMETERS: Final = frozenset({tuple, list, dict})


class WritesInstead(Exception):
    """The statement is not a read: the caller sends it to the writer, or refuses it."""


class Readers:
    """The reading connections of one database, and what they show."""

    def __init__(
        self, volume: Volume, freshness: Freshness, connect: Callable[[], Connection], *, read_only: bool = False
    ) -> None:
        self.plain = Terms(read_only=read_only)
        """What a call asks for that asks for nothing."""
        branch = volume.branch
        self._volume = volume
        self._branch = branch
        self._freshness = freshness
        self._connect = connect
        self._look = branch.look
        self.monotonic = branch.environment.monotonic
        self._now_ms = branch.environment.now_ms
        self.idle: list[Reader] = []
        volume.memory.hold(volume.owner, self)
        self.foreign_keys = False
        self.is_closed = False
        self.why_closed = "is closed"

    def query(self, sql: str, params: Parameters, terms: Terms) -> QueryResult:
        """Run one reading statement on a state that is new enough; its rows.

        Raises:
            WritesInstead: it would write; nothing ran.
            SqlError, Invalid, Denied, TimedOut, TooLarge, Unavailable.
        """
        if type(sql) is not str:
            sqlite.check_text(sql)
        if type(params) is not tuple or not _are_plain(map(type, params)):
            params = sqlite.plain(params)
        shown, monotonic = self._freshness.shown, self.monotonic
        now = monotonic()
        if terms is not self.plain or now >= shown.fresh_until or (shown.is_watched and self._look() != shown.stamp):
            shown = self._shown_for(terms)
            now = monotonic()
        try:
            idle = self.idle.pop()
        except IndexError:
            if not terms.read_only and sqlite.keyword(sql) in _CHANGING:
                raise WritesInstead from None
            idle = None
        reader = idle or self._new_reader()  # not above: its errors have nothing to do with that one
        try:
            known = reader.known.get(sql)
            connection = reader.connection
            if known is not None and connection.pinned is not shown.view:  # known still if the schema is the same
                known = self._pin_again(reader, sql, shown)
            is_plain = type(params) is tuple or type(params) in PLAIN_PARAMETERS
            if known is None or terms.cancel is not None or not is_plain:
                return self._run_first(sql, params, reader, shown, terms=terms)
            columns, at_once, described, _ = known
            reader.vfs.now_ms = None
            reader.guard.deadline = now + shown.timeout_s
            try:
                if (result_bytes := shown.result_bytes) <= _FULL_WORK_BYTES:
                    execute = reader.execute
                    rows = collect_rows(execute(sql, params), result_bytes, at_once)
                else:
                    rows = connection.collect(sql, params, result_bytes, at_once)
            except Exception as error:
                return self._run_again(sql, params, reader, shown, error=error)
        except SnapshotGone:
            self._branch.refresh()
            self._freshness.show()
            return self.query(sql, params, terms)
        if reader.foreign_keys is not self.foreign_keys:  # changed meanwhile
            connection.unpin()
        self.idle.append(reader)
        if self.is_closed:
            self.close_idle()
        result = _new(QueryResult)  # calling the class costs a read of one row 5 % more
        result.columns = columns
        result.rows = rows
        result._root = shown.root
        result._described = described
        result.rows_affected = 0
        result.last_insert_rowid = None
        result.meta = None
        result.stale_ms = None
        return result

    def _pin_again(self, reader: Reader, sql: str, shown: Shown) -> Known | None:
        """Show what is shown to a reader that showed another snapshot; what it still knows of a statement."""
        try:
            self._pin_view(reader, shown.view)
        except BaseException:
            reader.connection.unpin()
            self.give_back(reader)
            raise
        return reader.known.get(sql)

    def _shown_for(self, terms: Terms) -> Shown:
        """What a call is shown. Raises `Invalid` for its terms, and as `Freshness.current`."""
        self._check_open()
        shown = self._freshness.current(terms.consistency, terms.bookmark)
        return _with_limits(shown, terms)

    def query_at(self, snapshot: Snapshot, sql: str, params: Parameters, terms: Terms) -> QueryResult:
        """As `query`, on one version. Raises `NotFound`: it was collected meanwhile."""
        self._check_open()
        params = sqlite.plain(params)
        try:
            shown = _with_limits(self._freshness.shown_at(snapshot), terms)
            return self._run_first(sql, params, self._take_reader(snapshot), shown, terms=terms)
        except SnapshotGone as error:
            raise NotFound(f"version {snapshot.version} was collected: history is kept for a while only") from error

    def _run_again(
        self, sql: str, params: Parameters, reader: Reader, shown: Shown, *, error: Exception
    ) -> QueryResult:
        """After an error of the fast path: with care where that may be enough, else what the error means is raised."""
        if not isinstance(error, (sqlite.TooBigError, UnicodeError, *sqlite.MEMORY_ERRORS)):
            raise self._error_for_caller(sql, params, reader, error) from error
        if isinstance(error, sqlite.TooBigError):
            reader.connection.lengths.remember(sql)
        reader.known.pop(sql, None)
        reader.connection.unpin()
        return self._run_first(sql, params, reader, shown, terms=self.plain)

    def _new_reader(self) -> Reader:
        reader = Reader(self._connect())
        reader.connection.vfs.clock = self._now_ms
        return reader

    def _check_open(self) -> None:
        if self.is_closed:
            raise Invalid(f"database {self._branch.name!r} {self.why_closed}")

    def _run_first(self, sql: str, params: Parameters, reader: Reader, shown: Shown, *, terms: Terms) -> QueryResult:
        """A statement that this reader does not know, or a snapshot that it has not seen."""
        connection, cancel = reader.connection, terms.cancel
        try:
            self.prepare(reader, sql, shown, read_only=terms.read_only)
            if cancel:
                cancel.attach(connection)
            grew = cancel.grew if cancel else None
            budget = ResultBudget(shown.result_bytes, grew) if grew else shown.result_bytes
            described, rows = connection.fetch(sql, params, budget)
            return result_of(described, rows, shown.root)
        except SnapshotGone:
            connection.unpin()
            raise
        except TimedOut:
            if cancel:
                cancel.check()
            raise
        finally:
            if cancel:
                cancel.detach()
            connection.end_request()
            self.give_back(reader)

    def prepare(self, reader: Reader, sql: str, shown: Shown, *, read_only: bool = False) -> Statement:
        """Show what is shown, know the statement, and let its time begin. Raises `WritesInstead`."""
        connection = reader.connection
        if connection.pinned is not shown.view:
            self._pin_view(reader, shown.view)
        connection.guard.deadline = self.monotonic() + shown.timeout_s
        connection.lengths.allow(shown.result_bytes)
        statement = connection.prepare_single(sql)
        # a PRAGMA without an answer runs where others of its kind would take effect, unless only reads are allowed
        if not statement.read_only or (statement.keyword == "PRAGMA" and not statement.columns and not read_only):
            raise WritesInstead
        if (
            connection.lengths.is_hot(statement)
            and statement.columns
            and len(reader.known) < STATEMENTS_MAX
            and len(sql) <= STATEMENT_CHARS_KEPT
        ):
            at_once = rows_at_once(len(statement.columns), sqlite.HOT_VALUE_BYTES)
            pages = self._pages_here(statement, connection)
            reader.known[sql] = list(statement.columns), at_once, statement.described, pages
        connection.vfs.now_ms = None
        return statement

    def _pages_here(self, statement: Statement, connection: Connection) -> int:
        """For `here`: how large a database may be so that its steps say how long the statement takes."""
        if statement.functions & connection.own_functions:
            return -1
        return COUNTED_PAGES_MAX if "count" in statement.functions else _ANY_PAGES

    @property
    def shown_last(self) -> Shown:
        """What was shown last, whether or not it is still new enough."""
        return self._freshness.shown

    def shown_now(self) -> Shown | None:
        """What a read is shown without asking the store; None if it has to be confirmed first."""
        shown = self._freshness.shown
        if self.is_closed or self.monotonic() >= shown.fresh_until:
            return None
        is_newest = not shown.is_watched or self._look() == shown.stamp
        return shown if is_newest or self._branch.is_being_replaced(shown.root, shown.stamp) else None

    def _error_for_caller(self, sql: str, params: Parameters, reader: Reader, error: Exception) -> VirkeError:
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

    def rows(self, sql: str, params: Parameters, terms: Terms) -> Rows:
        """The rows of one reading statement, one at a time. Raises as `query`."""
        sqlite.check_text(sql)
        params = sqlite.plain(params)
        shown = self._shown_for(terms)
        reader = self._take_reader(shown.view)
        try:
            self.prepare(reader, sql, shown)
            return Rows(
                reader.connection,
                (sql, params),
                shown,
                done=lambda: self._end_request(reader),
                monotonic=self.monotonic,
                cancel=terms.cancel,
            )
        except SnapshotGone:
            reader.connection.unpin()
            self.give_back(reader)
            self._branch.refresh()
            self._freshness.show()
            return self.rows(sql, params, terms)
        except BaseException:
            self.give_back(reader)
            raise

    def _end_request(self, reader: Reader) -> None:
        reader.connection.end_request()
        self.give_back(reader)

    def describe(self, sql: str) -> Description:
        """What SQLite says of one statement on the state that is shown, without running it."""
        sqlite.check_text(sql)
        shown = self._shown_for(self.plain)
        reader = self._take_reader(shown.view)
        connection = reader.connection
        try:
            if connection.pinned is not shown.view:
                self._pin_view(reader, shown.view)
                connection.guard.deadline = self.monotonic() + shown.timeout_s
            return connection.prepare_single(sql).description
        except SnapshotGone:
            connection.unpin()
            self._branch.refresh()
            self._freshness.show()
        finally:
            connection.end_request()
            self.give_back(reader)
        return self.describe(sql)

    def _pin_view(self, reader: Reader, view: Pages) -> None:
        self._volume.memory.shown(self._volume.owner)
        reader.pin(view, foreign_keys=self.foreign_keys)

    def _take_reader(self, view: Pages) -> Reader:
        """A connection, one that shows `view` if one that does is idle."""
        return self.take_idle(view) or self._new_reader()

    def take_idle(self, view: Pages) -> Reader | None:
        """An idle connection, one that shows `view` if there is one; None if every one is busy."""
        try:
            if (reader := self.idle.pop()).connection.pinned is view:
                return reader
        except IndexError:
            return None
        self.idle.append(reader)
        for reader in reversed(self.idle.copy()):
            if reader.connection.pinned is view:
                with suppress(ValueError):  # another thread took it
                    self.idle.remove(reader)
                    return reader
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def use_foreign_keys(self, value: bool) -> None:
        """What `PRAGMA foreign_keys` reports from now on: connections are pinned again for it before their next read."""
        if value == self.foreign_keys:
            return
        self.foreign_keys = value
        for _ in range(len(self.idle)):
            with suppress(IndexError):  # a connection belongs to one thread at a time: those that are lent come back
                self.give_back(self.idle.pop(0))

    def give_back(self, reader: Reader) -> None:
        """Keep the connection for the next read, or close it."""
        if reader.foreign_keys is not self.foreign_keys:
            with suppress(VirkeError):
                reader.connection.unpin()
        if len(self.idle) < READERS_KEPT:
            self.idle.append(reader)
        else:
            reader.connection.close()
        if self.is_closed:
            self.close_idle()

    def close(self) -> None:
        """Close the idle connections, and the others when they come back."""
        self.is_closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that no call uses at this moment."""
        with suppress(IndexError):
            while True:
                self.idle.pop().connection.close()

    def shrink_idle(self) -> None:
        """Empty the page caches of the connections that no call uses at this moment."""
        for _ in range(len(self.idle)):
            with suppress(IndexError):
                reader = self.idle.pop(0)
                reader.connection.shrink()
                self.give_back(reader)


def _with_limits(shown: Shown, terms: Terms) -> Shown:
    """With the limits that a call asks for. Raises `Invalid`."""
    return shown if terms.timeout_ms is None and terms.result_bytes is None else shown.within(terms)
