"""One request's session with its database: what its visitor wrote before is seen, and what it writes is remembered.

Synchronous, for any number of threads of one request. Knows databases; knows no HTTP.

1. No read is older than the bookmark that the visitor brought. It is met once, before the first read; a bookmark that is
   garbled, of another database, or not shown in time is dropped, and never an error.
2. `wrote` has the bookmark of the newest write of this request; None if it wrote nothing.
3. Nothing of it outlives the request: what a connection would remember (`PRAGMA foreign_keys`) is refused.
4. A database that the request chose and that is not there is the visitor's error (`NoTenant`), as one that can't be (`WrongValue`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from virke.api.hrana.sql import ForeignKeys, control_of, only_reads, verb_of
from virke.core.ids import check_name
from virke.engine.results import mark_in, requests_of
from virke.engine.sqlite import check_text, split
from virke.errors import Deleted, Invalid, NotFound, Unavailable, UsageError, WrongValue
from virke.runtime.answers import NoTenant
from virke.runtime.opened import Opened

if TYPE_CHECKING:
    from virke.aio import AsyncDatabase
    from virke.engine.database import Database
    from virke.engine.results import QueryResult, Request
    from virke.engine.sqlite import Parameters

Choose = Callable[[], str]
BOOKMARK_CHARS_MAX: Final = 256


class Session:
    """What one request knows of its database."""

    def __init__(self, opened: Opened, name: str | Choose | None, bookmark: str | None = None) -> None:
        """`name` is a database's, or what chooses it when it is needed, or None: the configured one."""
        self._opened = opened
        self._given = name
        self._chosen: str | None = None
        self._visitors = _valid_bookmark(bookmark)
        self._reaching = threading.Lock()
        self._writing = threading.Lock()
        self.wrote: str | None = None

    # Its database

    @property
    def name(self) -> str | None:
        """The name of its database; None: the configured one. Raises `WrongValue`, and what the function that chooses it raises."""
        if not callable(self._given):
            return self._given
        if self._chosen is None:
            chosen = self._given()
            if not isinstance(chosen, str):
                raise UsageError(f"the function `db` must return the name of a database, not {chosen!r}")
            try:
                self._chosen = check_name(chosen)
            except Invalid as error:
                raise WrongValue(error.message) from error
        return self._chosen

    @property
    def is_open(self) -> bool:
        """Whether its database is open in this process."""
        return self._opened.is_open(self.name)

    @contextmanager
    def borrowed(self) -> Iterator[AsyncDatabase]:
        """Its database, which is opened if need be and stays open meanwhile. Raises as `virke.connect`, and `NoTenant`."""
        name = self.name
        try:
            database = self._opened.take(name)
        except NotFound as error:
            if callable(self._given):
                raise NoTenant(f"there is no database {name!r}") from error
            raise
        try:
            yield database
        except Deleted:
            self._opened.forget(name, database)
            raise
        finally:
            self._opened.give_back(database)

    def open(self) -> None:
        """Open its database, if it is not open. Raises as `borrowed`."""
        with self.borrowed():
            return

    # Its bookmarks

    def is_behind_bookmark(self, database: Database) -> bool:
        """Whether the visitor's bookmark has to be met before a read."""
        return self._visitors is not None and _is_newer(self._visitors, database.bookmark)

    def reach_bookmark(self, database: Database) -> None:
        """Make the state known that the visitor's bookmark names, or drop the bookmark."""
        if self._visitors is None:
            return
        with self._reaching:
            if self.is_behind_bookmark(database):
                with suppress(Invalid, Unavailable):  # promise 1
                    database.query("SELECT 1", bookmark=self._visitors)
            self._visitors = None

    def wrote_at(self, bookmark: str) -> None:
        """A write of this request is in this state."""
        with self._writing:
            if self.wrote is None or bookmark > self.wrote:
                self.wrote = bookmark

    # Statements

    def query(self, database: Database, sql: str, params: Parameters, terms: Mapping[str, Any]) -> QueryResult:
        """Run one statement of any kind, on terms that `Database.query` has."""
        check_lasts_no_longer(sql)
        self.reach_bookmark(database)
        before = database.version
        result = database.query(sql, params, **terms)
        self._note_write([sql], result, before)
        return result

    def write(self, database: Database, sql: str, work: Callable[[], QueryResult]) -> QueryResult:
        """Do what runs this statement, or script, as a transaction."""
        check_lasts_no_longer(sql)
        before = database.version
        result = work()
        self._note_write([text for _, text in split(sql)], result, before)
        return result

    def batch(self, database: Database, statements: Sequence[str | Request], key: str | None) -> list[QueryResult]:
        """Run statements as one transaction."""
        sqls = [sql for sql, _ in requests_of(statements)]
        check_lasts_no_longer(*sqls)
        before = database.version
        results = database.batch(statements, idempotency_key=key)
        for result in results:
            self._note_write(sqls, result, before)
        return results

    def executemany(self, database: Database, sql: str, rows: Iterable[Parameters], key: str | None) -> int:
        """Run one statement with each row of parameters as one transaction."""
        check_lasts_no_longer(sql)
        affected = database.executemany(sql, rows, idempotency_key=key)
        if affected:
            self.wrote_at(database.bookmark)
        return affected

    def _note_write(self, sqls: Sequence[str], result: QueryResult, before: int) -> None:
        """Remember what was written, if anything was: rows, or another version than was known before."""
        if (result.rows_affected or result.version > before) and not all(only_reads(verb_of(sql)) for sql in sqls):
            self.wrote_at(result.bookmark)

    def ended(self, database: Database, version: int, began_at: int) -> None:
        """A transaction that began at one version was committed at another, or at the same."""
        if version > began_at:
            self.wrote_at(database.bookmark)


def check_lasts_no_longer(*sqls: str) -> None:
    """Raise `Invalid` for what would change a connection beyond this request: rule 3."""
    for sql in sqls:
        check_text(sql)
        if "foreign_keys" in sql.lower():
            for _, one in split(sql):
                match control_of(one):
                    case ForeignKeys(bool()):
                        raise Invalid(
                            "PRAGMA foreign_keys would hold for other requests too",
                            hint="db.transaction(foreign_keys=False), or the database's setting foreign_keys",
                        )


def _valid_bookmark(bookmark: str | None) -> str | None:
    """A bookmark that can be one; None otherwise."""
    if bookmark is None or len(bookmark) > BOOKMARK_CHARS_MAX or not bookmark.isascii():
        return None
    with suppress(Invalid):
        mark_in(bookmark)
        return bookmark
    return None


def _is_newer(one: str, known: str) -> bool:
    """Whether a bookmark names a later state of the same branch; they are sortable."""
    return one.partition(".")[0] == known.partition(".")[0] and one > known
