"""A database of a node: the methods of `Database`, each one request. A facade: the work is done where it delegates.

Knows which request each method is; what is sent and remembered is `Session`'s.

1. Every public method of `Database` is here (a test says so): what a node does not have says so itself.
2. It is a subclass for its type alone, so that programs take both: no line of `Database` runs for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from virke.client import asking, reading
from virke.client.exchange import Request as Asked
from virke.client.node import Node
from virke.client.rows import RemoteRows
from virke.client.session import Session
from virke.client.transaction import RemoteTransaction
from virke.core.collect import GRACE_MS
from virke.core.settings import Settings
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.long_writes import LongWrite
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
from virke.engine.sqlite import Description, OnConnect, Parameters
from virke.engine.terms import Cancel, Terms
from virke.engine.transaction import Transaction
from virke.engine.verifying import Verified
from virke.errors import Conflict, Invalid, NotHere
from virke.scopes import Scope
from virke.transfer import Imported
from virke.transfer.dump import Part
from virke.transfer.form import AS_FOUND, Form

if TYPE_CHECKING:
    from virke.core.moments import At

T = TypeVar("T")
_PAGES: Final = "a node hands out no pages; virke.transfer and virke.migrations work on its databases"


class RemoteDatabase(Database):
    """A database that a node has open. Open it with `virke.connect`; close it, or use it as a context manager."""

    def __init__(self, node: Node, name: str, *, read_only: bool = False, asks: bool = True) -> None:
        """`asks`: it is asked for at once, so that one that is not there is an error now."""
        self.name = name
        self.session = Session(node, name, read_only=read_only)
        if asks:
            self.query("SELECT 1")  # it exists, the token may read it, and its newest version is known

    def __repr__(self) -> str:
        return f"RemoteDatabase({self.name!r}, {self.session.node.address.url!r})"

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
        """See `Database.query`. Raises `OutcomeUnknown` too: the answer to a write was lost."""
        terms = Terms(consistency, bookmark, timeout_ms, cancel, read_only=read_only or scope < Scope.WRITE)
        return self.session.query(asking.statement_json(sql, params, at=asking.moment_json(at)), terms, meta=meta)

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
        """See `Database.query_rows`; the rows come as they are read."""
        used = cancel or Cancel()
        answer = self.session.stream(asking.statement_json(sql, params), Terms(consistency, bookmark, timeout_ms, used))
        assert answer.stream is not None, "it was asked for"
        return RemoteRows(answer.stream, used, self.session.saw)

    def query_here(
        self, sql: str, params: Parameters = (), *, bookmark: str | None = None, steps_max: int = 0
    ) -> QueryResult:
        """Never here: it is the node's memory that has it. Raises `NotHere`."""
        raise NotHere("a node's database is not in this process; call query", writes=not asking.is_reading_sql(sql))

    def describe(self, sql: str) -> Description:
        """See `Database.describe`."""
        asked = asking.reading_post(self.session.path("describe"), asking.statement_json(sql))
        return reading.understand_value(reading.description_of, self.session.json(asked))

    def execute(self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None) -> int:
        """See `Database.execute`."""
        return self.session.write(asking.statement_json(sql, params), idempotency_key).rows_affected

    def run(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run`."""
        return self.session.write(asking.statement_json(sql, params), idempotency_key, meta=meta)

    def run_script(
        self, sql: str, params: Parameters = (), *, idempotency_key: str | None = None, meta: bool = False
    ) -> QueryResult:
        """See `Database.run_script`."""
        return self.session.write(asking.statement_json(sql, params, script=True), idempotency_key, meta=meta)

    def batch(
        self,
        statements: Sequence[str | Request],
        *,
        idempotency_key: str | None = None,
        meta: bool = False,
        at: At | None = None,
    ) -> list[QueryResult]:
        """See `Database.batch`."""
        asked = [asking.statement_json(sql, params) for sql, params in requests_of(statements)]
        if at is not None:
            return self.session.batch_at(asked, asking.moment_json(at), idempotency_key, meta=meta)
        return self.session.batch(asked, idempotency_key, meta=meta) if asked else []

    def executemany(self, sql: str, rows: Iterable[Parameters], *, idempotency_key: str | None = None) -> int:
        """See `Database.executemany`."""
        asked = asking.statement_json(sql, rows=[asking.parameters_json(row) for row in rows])
        return self.session.write(asked, idempotency_key).rows_affected if asked["rows"] else 0

    @property
    def foreign_keys(self) -> bool:
        """See `Database.foreign_keys`."""
        mode = self.session.foreign_keys
        return self.known_settings.foreign_keys == "on" if mode is None else mode

    def transaction(
        self,
        *,
        idempotency_key: str | None = None,
        read_only: bool = False,
        immediate: bool = False,
        foreign_keys: bool | None = None,
        scope: Scope = Scope.ADMIN,
    ) -> Transaction:
        """See `Database.transaction`. The node ends one that is idle for 10 s, or writes for 30 s: `Conflict`."""
        only_reads = read_only or self.session.read_only or scope < Scope.WRITE
        if only_reads and (idempotency_key or immediate):
            raise Invalid("a transaction that only reads takes no idempotency_key, and is never immediate")
        return RemoteTransaction(
            self.session,
            mode="read_only" if only_reads else "immediate" if immediate else "deferred",
            key=idempotency_key,
            foreign_keys=self.session.foreign_keys if foreign_keys is None else foreign_keys,
        )

    def run_transaction(self, fn: Callable[[Transaction], T], *, idempotency_key: str | None = None) -> T:
        """See `Database.run_transaction`."""
        attempts = self.known_settings.max_attempts
        for attempt in range(attempts):
            try:
                with self.transaction(idempotency_key=idempotency_key, immediate=attempt > 0) as transaction:
                    return fn(transaction)
            except Conflict:
                if attempt == attempts - 1:
                    raise
                Environment().pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    @property
    def version(self) -> int:
        """The newest version that this object has seen."""
        return self.session.stamp.version

    @property
    def bookmark(self) -> str:
        """The bookmark of `version`."""
        return self.session.stamp.bookmark

    def schema(self, table: str | None = None) -> list[SchemaEntry]:
        """See `Database.schema`."""
        path = self.session.path("schema") if table is None else self.session.path("schema", table)
        return reading.understand_value(reading.schema_of, self.session.json(asking.get_request(path)))

    @property
    def known_settings(self) -> Settings:
        """The settings as they were last seen; asks the node once if they never were."""
        return self.session.known_settings

    def settings(self) -> Settings:
        """See `Database.settings`."""
        return self.session.settings(asking.get_request(self.session.path("settings")))

    def change_settings(self, changes: Mapping[str, str | int]) -> Settings:
        """See `Database.change_settings`."""
        self.session.check_may_write()
        found = self.session.settings(Asked("PATCH", self.session.path("settings"), asking.body_of(changes)))
        self.session.catch_up()
        return found

    def status(self, *, history: bool = True) -> Status:
        """See `Database.status`."""
        path = self.session.path("status") + ("" if history else "?brief=1")
        return reading.understand_value(reading.status_of, self.session.json(asking.get_request(path)))

    def versions(self, limit: int = 20) -> list[VersionEntry]:
        """See `Database.versions`."""
        asked = asking.get_request(asking.queried_path(self.name, "versions", {"limit": str(limit)}))
        return reading.understand_value(reading.versions_of, self.session.json(asked))

    def diff(self, a: At, b: At | None = None) -> Diff:
        """See `Database.diff`; it has the time of one request, `query_timeout_ms`. Raises `TimedOut`, too."""
        fields = {"from": str(asking.moment_json(a)), "to": None if b is None else str(asking.moment_json(b))}
        found = self.session.json(asking.get_request(asking.queried_path(self.name, "diff", fields)))
        return reading.understand_value(reading.diff_of, found)

    def restore(self, at: At, *, dry_run: bool = False) -> Restored:
        """See `Database.restore`."""
        body = {"at": asking.moment_json(at), "dry_run": dry_run}
        found = self.session.change("restore", body) if not dry_run else self.session.peek("restore", body)
        return reading.understand_value(reading.restored_of, found)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        """Not over a node: it reads the store itself, past every cache, for longer than a request may take. Raises `Invalid`."""
        raise Invalid(
            "a database is verified on its store, not over a node", hint="name the store that the node serves"
        )

    def flush(self) -> Flushed:
        """See `Database.flush`: what is pending on the node is pushed."""
        return reading.understand_value(reading.flushed_of, self.session.change("flush", {}))

    def promote(self, progress: Callable[[int, int], None] | None = None) -> Status:
        """See `Database.promote`; a node says nothing of its progress."""
        return reading.understand_value(reading.status_of, self.session.change("promote", {}))

    def collect(self, *, dry_run: bool = False, grace_ms: int = GRACE_MS) -> Collected:
        """See `Database.collect`."""
        body = {"dry_run": dry_run, "grace_ms": grace_ms}
        return reading.understand_value(reading.collected_of, self.session.change("gc", body))

    def upkeep(self, limit: int | None = 1) -> Upkept:
        """See `Database.upkeep`."""
        body: dict[str, object] = {"all": True} if limit is None else {"limit": limit}
        return reading.understand_value(reading.upkept_of, self.session.change("upkeep", body))

    @property
    def upkeep_due(self) -> tuple[str, ...]:
        """Nothing: what a commit makes due is done by the node."""
        return ()

    @property
    def on_connect(self) -> OnConnect | None:
        """None: SQLite runs on the node."""
        return None

    def import_parts(
        self, parts: Iterator[bytes], *, name: str, table: str | None, replace: bool, kind: str | None, form: Form
    ) -> Imported:
        """Import a file; `virke.transfer.import_file` calls it. Sent once: a lost answer is `OutcomeUnknown`."""
        self.session.check_may_write()
        fields = {"name": name, "table": table, "replace": "1" if replace else None, "kind": kind}
        fields |= {"encoding": form.encoding, "no_header": None if form.has_header else "1"}
        fields |= {"types": None if form.types == AS_FOUND.types else form.types}
        done = reading.understand_value(
            reading.imported_of, self.session.json(asking.import_request(self.name, parts, fields))
        )
        self.session.catch_up()
        return done

    def export_parts(self, *, format: str, part: Part, at: At | None = None) -> Iterator[bytes]:
        """The bytes of an export, as they come; `virke.transfer.export_file` calls it."""
        fields = {"format": format, "table": part.table}
        fields |= {"at": None if at is None else str(asking.moment_json(at))}
        fields |= {"schema_only": None if part.rows else "1", "data_only": None if part.schema else "1"}
        answer = self.session.ask(asking.export_request(self.name, fields))
        assert answer.stream is not None, "it was asked for"
        return reading.parts_of(answer.stream)

    def migrate_files(self, files: Sequence[tuple[str, str]], *, dry_run: bool, undo: int | None) -> Sequence[int]:
        """Apply migration files, rehearse them, or take some back; `virke.migrations` calls it."""
        self.session.check_may_write()
        request = asking.migrate_request(self.name, files, dry_run=dry_run, undo=undo)
        try:
            return reading.understand_value(reading.numbers_of, self.session.json(request))
        finally:
            self.session.catch_up()

    def snapshot(self, at: At | None = None) -> Snapshot:
        """Not from a node. Raises `Invalid`."""
        raise Invalid(_PAGES)

    def long_write(self) -> LongWrite:
        """Not from a node. Raises `Invalid`."""
        raise Invalid(_PAGES)

    def close(self, *, push: bool = True) -> None:
        """Close the connections; harmless when closed. What is pending on the node is the node's to push."""
        self.session.close()
