"""What reads see: which root, with which pending writes above it, and for how long that is new enough.

Knows the branch and deferred writes; knows no SQL and no connection. Shared by all readers of a database.

1. What is shown is swapped as one: a reader never mixes two of them. It only ever moves forward, and is never older
   than this process's own writes.
2. It is new enough for `max_staleness_ms` after the store confirmed its root; `strong` confirms it now.
3. Where the store shows for next to nothing whether any process committed (`Branch.has_moved`), a `session` read looks
   each time, so that what one process wrote the next one sees. What it looks for is what was seen with the state that
   is shown: another call may have learned of a newer root and shown nothing. A swap of this process that has not ended
   was neither answered nor shown: until then the state that it replaces is the newest.
4. Whatever makes this process know a newer root, no read that begins later is shown an older one.
5. Nothing is new enough once it is known that the store lost commits (P14).
6. While the store is down, reads that are neither `strong` nor carry a bookmark that is not met go on from what is held,
   if that is at most `stale_if_down_ms` old.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from virke.core.root import Root, RootAt
from virke.engine.bookmarks import Bookmarks
from virke.engine.committing import Committing
from virke.engine.deferred import Deferred
from virke.engine.layers import Pages
from virke.engine.snapshot import Snapshot, SnapshotGone
from virke.engine.terms import Terms
from virke.engine.volume import Volume
from virke.errors import Invalid, ReadOnly, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass

CONSISTENCIES: Final = ("strong", "session", "bounded")
SHOW_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """A state to read from, until when (monotonic seconds) it is new enough, and the limits that hold for reads of it.

    `is_watched`: a read looks whether a commit came since (`Branch.look` shows something else than `stamp`).
    """

    view: Pages
    root: Root
    fresh_until: float
    timeout_s: float
    result_bytes: int
    is_watched: bool = False
    stamp: bytes = b""
    """What the look showed when this state was confirmed (rule 3)."""

    def within(self, terms: Terms) -> Shown:
        """The same with the limits that a call asks for. Raises `Invalid`."""
        most = self.result_bytes if terms.result_bytes is None else min(self.result_bytes, terms.result_bytes)
        return replace(self, timeout_s=terms.timeout_s(self.timeout_s), result_bytes=most)


class Freshness:
    """Which state the reads of one database see."""

    def __init__(
        self, volume: Volume, committing: Committing, deferred: Deferred | None, *, read_only: bool = False
    ) -> None:
        self._volume = volume
        self._branch = volume.branch
        self._committing = committing
        self._deferred = deferred
        self._read_only = read_only
        self._monotonic = volume.environment.monotonic
        self._bookmarks = Bookmarks(self._branch)
        self._lock = threading.Lock()
        self._closed = False
        self._is_down = False
        self.shown = self.show()
        self._branch.on_change = self.expire

    def current(self, consistency: str | None = None, bookmark: str | None = None) -> Shown:
        """What to show: as new as it must be.

        Raises:
            Invalid: there is no such consistency, or the bookmark is not one of this history.
            Unavailable: the store does not answer, or does not show the bookmark yet. Corrupt: it lost commits.
            ReadOnly: the state can only be confirmed by a write, and this connection may not write.
        """
        settings = self._branch.latest().root.settings
        level = consistency or settings.read_consistency
        if level not in CONSISTENCIES:
            raise Invalid(f"consistency must be one of {', '.join(CONSISTENCIES)}, not {level!r}")
        if level == "strong":
            self._confirm_newest()
        elif self._monotonic() >= self._branch.checked_at + settings.max_staleness_ms / 1000 or (
            level == "session" and self._branch.has_moved()
        ):
            self._refresh_root(settings.stale_if_down_ms / 1000)
        if bookmark is not None:
            self._bookmarks.wait_for(bookmark)
        return self.show()

    def _refresh_root(self, stale_s: float) -> None:
        """Ask for the newest root; while the store is down, what is held is new enough for `stale_s` (rule 6)."""
        try:
            self._branch.refresh()
        except Unavailable:
            self._is_down = True
            if self._monotonic() >= self._branch.checked_at + stale_s:
                raise
        else:
            self._is_down = False

    @property
    def stale_ms(self) -> int | None:
        """How old the state is that reads see, where that is older than `max_staleness_ms` allows: the store is down.

        None if the store answered the last read that asked it, however long ago: the next read asks again.
        """
        if not self._is_down:
            return None
        age_ms = (self._monotonic() - self._branch.checked_at) * 1000
        return round(age_ms) if age_ms > self._branch.latest().root.settings.max_staleness_ms else None

    def _confirm_newest(self) -> None:
        if self._read_only and not self._branch.is_linearizable:
            raise ReadOnly(
                "a strong read of this store needs a write, and this connection is read-only; use a bookmark"
            )
        self._committing.confirm()

    def shown_at(self, snapshot: Snapshot) -> Shown:
        """One version to read from, with the limits of now."""
        return replace(self.shown, view=snapshot, root=snapshot.as_root())

    def show(self) -> Shown:
        """Show the newest root known, and pending writes above it."""
        with self._lock:
            # before the view: what is learned meanwhile confirms a newer one
            checked_at, stamp = self._branch.checked_at, self._branch.stamp
            at, view = self._newest()
            settings = at.root.settings
            fresh = not self._closed and settings.read_consistency != "strong"
            self.shown = shown = Shown(
                view=view,
                root=at.root,
                fresh_until=checked_at + settings.max_staleness_ms / 1000 if fresh else float("-inf"),
                timeout_s=self._volume.time_limit_ms(at.root) / 1000,
                result_bytes=self._volume.result_bytes(at.root),
                is_watched=self._branch.is_watched and settings.read_consistency == "session",
                stamp=stamp,
            )
            if not self._branch.is_latest(at.root):  # learned meanwhile: what it expired was the state before this one
                self.expire()
            return shown

    def show_if_possible(self) -> None:
        """As `show`, if that is anything new; what was done stays done if the store fails, and the next read looks again."""
        if self._shows_newest():  # of all the callers whose writes rode in one commit, the first shows it
            return
        try:
            self.show()
        except VirkeError:
            self.shown = replace(self.shown, fresh_until=float("-inf"))

    def _shows_newest(self) -> bool:
        """Whether `show` would show the same, for as long; writes to a journal `expire` what is shown."""
        shown, branch = self.shown, self._branch
        return (
            not self._closed
            and branch.is_latest(shown.root)
            and shown.stamp == branch.stamp
            and shown.fresh_until == branch.checked_at + shown.root.settings.max_staleness_ms / 1000
        )

    def close(self) -> None:
        """From now on nothing is new enough."""
        self._closed = True
        self.show_if_possible()

    @property
    def is_busy(self) -> bool:
        """Whether a thread is about to show something at this moment."""
        return self._lock.locked()

    def expire(self) -> None:
        """Let the next read look again. Without the lock: the caller may hold one that `show` waits for."""
        self.shown = replace(self.shown, fresh_until=float("-inf"))

    def _newest(self) -> tuple[RootAt, Pages]:
        gone: Exception | None = None
        for _ in range(SHOW_TRIES):
            at = self._branch.latest()
            try:
                if not self._deferred:
                    return at, self._volume.snapshot_of(at.root)
                layer = self._deferred.view(at.root)
                if layer or self._branch.latest().root is at.root:
                    return at, layer or self._volume.snapshot_of(at.root)
                # Else what was pending has just been pushed: it is in a newer root than `at`.
            except SnapshotGone as error:  # a newer root is known now
                gone = error
        raise gone or Unavailable("the database is changing too fast to read a snapshot; try again")
