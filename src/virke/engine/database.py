"""A database: what the public API, the command line and every server call.

Knows the volume, its connections, the writer and upkeep; knows no store's name, no file and no thread of its own.

1. Safe to share between threads: each call borrows a connection; writes queue in the writer.
2. A read is served from one snapshot that is at most `max_staleness_ms` old (`strong`: confirmed now), and never older
   than this process's own writes or the bookmark it was given.
3. A warm read asks the store nothing (B3).
4. A statement that writes, wherever it is sent, goes through the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

from virke.core.collect import GRACE_MS
from virke.core.ids import MAIN_BRANCH, DatabaseId
from virke.core.root import Root
from virke.core.settings import Settings
from virke.engine import schema, sqlite, status, upkeep
from virke.engine.branch import Branch
from virke.engine.budget import collect_rows
from virke.engine.committing import Committing
from virke.engine.connection import STATEMENT_CHARS_KEPT, STATEMENTS_MAX, Connection
from virke.engine.deferred import Deferred, Journal, push_all
from virke.engine.environment import Environment
from virke.engine.results import (
    Collected,
    Flushed,
    QueryResult,
    Request,
    SchemaEntry,
    Status,
    bookmark_of,
)
from virke.engine.sqlite import Parameters
from virke.engine.streaming import PageStream, base_of
from virke.engine.transaction import Transaction
from virke.engine.view import Shown, View
from virke.engine.volume import Snapshot, SnapshotGone, Volume
from virke.engine.writer import Write, Writer, hash_key, stands_alone
from virke.errors import Invalid
from virke.stores.base import Store
from virke.stores.receipt import Receipt, current, writing

READERS_KEPT: Final = 16
TRANSACTION_CONNECTIONS_KEPT: Final = 4
_PLAIN_PARAMETERS: Final = frozenset({tuple, list, dict})


_Reader = tuple[Connection, dict[str, list[str]]]
"""A connection, and the columns of the statements that it ran on its pinned view."""


class Database:
    """One database of a store. Open it with `virke.connect`; close it, or use it as a context manager."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        environment: Environment | None = None,
        journal: Journal | None = None,
        on_close: Callable[[], None] | None = None,
        upkeep_beside: bool = False,
        database_id: DatabaseId | None = None,
        branch: str = MAIN_BRANCH,
    ) -> None:
        self.name = name
        self._on_close = on_close
        self._env = environment or Environment()
        self._monotonic = self._env.monotonic
        self._now_ms = self._env.now_ms
        self._volume = Volume(Branch(store, name, self._env, branch=branch, database_id=database_id))
        self._volume.branch.refresh()
        self._committing = Committing(self._volume)
        self._writer = Writer(self._volume, self._committing, self._connection)
        self._upkeep = upkeep.Upkeep(self._volume, self._committing, self._env.spawn if upkeep_beside else None)
        self._deferred = (
            Deferred(self._volume, self._committing, self._writer, journal=journal, connect=self._connection)
            if journal
            else None
        )
        self._readers: list[_Reader] = []
        self._writers: list[Connection] = []
        self._closed = False
        self._view = View(self._volume, self._committing, self._deferred)

    # Reading

    def query(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        bookmark: str | None = None,
        meta: bool = False,
    ) -> QueryResult:
        """Run one statement and return its rows; `consistency` and `bookmark` override the database's setting.

        With `meta` the result carries a receipt of what it cost (`QueryResult.meta`).

        Raises:
            SqlError, Invalid, Denied, TimedOut, TooLarge: nothing was changed.
            Unavailable: the store does not answer, or does not show the bookmark yet.
        """
        shown = self._view.shown
        now = self._monotonic()
        if type(sql) is not str:
            sqlite.check_text(sql)
        if meta:
            receipt = Receipt()
            with writing(receipt):
                result = self.query(sql, params, consistency=consistency, bookmark=bookmark)
            return result.charged(receipt, self._monotonic() - now)
        if now >= shown.fresh_until or consistency is not None or bookmark is not None:
            self._check_open()
            shown = self._view.freshen(consistency, bookmark)
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = (self._connection(), {})
        connection, known = reader
        columns = known.get(sql)
        if columns is None or connection.pinned is not shown.view or type(params) not in _PLAIN_PARAMETERS:
            return self._query_first(sql, params, reader, shown)
        connection.vfs.now_ms = self._now_ms()
        connection.guard.deadline = now + shown.timeout_s
        try:
            cursor = connection.raw.execute(sql, params)
            rows = collect_rows(cursor, shown.result_bytes)
        except Exception as error:
            return self._query_failed(sql, params, reader, error)
        self._readers.append(reader)
        if self._closed:
            self._close_readers()
        return QueryResult(columns, rows, shown.root)

    def _query_first(self, sql: str, params: Parameters, reader: _Reader, shown: Shown) -> QueryResult:
        """A statement that this reader does not know, or a snapshot that it has not seen."""
        connection, known = reader
        try:
            if connection.pinned is not shown.view:
                known.clear()
                connection.pin(shown.view)
            connection.guard.allow_transactions = False
            connection.limit_values(shown.result_bytes)
            statement = connection.prepare_single(sql)
            if not statement.read_only or (statement.keyword == "PRAGMA" and not statement.columns):
                return self.run(sql, params)
            connection.vfs.now_ms = self._now_ms()
            connection.guard.deadline = self._monotonic() + shown.timeout_s
            columns, rows = connection.fetch(sql, params, shown.result_bytes)
            if connection.is_hot(statement) and len(known) < STATEMENTS_MAX and len(sql) <= STATEMENT_CHARS_KEPT:
                known[sql] = columns
            return QueryResult(columns, rows, shown.root)
        except SnapshotGone:
            connection.unpin()
            self._volume.branch.refresh()
            self._view.show()
            return self.query(sql, params)
        finally:
            connection.end_request()
            self._give_back(reader)

    def _query_failed(self, sql: str, params: Parameters, reader: _Reader, error: Exception) -> QueryResult:
        """Translate an error of the fast path; a collected snapshot or an unchecked parameter starts over."""
        connection, known = reader
        known.pop(sql, None)
        if isinstance(error, (sqlite.TooBigError, *sqlite.MEMORY_ERRORS)):
            if isinstance(error, sqlite.TooBigError):
                connection.remember_long(sql)
            connection.unpin()
            return self._query_first(sql, params, reader, self._view.shown)
        failure, connection.file.failure = connection.file.failure, None
        if isinstance(error, SnapshotGone):
            connection.unpin()
            self._give_back(reader)
            self._volume.branch.refresh()
            self._view.show()
            return self.query(sql, params)
        try:
            sqlite.check_parameters(connection.prepare_single(sql), params)
            raise (failure or sqlite.translate(error, connection.guard, sql)) from error
        finally:
            self._give_back(reader)

    def _give_back(self, reader: _Reader) -> None:
        if len(self._readers) < READERS_KEPT:
            self._readers.append(reader)
        else:
            reader[0].close()
        if self._closed:
            self._close_readers()

    def _close_readers(self) -> None:
        with suppress(IndexError):
            while True:
                self._readers.pop()[0].close()

    def _check_open(self) -> None:
        if self._closed:
            raise Invalid(f"database {self.name!r} is closed")

    # Writing

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """Run one statement as a transaction; returns the rows affected. Raises as `run`."""
        return self.run(sql, params, idempotency_key=idempotency_key).rows_affected

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """Run one statement of any kind as a transaction; with `meta` the result carries a receipt.

        Raises:
            SqlError, Invalid, Denied, TimedOut, TooLarge: nothing was changed.
            Conflict: the race was lost `max_attempts` times; nothing was changed, run it again.
            Unavailable: the store did not take it; nothing was changed.
            OutcomeUnknown: it may be in history; ask the data.
        """
        return self._write([(sql, params)], idempotency_key, meta=meta)[0]

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """Run `;`-separated statements as one transaction: rows of the last, sum of rows affected. Raises as `run`."""
        return self._write([(sql, params)], idempotency_key, script=True, meta=meta)[0]

    def batch(
        self, statements: Sequence[str | Request], *, idempotency_key: str | None = None, meta: bool = False
    ) -> list[QueryResult]:
        """Run statements as one transaction, all or nothing; one result, and one receipt, for each. Raises as `run`.

        Repeated with its idempotency key, it is answered by a single result with the sum of rows affected.
        """
        requests = [_request(item) for item in statements]
        return self._write(requests, idempotency_key, meta=meta) if requests else []

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """Run one statement with each row of parameters as one transaction; returns the rows affected. Raises as `run`."""
        requests = [(sql, row) for row in rows]
        return self._write(requests, idempotency_key, many=True)[0].rows_affected if requests else 0

    def _write(
        self,
        requests: Sequence[Request],
        key: str | None,
        *,
        script: bool = False,
        many: bool = False,
        meta: bool = False,
    ) -> list[QueryResult]:
        self._check_open()
        for sql, _ in requests:
            sqlite.check_text(sql)
        write = Write(requests, self._now_ms(), hash_key(key) if key else None, script=script, many=many)
        write.receipt = Receipt() if meta else current()
        began = self._monotonic()
        if self._is_deferred() and self._deferred and not stands_alone(requests):
            with writing(write.receipt):
                results = self._deferred.submit(write)
            elapsed_s = self._monotonic() - began
            self._view.show_if_possible()
        else:
            with writing(write.receipt):
                self._push_pending()
            results = self._writer.submit(write)
            elapsed_s = self._monotonic() - began
            self._after_commit()
        results = results or [QueryResult([], [], self._view.shown.root)]
        return [result.charged(write.receipt, elapsed_s) for result in results] if meta and write.receipt else results

    def _after_commit(self) -> None:
        self._upkeep.after_commit()
        self._view.show_if_possible()

    @property
    def foreign_keys(self) -> bool:
        """Whether foreign keys are checked: what `PRAGMA foreign_keys` set last."""
        return self._writer.foreign_keys

    def transaction(self, *, idempotency_key: str | None = None, foreign_keys: bool | None = None) -> Transaction:
        """Begin an interactive transaction on the newest state; see `Transaction`. Raises `Unavailable`.

        `foreign_keys` says whether keys are checked in it; None: as in the database's other transactions.
        """
        self._check_open()
        self._push_pending()
        base = self._volume.branch.refresh()
        try:
            connection = self._writers.pop()
        except IndexError:
            connection = self._connection()
        connection.unpin()
        connection.limit_values(base.root.settings.max_result_mb << 20)
        connection.raw.pragma("foreign_keys", self.foreign_keys if foreign_keys is None else foreign_keys)
        key = hash_key(idempotency_key) if idempotency_key else None
        return Transaction(
            self._volume, self._writer, self._committing, connection, base=base, done=self._transaction_done, key=key
        )

    def _transaction_done(self, connection: Connection) -> None:
        if len(self._writers) < TRANSACTION_CONNECTIONS_KEPT and not self._closed:
            self._writers.append(connection)
        else:
            connection.close()
        if not self._closed:
            self._after_commit()

    def commit_pages(
        self,
        base: Snapshot,
        *,
        page_size: int,
        page_count: int,
        pages: Iterable[tuple[int, bytes]],
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Commit a stream of changed pages, ascending, as one version; returns it.

        A changed page size, or an empty base, needs every page but the lock page.

        Raises:
            Conflict: the database moved past `base`. Unavailable: the store failed. Nothing was changed.
        """
        with self._committing.lead:
            stream = PageStream(
                self._volume, self._committing, base_of(self._volume, base), page_size=page_size, page_count=page_count
            )
            version = stream.commit(pages, progress)
        self._after_commit()
        return version

    # Deferred writes

    def _is_deferred(self) -> bool:
        return self._deferred is not None and self.known_settings.durability == "deferred"

    def _push_pending(self) -> None:
        """Order: what is pending comes before a write that goes straight to the store."""
        if self._deferred and self._deferred.journal.pending_count():
            push_all(self._deferred)

    def flush(self) -> Flushed:
        """Push all pending writes to the store. Raises `Unavailable`, `Conflict`, `OutcomeUnknown`; nothing is lost."""
        if self._deferred is None:
            return Flushed(0, 0, self.version)
        flushed = push_all(self._deferred)
        self._after_commit()
        return flushed

    # Looking at it

    @property
    def version(self) -> int:
        """The newest version that this process knows."""
        return self._volume.branch.latest().root.head.version

    @property
    def bookmark(self) -> str:
        """The bookmark of `version`."""
        return bookmark_of(self._volume.branch.latest().root)

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The whole database as of now, confirmed by the store, or as of an earlier version. Raises `NotFound`."""
        self._push_pending()
        self._volume.branch.refresh()
        return self._volume.snapshot() if version is None else self._volume.snapshot_at(version)

    def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """The schema, in an order that can be replayed; of one table or view if named. Raises `NotFound`."""
        return schema.entries(self.query(schema.QUERY).rows, table)

    @property
    def known_settings(self) -> Settings:
        """The settings as of the newest root known, without asking the store."""
        return self._volume.branch.latest().root.settings

    def settings(self) -> Settings:
        """The settings as this process knows them."""
        return self._volume.branch.refresh().root.settings

    def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """Change settings for every node. Raises `Invalid` (it lists the valid ones); then nothing was changed."""
        settings = self._upkeep.change_settings(lambda now: now.changed(changes))
        self._after_commit()
        return settings

    def promote(self, progress: Callable[[int, int], None] | None = None) -> Status:
        """Move the database to object storage; readers and writers go on. Raises `Conflict`, `NotFound`."""
        self._push_pending()
        self._upkeep.promote(progress)
        self._view.show_if_possible()
        return self.status()

    def collect(self, *, dry_run: bool = False, grace_ms: int = GRACE_MS) -> Collected:
        """Delete what nothing needs any more, killed writers' leftovers included; `dry_run` only says what."""
        return self._upkeep.collect(dry_run=dry_run, grace_ms=grace_ms)

    def status(self) -> Status:
        """The state of the database, as the store has it now; pending writes are counted, not pushed."""
        return status.of(self._volume, self._upkeep.error, self._deferred, self._writer.conflicts)

    # Connections

    def _connection(self) -> Connection:
        try:
            return self._connection_on(self._volume.branch.latest().root)
        except SnapshotGone:
            return self._connection_on(self._volume.branch.refresh().root)

    def _connection_on(self, root: Root) -> Connection:
        return Connection(
            self._volume.snapshot_of(root),
            value_bytes_max=root.settings.max_result_mb << 20,
            monotonic=self._monotonic,
        )

    def close(self, *, push: bool = True) -> None:
        """Push pending writes (unless told not to) and release connections; harmless when closed."""
        if self._closed:
            return
        if self._on_close:
            self._on_close()
        try:
            if push:
                self._push_pending()
        finally:
            self._upkeep.finish()
            self._closed = True
            self._view.close()
            self._writer.close()
            if self._deferred:
                self._deferred.close()
            self._close_readers()
            while self._writers:
                self._writers.pop().close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _request(item: str | Request) -> Request:
    match item:
        case str():
            return item, ()
        case (_, _):
            return item
        case _:
            raise Invalid("a batch takes texts, and pairs of a text and its parameters")
