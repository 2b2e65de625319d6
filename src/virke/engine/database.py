"""A database: what the public API, the command line and every server call. A facade: the work is done where it delegates.

Knows which part does what; knows no store's name, no file and no thread of its own.

1. Safe to share between threads: each call borrows a connection; writes queue in the writer.
2. A read is served from one snapshot that is at most `max_staleness_ms` old (`strong`: confirmed now), and never older
   than this process's own writes or the bookmark it was given.
3. A warm read asks the store nothing (B3).
4. A statement that writes, wherever it is sent, goes through the writer; where reads only are allowed it is `Denied`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Never, Self, TypeVar

from virke.core.collect import GRACE_MS
from virke.core.ids import MAIN_BRANCH, DatabaseId
from virke.core.settings import Settings
from virke.engine import schema, status
from virke.engine.assembly import assemble_parts
from virke.engine.branch import Branch
from virke.engine.entry import Flusher, Journal
from virke.engine.environment import Environment
from virke.engine.here import STEPS_MAX, query_here
from virke.engine.long_writes import LongWrite
from virke.engine.past_reads import WRITES
from virke.engine.programs import step_of_rows, steps_of
from virke.engine.readers import WritesInstead
from virke.engine.results import (
    Collected,
    Flushed,
    QueryResult,
    Request,
    SchemaEntry,
    Status,
    Upkept,
    receipted_result,
    requests_of,
)
from virke.engine.rows import Rows
from virke.engine.serving import Serving
from virke.engine.sqlite import Description, OnConnect, Parameters
from virke.engine.states import States
from virke.engine.terms import Cancel, Terms
from virke.engine.transaction import Transaction
from virke.errors import Denied, ReadOnly
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.bounded import bounded_store

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.room import Room

T = TypeVar("T")
_ALL: Final = Scope.ADMIN
_OF_PEP_249: Final = frozenset(
    "backup blobopen commit create_aggregate create_collation create_function cursor executescript in_transaction iterdump "
    "rollback row_factory set_trace_callback text_factory total_changes".split()
)


class _OfPep249:
    """An attribute that a database does not have; asked for, it names the module that has it.

    Not `__getattr__`: a class that has one finds all its other attributes slower, which a read would pay for.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Never:
        what = f"{owner.__name__!r} object has no attribute {self._name!r}"
        raise AttributeError(f"{what}: connections of PEP 249 are those of virke.dbapi.connect()")


class Database(States):
    """One database of a store. Open it with `virke.connect`; close it, or use it as a context manager."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        environment: Environment | None = None,
        journal: Journal | None = None,
        flusher: Flusher | None = None,
        upkeep_beside: bool = False,
        database_id: DatabaseId | None = None,
        branch: str = MAIN_BRANCH,
        read_only: bool = False,
        on_connect: OnConnect | None = None,
        room: Callable[[], Room] | None = None,
    ) -> None:
        self.name = name
        self._env = environment or Environment()
        allowed = store if self._env.allowance is None else bounded_store(store, self._env.allowance)
        at = Branch(allowed, name, self._env, branch=branch, database_id=database_id)
        self._parts = parts = assemble_parts(
            at,
            journal=journal,
            flusher=flusher,
            upkeep_beside=upkeep_beside,
            read_only=read_only,
            on_connect=on_connect,
            room=room,
        )
        self._branch, self._volume, self._committing = parts.branch, parts.volume, parts.committing
        self._readers, self._freshness, self._deferred = parts.readers, parts.freshness, parts.deferred
        self._writer, self._writes, self._upkeep = parts.writer, parts.writes, parts.upkeep
        self.serving = Serving(parts)

    def query(  # options are given by name, though Python would take them by place: checking that costs a read 7 %
        self,
        sql: str,
        params: Parameters = (),
        consistency: str | None = None,
        bookmark: str | None = None,
        meta: bool = False,
        read_only: bool = False,
        scope: Scope = _ALL,
        at: At | None = None,
        timeout_ms: int | None = None,
        cancel: Cancel | None = None,
    ) -> QueryResult:
        """Run one statement of any kind and return its rows; one that writes is a transaction of its own (`run`).

        `consistency` and `bookmark` override the database's setting, `timeout_ms` shortens it. With `read_only` a
        statement that writes is `Denied`; else it may do what `scope` allows. `at` reads an earlier state: a version, or a
        time (`core/moments` has the grammar). `cancel` lets another thread end the statement while it runs; a commit that
        has begun goes on. With `meta` the result carries a receipt of what it cost (`QueryResult.meta`).

        Raises:
            SqlError, Invalid, Denied, TimedOut, TooLarge, NotFound: nothing was changed.
            Unavailable: the store does not answer, or does not show the bookmark yet.
        """
        if meta:
            scope = Scope.READ if read_only else scope
            call = partial(self.query, sql, params, consistency=consistency, bookmark=bookmark, scope=scope)
            return receipted_result(partial(call, at=at, timeout_ms=timeout_ms, cancel=cancel), self._env.monotonic)
        terms, read_only = self._readers.plain, read_only or (scope is not _ALL and scope < Scope.WRITE)
        if consistency is not None or bookmark is not None or read_only or timeout_ms is not None or cancel is not None:
            terms = Terms(consistency, bookmark, timeout_ms, cancel, read_only=read_only or terms.read_only)
        try:
            if at is None:
                return self._readers.query(sql, params, terms)
            return self._readers.query_at(self.snapshot(at), sql, params, terms)
        except WritesInstead:
            if terms.read_only or at is not None:
                raise ReadOnly(WRITES) from None
        (cancel or Cancel()).check()
        return self._writes.run(steps_of([(sql, params)]), None, timeout_ms=timeout_ms, scope=scope, cancel=cancel)[0]

    def query_rows(
        self,
        sql: str,
        params: Parameters = (),
        *,
        consistency: str | None = None,
        bookmark: str | None = None,
        timeout_ms: int | None = None,
        cancel: Cancel | None = None,
    ) -> Rows:
        """The rows of one reading statement, one at a time: results of any size in bounded memory. Raises as `query`."""
        try:
            return self._readers.rows(sql, params, Terms(consistency, bookmark, timeout_ms, cancel))
        except WritesInstead:
            raise Denied("query_rows takes statements that read; use query or run") from None

    def query_here(
        self, sql: str, params: Parameters = (), *, bookmark: str | None = None, steps_max: int = STEPS_MAX
    ) -> QueryResult:
        """As `query`, from what is in memory and within about so many steps of SQLite, without waiting for anything.

        For servers: a warm read needs no thread. Raises `NotHere` where `query` has to be called; else as `query`.
        """
        return query_here(self._readers, sql, params, bookmark, steps_max=steps_max)

    def describe(self, sql: str) -> Description:
        """What SQLite says of one statement, without running it. Raises `SqlError`, `Invalid`, `Denied`."""
        return self._readers.describe(sql)

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """Run one statement as a transaction; returns the rows affected. Raises as `run`."""
        return self._writes.run(steps_of([(sql, params)]), idempotency_key, counts_only=True)[0].rows_affected

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """Run one statement of any kind as a transaction; with `meta` the result carries a receipt.

        Repeated with its `idempotency_key` within a day it is not run again, and answered as the first time.

        Raises:
            SqlError, Invalid, Denied, TimedOut, TooLarge: nothing was changed.
            Conflict: the race was lost `max_attempts` times; nothing was changed, run it again.
            Unavailable: the store did not take it; nothing was changed.
            OutcomeUnknown: it may be in history; ask the data.
        """
        return self._writes.run(steps_of([(sql, params)]), idempotency_key, meta=meta)[0]

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """Run `;`-separated statements as one transaction: rows of the last, sum of rows affected. Raises as `run`."""
        return self._writes.run(steps_of([(sql, params)], is_script=True), idempotency_key, meta=meta)[0]

    def batch(
        self,
        statements: Sequence[str | Request],
        *,
        idempotency_key: str | None = None,
        meta: bool = False,
        at: At | None = None,
    ) -> list[QueryResult]:
        """Run statements as one transaction, all or nothing; one result, and one receipt, for each. Raises as `run`.

        With `at` they read one earlier state (`query`), and may not write.
        """
        if at is not None:
            return self._parts.batch_at(requests_of(statements), at, key=idempotency_key, meta=meta)
        steps = steps_of(requests_of(statements))
        return self._writes.run(steps, idempotency_key, meta=meta) if steps else []

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """Run one statement with each row of parameters as one transaction; returns the rows affected. Raises as `run`."""
        step = step_of_rows(sql, rows)
        return self._writes.run((step,), idempotency_key, counts_only=True)[0].rows_affected if step.rows else 0

    @property
    def foreign_keys(self) -> bool:
        """Whether the next write checks foreign keys: what `PRAGMA foreign_keys` set here, else the database's setting."""
        return self._writes.foreign_keys

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
        scope: Scope = Scope.ADMIN,
    ) -> Transaction:
        """Begin an interactive transaction on the newest state; see `Transaction`. Raises `Unavailable`.

        With `read_only` (or a `scope` that only reads) it sees what reads see, asks as little, and makes no writer wait.
        With `immediate` it waits for other writers at once, as BEGIN IMMEDIATE does; else at its first write.
        """
        return self._writes.transaction(
            key=idempotency_key, read_only=read_only, immediate=immediate, foreign_keys=foreign_keys, scope=scope
        )

    def run_transaction(self, fn: Callable[[Transaction], T], *, idempotency_key: str | None = None) -> T:
        """Run `fn(transaction)` and commit; again after a `Conflict`, at most `max_attempts` times. Returns its result.

        `fn` may run several times, so it should change nothing outside of the transaction. Raises what `fn` raises.
        """
        return self._writes.run_transaction(fn, key=idempotency_key)

    def long_write(self) -> LongWrite:
        """A write whose pages are made outside and committed by its `commit_pages`; it gets through (`LongWrite`)."""
        return self._parts.long_write()

    def flush(self) -> Flushed:
        """Push all pending writes to the store. Raises `Unavailable`, `Conflict`, `OutcomeUnknown`; nothing is lost."""
        return self._writes.flush()

    def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """The schema, in an order that can be replayed; of one table or view if named. Raises `NotFound`."""
        return schema.schema_entries(self.query(schema.QUERY).rows, table)

    @property
    def known_settings(self) -> Settings:
        """The settings as of the newest root known, without asking the store."""
        return self._branch.latest().root.settings

    def settings(self) -> Settings:
        """The settings as the store has them now."""
        return self._branch.refresh().root.settings

    def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """Change settings for every node. Raises `Invalid` (it lists the valid ones); then nothing was changed."""
        self._writes.check_allowed()
        settings = self._upkeep.change_settings(lambda now: now.changed(changes))
        self._parts.after_commit()
        return settings

    def promote(self, progress: Callable[[int, int], None] | None = None) -> Status:
        """Move the database to object storage; readers and writers go on. Raises `Conflict`, `NotFound`."""
        self._parts.promote(progress)
        return self.status()

    def collect(self, *, dry_run: bool = False, grace_ms: int = GRACE_MS) -> Collected:
        """Delete what nothing needs any more, killed writers' leftovers included; `dry_run` only says what."""
        return self._parts.collect(dry_run=dry_run, grace_ms=grace_ms)

    @property
    def on_connect(self) -> OnConnect | None:
        """The hook that every connection of this database is given to."""
        return self._parts.on_connect

    def status(self, *, history: bool = True) -> Status:
        """The state of the database, as the store has it now; without `history`, and with fewer reads, of its newest version."""
        return status.status_of(
            self._volume, self._upkeep, self._deferred, conflicts=self._writer.conflicts, history=history
        )

    def upkeep(self, limit: int | None = 1) -> Upkept:
        """Do upkeep in at most `limit` steps (None: all); says what is still due. Raises `Unavailable`: repeat it."""
        return self._parts.tend(limit)

    @property
    def upkeep_due(self) -> tuple[str, ...]:
        """What is due, if it is for users of this object to do; asks the store nothing. Words as in `Upkept`."""
        return self._upkeep.due() if self._upkeep.is_asked_for else ()

    def close(self, *, push: bool = True) -> None:
        """Push pending writes (unless asked not to) and release connections; harmless when closed."""
        self._parts.close(push=push)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()


for _name in _OF_PEP_249:  # not in the class: a type checker shall go on to say which names there are
    setattr(Database, _name, _OfPep249(_name))
