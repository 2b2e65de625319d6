"""Bringing changed pages into the store and into history: at once, or part by part while a turn is renewed.

Knows segments, the commit protocol and turns; knows not where the pages come from, and no SQL.

1. What takes long to store is stored part by part, a few parts at once; the swap comes last. A process that is killed before it
   leaves garbage, never a change.
2. A turn may be renewed meanwhile: then the root moves, and nothing else in it. What was stored goes on on the root that
   has the renewed turn; any other root is a lost race, and is noticed at the next page.
3. The pages are one state in one segment, behind the inline commits that the root carried; its hot pages come last.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from virke.core.change import Change, copy_inline, identity_of, next_root, plan_change
from virke.core.commit import Conflicted, Plan, Verdict
from virke.core.effects import Effect, Outcome, PutAll, PutNew, Tier
from virke.core.hot import HotPages
from virke.core.ids import PageNo
from virke.core.packing import SegmentWriter
from virke.core.root import JournalMark, Root, RootAt
from virke.core.segment import Ref
from virke.core.turntaking import moved_turn_only
from virke.core.upload import Upload
from virke.engine.committing import Committing
from virke.engine.taking_turns import Claimant
from virke.engine.vfs import Dirty
from virke.engine.volume import Volume

LONG_BYTES: Final = 4 << 20
"""From here on a write that has a turn stores its pages part by part: before, it takes far less than a turn lasts."""
FRESH_SHARE: Final = 0.2
T = TypeVar("T")
Pages = Iterable[tuple[PageNo, bytes]]


class Lost(Exception):
    """Another commit came first; `at` is its root, or a later one."""

    def __init__(self, at: RootAt) -> None:
        super().__init__("another commit came first")
        self.at = at


class Storing:
    """Pages of one commit on their way into one tier; the caller leads, and `claimant` knows it."""

    def __init__(self, volume: Volume, committing: Committing, base: RootAt, claimant: Claimant, *, tier: Tier) -> None:
        self._volume = volume
        self._committing = committing
        self._claimant = claimant
        self._tier = tier
        self.base = base
        """The root to commit on; turns move it, until the segment has said which version it is of."""
        self._is_named = False
        self.is_sent = False
        """Whether the swap was begun: before, nothing was changed, however much was stored."""

    def commit(self, pages: Pages, page_count: int, change: Callable[[], Change]) -> Verdict:
        """Store `pages`, ascending and about so many, then swap; `change` says, once they are stored, what else there is.

        Raises:
            Unavailable: the store failed, nothing was changed. And whatever `pages` does.
        """
        volume, root = self._volume, self.base.root
        commit_id = volume.environment.commit_id()
        writer = SegmentWriter(
            identity_of(root, commit_id),
            self._tier,
            volume.part_bytes[self._tier],
            is_plain=self._tier in volume.branch.store.plain,
            is_whole=self._tier in volume.whole,
        )
        upload, hot = Upload(self._tier), HotPages(page_count)

        def write() -> Generator[Effect, Outcome, tuple[Root, Ref]]:
            yield from upload.put(copy_inline(writer, root.inline))
            yield from upload.put(writer.pages(change().page_size, hot.cold(self._kept(pages))))
            yield from upload.finish()
            self.keep_turn(FRESH_SHARE)
            self._is_named = True
            new = next_root(self.base.root, commit_id, change())
            yield from upload.put(hot.finish(writer, new.head))
            parts, ref = writer.finish(())
            yield from upload.put(parts)
            yield from upload.finish()
            return new, ref

        try:
            new, ref = volume.driver.run(self._between_turns(write()))
        except BaseException as error:
            volume.driver.remove([upload.removal()])
            if isinstance(error, Lost):
                return Conflicted(error.at)
            raise
        new = replace(new, tier=self._tier, segments=(*root.segments, ref), inline=())
        self.is_sent = True
        return self._committing.commit(self.base, Plan(new, uploaded=(upload.removal(),)))

    def _kept(self, pages: Pages) -> Iterator[tuple[PageNo, bytes]]:
        for page in pages:
            self.keep_turn()
            yield page

    def _between_turns(self, effects: Generator[Effect, Outcome, T]) -> Generator[Effect, Outcome, T]:
        """The same effects; a turn that is not fresh is renewed before objects are sent, which takes who knows how long."""
        outcome: Outcome = None
        error: Exception | None = None
        while True:
            try:
                effect = effects.throw(error) if error else effects.send(outcome)
            except StopIteration as done:
                value: T = done.value
                return value
            outcome = error = None
            if isinstance(effect, PutNew | PutAll) and not self._is_named:
                self.keep_turn(FRESH_SHARE)
            try:
                outcome = yield effect
            except Exception as raised:
                error = raised
            del effect  # or its parts are held while the next are made

    def keep_turn(self, share: float = 0.5) -> None:
        """Renew the turn, if there is one and it is time. Raises `Lost`."""
        self._claimant.renew_if_due(share)
        now = self._volume.branch.latest()
        if now is not self.base:
            if not moved_turn_only(self.base.root, now.root):
                raise Lost(now)
            self.base = now


def commit_change(
    volume: Volume,
    committing: Committing,
    base: RootAt,
    change: Change,
    *,
    claimant: Claimant | None = None,
    in_row: bool = False,
    may_be_too_soon: bool = False,
) -> Verdict:
    """Commit pages that were computed on `base`; the caller leads. Options as of `Committing.commit`."""
    tier = change.tier or base.root.tier
    if claimant and claimant.has_turn and len(change.pages) * change.page_size >= LONG_BYTES:
        storing = Storing(volume, committing, base, claimant, tier=tier)
        rest = replace(change, pages={})
        return storing.commit(sorted(change.pages.items()), len(change.pages), lambda: rest)
    plan = plan_change(base.root, volume.environment.commit_id(), change)
    return committing.commit(base, plan, pages=change.pages, in_row=in_row, may_be_too_soon=may_be_too_soon)


def change_of(dirty: Dirty, volume: Volume, marks: tuple[JournalMark, ...] = (), *, rest_ms: int = 0) -> Change:
    """What is to be committed: the pages that a connection wrote, and what the root shall remember with them."""
    return Change(
        dirty.pages,
        dirty.page_size,
        dirty.page_count,
        dirty.checksum,
        time_ms=volume.environment.now_ms(),
        marks=marks,
        rest_ms=rest_ms,
        part_bytes=volume.part_bytes,
        whole=volume.whole,
        recent_bytes=volume.recent_bytes,
    )
