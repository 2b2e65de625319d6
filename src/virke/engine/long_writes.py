"""A long write whose pages are made outside of the engine (an import), tried until it gets through (P15).

Knows snapshots, the line of the branch and its turns; knows no file and no SQL of the one who makes the pages.

1. From its second try on it holds the line of the branch: writers of this process, and on a local store those of other
   processes, wait for it. From its third on it holds a turn, for which all others wait.
2. A turn is renewed while the pages are made (`renew_if_due`) and while they are stored, however long either takes.
3. Where an interrupt ends it, `version` and `is_sent` say what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType

from virke.core.change import Change
from virke.core.commit import Conflicted
from virke.core.ids import PageNo
from virke.core.root import RootAt
from virke.core.settings import Settings
from virke.engine.committing import Committing, won_or_lost
from virke.engine.line import Line, Place
from virke.engine.snapshot import Snapshot
from virke.engine.storing import Storing
from virke.engine.streaming import LOST, PageStream, base_of
from virke.engine.volume import Volume
from virke.engine.writes import Writes
from virke.errors import Conflict


class LongWrite:
    """Use as a context manager: `snapshot`, make the pages, `commit_pages`; after a `Conflict` again from the beginning."""

    def __init__(
        self, volume: Volume, committing: Committing, line: Line, writes: Writes, *, after_commit: Callable[[], None]
    ) -> None:
        self._volume = volume
        self._committing = committing
        self._line = line
        self._writes = writes
        self._after_commit = after_commit
        self._claimant = committing.claim()
        self._place: Place | None = None
        self._storing: Storing | None = None
        self._losses = 0
        self._began_s = 0.0
        self.version: int | None = None
        """Which version it became; None: it was not committed, or (`is_sent`) that is not known yet."""

    @property
    def is_sent(self) -> bool:
        """Whether the swap of the latest try was begun, which an interrupt (Ctrl-C) can leave without a verdict."""
        return self._storing is not None and self._storing.is_sent

    def settings(self) -> Settings:
        """The settings as the store has them now."""
        return self._volume.branch.refresh().root.settings

    def snapshot(self) -> Snapshot:
        """The newest snapshot to make the pages from, pending writes pushed before; others' turns are waited for."""
        self._writes.check_allowed()
        self._writes.push_pending()
        if self._losses and self._place is None:
            settings = self._volume.branch.latest().root.settings
            self._place = self._line.enter(settings.query_timeout_ms / 1000)
        self._volume.branch.refresh()
        base = self._claimant.ready()
        self._began_s = self._volume.environment.monotonic()
        return self._volume.snapshot_of(base.root)

    def renew_if_due(self) -> None:
        """To be called often while the pages are made: keep the turn, if there is one."""
        self._claimant.renew_if_due()

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

        def commit(at: RootAt) -> int:
            claimant = self._claimant
            stream = PageStream(
                self._volume, self._committing, at, page_size=page_size, page_count=page_count, claimant=claimant
            )
            self._storing = stream.storing
            return stream.commit(pages, progress)

        return self._commit(base, commit)

    def commit_state(self, base: Snapshot, change: Change, *, pages: Iterable[tuple[PageNo, bytes]]) -> int:
        """Commit a stream of pages, ascending, after which the database is in the state of `change`. Raises as `commit_pages`."""

        def commit(at: RootAt) -> int:
            claimant = self._claimant
            storing = self._storing = Storing(self._volume, self._committing, at, claimant, tier=at.root.tier)
            verdict = storing.commit(pages, change.page_count, lambda: replace(change, rest_ms=claimant.rest_ms))
            if isinstance(verdict := won_or_lost(verdict), Conflicted):
                raise Conflict(LOST)
            return verdict.root.head.version

        return self._commit(base, commit)

    def _commit(self, base: Snapshot, commit: Callable[[RootAt], int]) -> int:
        self._writes.check_allowed()
        self._claimant.ready()
        self._claimant.renew()
        try:
            with self._committing.lead, self._claimant.leading():
                self.version = version = commit(base_of(self._volume, base))
        except Conflict:
            self._storing = None
            self._losses += 1
            self._claimant.lost()
            self._claimant.work_s = self._volume.environment.monotonic() - self._began_s
            raise
        self._after_commit()
        return version

    def __enter__(self) -> LongWrite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claimant.release()
        if self._place:
            self._place.leave()
