"""How the parts of a database are put together, and what they do after a commit.

Knows every part of the engine by name; decides nothing about reads, writes or upkeep itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from virke.core.ids import Version
from virke.core.reach import checked_version
from virke.core.root import Root
from virke.engine.branch import Branch
from virke.engine.committing import Committing
from virke.engine.comparing import schema_differences, table_differences
from virke.engine.connection import CACHE_KIB, READER_CACHE_KIB, Connection
from virke.engine.deferred import Deferred
from virke.engine.entry import Flusher, Journal
from virke.engine.freshness import Freshness
from virke.engine.history import History
from virke.engine.line import Line
from virke.engine.long_writes import LongWrite
from virke.engine.memory import Memory, memory_of
from virke.engine.past_reads import batch_at
from virke.engine.readers import Readers
from virke.engine.restoring import Restoring
from virke.engine.results import Collected, Diff, QueryResult, Request, Restored, Upkept, VersionEntry
from virke.engine.room import ROOMY_CACHE_KIB, Room
from virke.engine.snapshot import Snapshot, SnapshotGone
from virke.engine.sqlite import OnConnect
from virke.engine.terms import Cancel, Terms
from virke.engine.upkeep import Upkeep
from virke.engine.verifying import Verified, verify_database
from virke.engine.volume import Volume
from virke.engine.writer import Writer
from virke.engine.writes import Writes
from virke.errors import Corrupt, Invalid
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.core.moments import At


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Parts:
    """What one database consists of in this process."""

    branch: Branch
    volume: Volume
    committing: Committing
    writer: Writer
    deferred: Deferred | None
    freshness: Freshness
    readers: Readers
    writes: Writes
    upkeep: Upkeep
    read_only: bool
    on_connect: OnConnect | None
    connections: weakref.WeakSet[Connection]
    """Those that are open, of every kind."""
    connect: Callable[[], Connection]

    @property
    def history(self) -> History:
        """What history keeps, as of the newest root known."""
        return History(self.volume)

    def after_commit(self) -> None:
        """Show what was committed, under the modes of the next read, and see to what became due."""
        if not self.read_only:
            self.upkeep.after_commit()
        self.freshness.show_if_possible()
        self.readers.use_foreign_keys(self.writes.foreign_keys)

    def long_write(self) -> LongWrite:
        """See `Database.long_write`."""
        return LongWrite(self.volume, self.committing, self.writer.line, self.writes, after_commit=self.after_commit)

    def collect(self, *, dry_run: bool, grace_ms: int) -> Collected:
        """See `Database.collect`."""
        if not dry_run:
            self.writes.check_allowed()
        return self.upkeep.collect(dry_run=dry_run, grace_ms=grace_ms)

    def batch_at(
        self,
        requests: Sequence[Request],
        at: At,
        *,
        key: str | None = None,
        timeout_ms: int | None = None,
        meta: bool = False,
        cancel: Cancel | None = None,
    ) -> list[QueryResult]:
        """Statements that read, on one earlier state; see `Database.batch`."""
        if key is not None:
            raise Invalid("a batch of an earlier state writes nothing, and takes no idempotency key")
        self.branch.refresh()
        snapshot = self.volume.snapshot_at(self.history.version_of(at))
        limits = self.freshness.shown_at(snapshot).within(Terms(timeout_ms=timeout_ms))
        monotonic = self.branch.environment.monotonic
        return batch_at(self.readers, snapshot, requests, limits, meta=meta, cancel=cancel, monotonic=monotonic)

    def versions(self, limit: int) -> list[VersionEntry]:
        """See `Database.versions`."""
        self.branch.refresh()
        return self.history.versions(limit)

    def restore(self, at: At, *, dry_run: bool) -> Restored:
        """See `Database.restore`."""
        if dry_run:
            self.branch.refresh()
        else:
            self.writes.check_allowed()
        work = Restoring(self.volume, self.history, connect=self.connect, long_write=self.long_write)
        return work.restore(at, dry_run=dry_run)

    def snapshot(self, at: At | None) -> Snapshot:
        """See `Database.snapshot`."""
        self.writes.push_pending(may_skip=True)
        self.branch.refresh()
        return self.volume.snapshot() if at is None else self.volume.snapshot_at(self.history.version_of(at))

    def diff(self, a: At, b: At | None, *, timeout_s: float = float("inf")) -> Diff:
        """See `Database.diff`. Raises `TimedOut`, too."""
        before, after = self.snapshot(a), self.snapshot(b)
        earlier, later = sorted((before.version, after.version))
        pages = partial(self.history.changed, self.branch.latest().root, Version(earlier), Version(later))
        old, new = self.connect(), self.connect()
        try:
            if earlier == later or not pages():
                return Diff(before.version, after.version, (), ())
            environment = self.branch.environment
            until_s = environment.monotonic() + timeout_s
            for connection, snapshot in ((old, before), (new, after)):
                connection.pin(snapshot)
                connection.begin_request(
                    now_ms=environment.now_ms(), deadline=until_s, result_bytes=self.freshness.shown.result_bytes
                )
            objects = schema_differences(old, new)
            return Diff(before.version, after.version, objects, table_differences(old, new))
        except (SnapshotGone, Corrupt):
            root = self.branch.refresh().root
            for version in (earlier, later):
                checked_version(root, version)  # collected meanwhile: that is why
            raise
        finally:
            old.close()
            new.close()

    def verify(self, progress: Callable[[int, int], None] | None) -> Verified:
        """See `Database.verify`."""
        return verify_database(self.volume, on_connect=self.on_connect, progress=progress)

    def tend(self, limit: int | None) -> Upkept:
        """Do steps of upkeep; see `Database.upkeep`."""
        self.writes.check_allowed()
        self.branch.refresh()
        steps = self.upkeep.run(limit)
        self.freshness.show_if_possible()
        return Upkept(steps, self.upkeep.due())

    def tend_known(self) -> bool:
        """Do a step of upkeep on the root that is known; see `Serving.upkeep_step`."""
        self.writes.check_allowed()
        allowance = self.branch.environment.allowance
        if allowance is not None and not allowance.has_time_for_step:
            return False
        done = self.upkeep.run(1)
        self.freshness.show_if_possible()
        return bool(done)

    def promote(self, progress: Callable[[int, int], None] | None) -> None:
        """Move the database to object storage; see `Database.promote`."""
        self.writes.check_allowed()
        self.writes.push_pending()
        self.upkeep.promote(progress)
        self.freshness.show_if_possible()

    def refuse_if_busy(self) -> None:
        """In a forked child: what another thread was doing here is never finished, so calls are refused and do not wait."""
        parts = (self.branch, self.freshness, self.writer.queue)
        if self.committing.lead.locked() or any(part.is_busy for part in parts):
            why = "was in use by another thread when this process was forked; connect again in the child"
            self.readers.why_closed = self.writes.why_closed = why
            self.readers.is_closed = self.writes.is_closed = True
            self.freshness.expire()

    def close(self, *, push: bool) -> None:
        """Push what is pending, unless asked not to; wait for upkeep, and release connections. Harmless when closed."""
        if self.writes.is_closed:
            return
        if self.deferred:
            self.deferred.stop()
        try:
            if push:
                self.writes.push_pending(may_skip=True)
        finally:
            self.upkeep.finish()
            self.readers.is_closed = True
            self.freshness.close()
            self.writes.close()
            self.readers.close()
            self.volume.close()


class _Connect(Protocol):
    """Opens a connection on the newest state."""

    def __call__(self, cache_kib: int = ..., *, room: Callable[[], Room] | None = ...) -> Connection: ...


def _connection_opener(
    volume: Volume, memory: Memory, on_connect: OnConnect | None, connections: weakref.WeakSet[Connection]
) -> _Connect:
    """What opens connections; those that are open are in `connections`, and known to `memory`."""
    branch, environment = volume.branch, volume.environment

    def closed(connection: Connection) -> None:
        connections.discard(connection)
        memory.closed(connection)

    def left(room: Room, connection: Connection) -> None:
        closed(connection)
        room.leave()

    def connect(cache_kib: int = CACHE_KIB, *, room: Callable[[], Room] | None = None) -> Connection:
        lent = room() if room else None
        try:
            connection = connect_on(branch.latest().root, cache_kib, lent)
        except SnapshotGone:
            connection = connect_on(branch.refresh().root, cache_kib, lent)
        connections.add(connection)
        memory.opened(volume.owner, connection)
        return connection

    def connect_on(root: Root, cache_kib: int, room: Room | None) -> Connection:
        ahead = environment.opened_ahead
        return Connection(
            volume.snapshot_of(root),
            value_bytes_max=volume.result_bytes(root),
            monotonic=environment.monotonic,
            cache_kib=cache_kib,
            on_connect=on_connect,
            closed=partial(left, room) if room else closed,
            allowance=environment.allowance,
            room=room,
            bare=ahead.pop() if ahead and room is None else None,
        )

    return connect


def assemble_parts(
    branch: Branch,
    *,
    journal: Journal | None,
    flusher: Flusher | None,
    upkeep_beside: bool,
    read_only: bool = False,
    on_connect: OnConnect | None = None,
    memory: Memory | None = None,
    room: Callable[[], Room] | None = None,
) -> Parts:
    """The parts of the database whose branch this is; `room` lends some of the place's disk.

    Raises `NotFound`, `Unavailable`, `Corrupt`: it can't be read.
    """
    branch.refresh()
    environment = branch.environment
    memory = memory or memory_of(environment.allowance)
    committing = Committing(volume := Volume(branch, memory=memory))
    connections: weakref.WeakSet[Connection] = weakref.WeakSet()

    connect = _connection_opener(volume, memory, on_connect, connections)
    in_room = partial(connect, ROOMY_CACHE_KIB, room=room) if room else None
    writer = Writer(volume, committing, Line(branch.store, branch.key), connect=connect, connect_in_room=in_room)
    deferred = Deferred(writer, journal=journal, connect=connect, flusher=flusher) if journal else None
    freshness = Freshness(volume, committing, deferred, read_only=read_only)
    writes = Writes(writer, deferred, freshness, connect=connect, read_only=read_only)
    memory.hold(volume.owner, writes)
    parts = Parts(
        branch=branch,
        volume=volume,
        committing=committing,
        writer=writer,
        deferred=deferred,
        freshness=freshness,
        readers=Readers(volume, freshness, partial(connect, READER_CACHE_KIB), read_only=read_only),
        writes=writes,
        upkeep=Upkeep(volume, committing, environment.spawn if upkeep_beside else None),
        read_only=read_only,
        on_connect=on_connect,
        connections=connections,
        connect=connect,
    )
    parts.readers.use_foreign_keys(writes.foreign_keys)
    writes.after_commit = parts.after_commit
    writer.before_telling = freshness.show_if_possible
    if deferred:
        deferred.after_push = parts.after_commit
        if not read_only:
            deferred.start()
    _assembled.add(parts)
    return parts


_assembled: Final[weakref.WeakSet[Parts]] = weakref.WeakSet()


def after_fork_in_child() -> None:
    """Let databases be refused that a thread of the parent was using: to be called in each child."""
    for parts in list(_assembled):
        parts.refuse_if_busy()
