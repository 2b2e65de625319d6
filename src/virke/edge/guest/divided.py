"""A database of a program whose writes go through a node: what reads is done here, what writes there.

Knows both sides as databases, and which statements certainly read. A facade: the work is done where it delegates.

1. A read sees what this sandbox wrote through the node: it carries the bookmark of the node's last answer until this side shows
   that state. What a visitor wrote is in the bookmark that the program brings.
2. What certainly writes is never tried here. What may write is tried here as a read; only if SQLite says that it writes is it
   sent. So is a read that is too large here.
3. A transaction that may write is the node's, and so is all that is read in it.
4. The node is asked by the first call that needs it, and by none before.
5. It is a `Database` for its type alone: no line of that runs for it, and every public method is here (a test says so).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from virke.api.hrana.sql import only_reads, verb_of
from virke.client.database import RemoteDatabase
from virke.client.node import Node
from virke.core.collect import GRACE_MS
from virke.core.settings import Settings
from virke.edge.guest.words import READS
from virke.engine.database import Database
from virke.engine.here import STEPS_MAX
from virke.engine.results import (
    Collected,
    Diff,
    Flushed,
    QueryResult,
    Request,
    Restored,
    SchemaEntry,
    Status,
    Upkept,
    VersionEntry,
    requests_of,
)
from virke.engine.rows import Rows
from virke.engine.snapshot import Snapshot
from virke.engine.sqlite import Description, OnConnect, Parameters, keyword
from virke.engine.terms import Cancel
from virke.engine.transaction import Transaction
from virke.errors import NotHere, ReadOnly, TimedOut, TooLarge
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.long_writes import LongWrite
    from virke.engine.verifying import Verified

T = TypeVar("T")


class DividedDatabase(Database):
    """Reads of `here`, and writes through a node."""

    def __init__(self, here: Database, node: Node) -> None:
        self.name = here.name
        self._here = here
        self._there = RemoteDatabase(node, here.name, asks=False)

    def __repr__(self) -> str:
        return f"DividedDatabase({self.name!r})"

    # What reads

    def query(
        self,
        sql: str,
        params: Parameters = (),
        consistency: str | None = None,
        bookmark: str | None = None,
        meta: bool = False,
        read_only: bool = False,
        scope: Scope = Scope.ADMIN,
        at: At | None = None,
        timeout_ms: int | None = None,
        cancel: Cancel | None = None,
    ) -> QueryResult:
        """See `Database.query`. Raises as `RemoteDatabase.query`, where it is sent."""
        must_read = read_only or at is not None
        seen = bookmark if at is not None else self._newest(bookmark)
        if must_read or keyword(sql) in READS:
            try:
                return self._here.query(
                    sql,
                    params,
                    consistency=consistency,
                    bookmark=seen,
                    meta=meta,
                    read_only=True,
                    scope=scope,
                    at=at,
                    timeout_ms=timeout_ms,
                    cancel=cancel,
                )
            except ReadOnly:
                if must_read:
                    raise
            except (TooLarge, TimedOut):
                if at is not None:
                    raise
        return self._there.query(sql, params, consistency, bookmark, meta, read_only, scope, at, timeout_ms, cancel)

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
        """See `Database.query_rows`."""
        seen = self._newest(bookmark)
        return self._here.query_rows(
            sql, params, consistency=consistency, bookmark=seen, timeout_ms=timeout_ms, cancel=cancel
        )

    def query_here(
        self, sql: str, params: Parameters = (), *, bookmark: str | None = None, steps_max: int = STEPS_MAX
    ) -> QueryResult:
        """See `Database.query_here`: only what is read by the first word, and from a state that is new enough."""
        if keyword(sql) not in READS:
            raise NotHere("the node has to be asked for what may write; call query", writes=True)
        return self._here.query_here(sql, params, bookmark=self._newest(bookmark), steps_max=steps_max)

    def _newest(self, bookmark: str | None) -> str | None:
        """The bookmark that a read has to meet (rule 1)."""
        wrote = self._there.bookmark
        if not wrote or not _is_newer(wrote, self._here.bookmark):
            return bookmark
        return bookmark if bookmark is not None and _is_newer(bookmark, wrote) else wrote

    def _catch_up(self) -> None:
        """Let what is read here next see what was written there (rule 1)."""
        if seen := self._newest(None):
            self._here.query("SELECT 1", bookmark=seen)

    def describe(self, sql: str) -> Description:
        """See `Database.describe`."""
        return self._here.describe(sql)

    @property
    def version(self) -> int:
        """The newest version that this object has seen, here or there."""
        return max(self._here.version, self._there.version)

    @property
    def bookmark(self) -> str:
        """The bookmark of `version`."""
        here, there = self._here.bookmark, self._there.bookmark
        return there if there and _is_newer(there, here) else here

    def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `Database.schema`."""
        self._catch_up()
        return self._here.schema(table)

    @property
    def known_settings(self) -> Settings:
        """See `Database.known_settings`."""
        return self._here.known_settings

    def settings(self) -> Settings:
        """See `Database.settings`."""
        return self._here.settings()

    def status(self, *, history: bool = True) -> Status:
        """See `Database.status`."""
        return self._here.status(history=history)

    def versions(self, limit: int = 20) -> list[VersionEntry]:
        """See `Database.versions`."""
        return self._here.versions(limit)

    def diff(self, a: At, b: At | None = None) -> Diff:
        """See `Database.diff`."""
        return self._here.diff(a, b)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        """See `Database.verify`: it reads the store, which is here."""
        return self._here.verify(progress)

    def snapshot(self, at: At | None = None) -> Snapshot:
        """See `Database.snapshot`."""
        return self._here.snapshot(at)

    @property
    def on_connect(self) -> OnConnect | None:
        """See `Database.on_connect`."""
        return self._here.on_connect

    # What writes

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `Database.execute`."""
        return self._there.execute(sql, params, idempotency_key=idempotency_key)

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run`."""
        return self._there.run(sql, params, idempotency_key=idempotency_key, meta=meta)

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run_script`."""
        return self._there.run_script(sql, params, idempotency_key=idempotency_key, meta=meta)

    def batch(
        self,
        statements: Sequence[str | Request],
        *,
        idempotency_key: str | None = None,
        meta: bool = False,
        at: At | None = None,
    ) -> list[QueryResult]:
        """See `Database.batch`; here if each statement certainly reads, or reads an earlier state."""
        asked = requests_of(statements)
        reads = idempotency_key is None and all(only_reads(verb_of(sql)) for sql, _ in asked)
        if at is None and not reads:
            return self._there.batch(asked, idempotency_key=idempotency_key, meta=meta)
        if at is None:
            self._catch_up()
        return self._here.batch(asked, idempotency_key=idempotency_key, meta=meta, at=at)

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `Database.executemany`."""
        return self._there.executemany(sql, rows, idempotency_key=idempotency_key)

    @property
    def foreign_keys(self) -> bool:
        """See `Database.foreign_keys`."""
        return self._there.foreign_keys

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
        scope: Scope = Scope.ADMIN,
    ) -> Transaction:
        """See `RemoteDatabase.transaction`; one that only reads is here."""
        if read_only or scope < Scope.WRITE:
            self._catch_up()
            return self._here.transaction(
                idempotency_key=idempotency_key, read_only=True, immediate=immediate, foreign_keys=foreign_keys
            )
        return self._there.transaction(
            idempotency_key=idempotency_key, immediate=immediate, foreign_keys=foreign_keys, scope=scope
        )

    def run_transaction(self, fn: Callable[[Transaction], T], *, idempotency_key: str | None = None) -> T:
        """See `Database.run_transaction`."""
        return self._there.run_transaction(fn, idempotency_key=idempotency_key)

    def migrate_files(self, files: Sequence[tuple[str, str]], *, dry_run: bool, undo: int | None) -> Sequence[int]:
        """See `RemoteDatabase.migrate_files`."""
        return self._there.migrate_files(files, dry_run=dry_run, undo=undo)

    def long_write(self) -> LongWrite:
        """Not through a node. Raises `Invalid`."""
        return self._there.long_write()

    def flush(self) -> Flushed:
        """See `Database.flush`."""
        return self._there.flush()

    def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """See `Database.change_settings`."""
        return self._there.change_settings(changes)

    def restore(self, at: At, *, dry_run: bool = False) -> Restored:
        """See `Database.restore`."""
        return self._there.restore(at, dry_run=dry_run)

    def promote(self, progress: Callable[[int, int], None] | None = None) -> Status:
        """See `Database.promote`."""
        return self._there.promote(progress)

    def collect(self, *, dry_run: bool = False, grace_ms: int = GRACE_MS) -> Collected:
        """See `Database.collect`."""
        return self._there.collect(dry_run=dry_run, grace_ms=grace_ms)

    def upkeep(self, limit: int | None = 1) -> Upkept:
        """See `Database.upkeep`."""
        return self._there.upkeep(limit)

    @property
    def upkeep_due(self) -> tuple[str, ...]:
        """Nothing: what a commit makes due is done by the node."""
        return ()

    def close(self, *, push: bool = True) -> None:
        """Close both."""
        self._here.close(push=push)
        self._there.close(push=push)


def _is_newer(one: str, known: str) -> bool:
    """Whether a bookmark names a later state of the same branch; they are sortable."""
    return one.partition(".")[0] == known.partition(".")[0] and one > known
