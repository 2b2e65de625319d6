"""Answers from what is in memory, within so many steps: what a server may ask on its event loop, without a thread.

Knows the readers of a database and described statements; knows no store.

1. It never waits: it asks no store, starts no connection, and does not wait for frames that are on their way.
2. What can't be answered so raises `NotHere`, whatever the reason; the same call of `query` answers it then.
3. It runs only statements whose length SQLite's steps measure: none with the application's own functions, with values
   that need care, or that count the pages of a large table in one step.
4. Whatever it raised, the connection serves the next call.
5. Where what is shown has to be confirmed first, it says only whether the statement writes: a write confirms it by itself.
6. A statement that its first word says to write is `NotHere(writes=True)` before anything is looked at: not even a
   connection has to be idle for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from virke.core.lineage import Behind, Contradicts, held_against
from virke.engine import sqlite
from virke.engine.connection import STATEMENT_CHARS_KEPT
from virke.engine.freshness import Shown
from virke.engine.reader import Known, Reader
from virke.engine.readers import PLAIN_PARAMETERS, Readers, WritesInstead
from virke.engine.results import QueryResult, mark_in
from virke.engine.snapshot import SnapshotGone
from virke.errors import Invalid, NotHere, TimedOut, VirkeError

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameters

STEPS_MAX: Final = 10_000
"""About a millisecond."""
PAGES_MAX: Final = 256
"""Pages that one answer may take from the cache of frames; SQLite's own page cache is not counted."""


_WRITES: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"})
_FIRST_LETTERS: Final = frozenset("IiRrUuDdCcAa")


def surely_writes(sql: str) -> bool:
    """Whether the first word of a statement says that it writes."""
    return sql[:1] in _FIRST_LETTERS and sqlite.keyword(sql) in _WRITES


def query_here(
    readers: Readers, sql: str, params: Parameters, bookmark: str | None = None, *, steps_max: int = STEPS_MAX
) -> QueryResult:
    """Run one reading statement on what is shown; its rows.

    Raises:
        NotHere: it would have to wait, or takes too long for that.
        SqlError, Invalid, TooLarge: as `query`.
    """
    sqlite.check_text(sql)
    params = sqlite.plain(params)
    if type(steps_max) is not int or steps_max < 1:
        raise Invalid(f"steps_max must be a number from 1 on, not {steps_max!r}")
    if surely_writes(sql):
        raise NotHere("the statement writes", writes=True)
    shown = readers.shown_now()
    is_confirmed = shown is not None
    if shown is None or (bookmark is not None and not _is_shown(bookmark, shown)):
        if bookmark is not None or readers.is_closed:
            raise _unconfirmed_error()
        shown = readers.shown_last
    if len(sql) > STATEMENT_CHARS_KEPT:
        raise NotHere("the statement is long")
    reader = readers.take_idle(shown.view)
    if reader is None:
        raise NotHere("every connection is busy")
    connection = reader.connection
    connection.file.pages_left = PAGES_MAX
    connection.guard.count_steps(steps_max)
    try:
        columns, at_once, described, _ = _known_statement(readers, reader, sql, shown)
        if not is_confirmed:
            raise _unconfirmed_error()
        connection.guard.deadline = readers.monotonic() + shown.timeout_s
        connection.vfs.now_ms = None
        if type(params) not in PLAIN_PARAMETERS:
            sqlite.check_parameters(connection.prepare_single(sql), params)
        try:
            rows = connection.collect(sql, params, shown.result_bytes, at_once)
        except sqlite.FAILURES as error:
            failed = connection.failed(error)
            sqlite.check_parameters(connection.prepare_single(sql), params)  # what does not fit is named
            raise failed from error
        return QueryResult(columns.copy(), rows, shown.root, described)
    except (WritesInstead, SnapshotGone, TimedOut, VirkeError) as error:
        connection.file.failure = None  # `schema_cookie` reads a page outside of SQLite
        meant = _meaning_of_error(error, connection.guard)
        raise (meant if is_confirmed or isinstance(error, WritesInstead) else _unconfirmed_error()) from error
    finally:
        connection.file.pages_left = None
        connection.guard.count_no_more()
        if connection.pinned is None:
            connection.unpin()
        connection.end_request()
        readers.give_back(reader)


def _unconfirmed_error() -> NotHere:
    return NotHere("the newest state has to be confirmed")


def _known_statement(readers: Readers, reader: Reader, sql: str, shown: Shown) -> Known:
    """What is known of the statement, once the snapshot is pinned. Raises `NotHere`: it is not for an answer from here."""
    if sql not in reader.known or reader.connection.pinned is not shown.view:
        readers.prepare(reader, sql, shown)
    known = reader.known.get(sql)
    if known is None or shown.view.head.page_count > known[3]:
        raise NotHere("how long the statement takes can't be known")
    return known


def _meaning_of_error(error: Exception, guard: sqlite.Guard) -> VirkeError:
    """What an error is to the caller."""
    needs_care = isinstance(error.__cause__, (sqlite.TooBigError, UnicodeError, *sqlite.MEMORY_ERRORS))
    if isinstance(error, WritesInstead):
        return NotHere("the statement writes", writes=True)
    if isinstance(error, NotHere) or not isinstance(error, VirkeError):
        return NotHere(str(error))
    if guard.ran_out or needs_care or error.is_stores or isinstance(error, TimedOut | SnapshotGone):
        return NotHere(error.message)
    return error


def _is_shown(bookmark: str, shown: Shown) -> bool:
    """Whether the state that is shown holds that of the bookmark. Raises `Invalid`: it is not a bookmark."""
    name, mark = mark_in(bookmark)
    return name == shown.root.branch and not isinstance(held_against(mark, shown.root), Behind | Contradicts)
