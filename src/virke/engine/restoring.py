"""Bringing an earlier version back: a new commit whose pages are those of then (decision 0037).

Knows history, snapshots and the table of keyed requests; how pages get into the store is `streaming`'s and `long_writes`'.

1. A restore is a commit like any other, on the newest root: what was answered stays in history, and the version before
   it undoes it (P1). It begins an epoch, so that every connection reads the schema again.
2. The pages that were written since are copied from then to now, part by part, in bounded memory; no older segment is
   named again, because what comes later must follow what is there, and branches rely on it.
3. What was answered does not go back: the answers to keyed requests that the newest state has are in the restored one,
   too (P2). So the table of keyed requests is the one thing that may differ from then. Ring and journal marks are the root's.
4. If no page was written since, there is nothing to do, and nothing is committed.
5. What is collected while it is read is `NotFound`; nothing was changed then (P6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from virke.core.change import Change
from virke.core.ids import PageCount, PageNo, Version
from virke.core.page import lock_page, page_hash, stamped_page, with_later_schema
from virke.core.reach import checked_version
from virke.engine import keyed
from virke.engine.connection import Connection
from virke.engine.history import History
from virke.engine.long_writes import LongWrite
from virke.engine.results import Restored
from virke.engine.snapshot import READ_AHEAD_PAGES, Snapshot
from virke.engine.vfs import Dirty
from virke.engine.volume import Volume
from virke.errors import Conflict, Corrupt
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.core.moments import At

WINDOW_PAGES: Final = 64 << 10
"""How many pages are sorted out at a time: what bounds the memory of a restore."""
_MAKE_FIRST_PAGE: Final = "PRAGMA user_version = 0"


@dataclass(frozen=True, slots=True)
class _Brought:
    """The state of then on its way to be the newest: `base` is the newest now, `over` what is written above `target`."""

    base: Snapshot
    target: Snapshot
    over: Mapping[PageNo, bytes]
    page_size: int
    page_count: int
    checksum: int
    first: bytes
    """Page 1 as it is stored."""


class Restoring:
    """Restores of one database."""

    def __init__(
        self,
        volume: Volume,
        history: History,
        *,
        connect: Callable[[], Connection],
        long_write: Callable[[], LongWrite],
    ) -> None:
        self._volume = volume
        self._history = history
        self._connect = connect
        self._long_write = long_write

    def restore(self, at: At, *, dry_run: bool) -> Restored:
        """Make the state that `at` means the newest one; with `dry_run` only say what that would change.

        Raises:
            Invalid: `at` is neither a version nor a time. NotFound: history does not have it.
            Conflict: the race was lost `max_attempts` times. Unavailable. Nothing was changed.
            OutcomeUnknown: it may have been done; `versions` says.
        """
        if dry_run:
            version = self._history.version_of(at)
            base = self._volume.snapshot()
            return self._restored_result(base, self._volume.snapshot_at(version), base.root.head.version, dry_run=True)
        with self._long_write() as write:
            attempts = write.settings().max_attempts
            version = self._history.version_of(at)
            for attempt in range(attempts):
                base = write.snapshot()
                try:
                    return self._attempt_restore(write, base, version)
                except Conflict:
                    if attempt + 1 == attempts:
                        raise
                except Corrupt:
                    checked_version(self._volume.branch.refresh().root, version)  # collected meanwhile: that is why
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _attempt_restore(self, write: LongWrite, base: Snapshot, version: int) -> Restored:
        target, before = self._volume.snapshot_at(version), base.root.head.version
        if not self._written_since(base, target):
            return self._restored_result(base, target, before, dry_run=False)
        brought = self._brought_state(base, target)
        change = Change(
            {},
            brought.page_size,
            PageCount(brought.page_count),
            brought.checksum,
            self._volume.environment.now_ms(),
            restores=Version(target.version),
        )
        made = write.commit_state(base, change, pages=self._pages_to_write(brought))
        return self._restored_result(base, target, made, dry_run=False)

    def _restored_result(self, base: Snapshot, target: Snapshot, version: int, *, dry_run: bool) -> Restored:
        head = target.head
        return Restored(
            restored_version=head.version,
            time_ms=head.time_ms,
            version=version,
            replaced=base.root.head.version,
            pages=self._written_since(base, target),
            size_bytes=head.page_count * head.page_size,
            dry_run=dry_run,
        )

    def _written_since(self, base: Snapshot, target: Snapshot) -> int:
        """How many pages of then have to be written."""
        return sum(map(len, self._page_numbers(base, target, target.page_count)))

    def _page_numbers(self, base: Snapshot, target: Snapshot, count: int) -> Iterator[set[PageNo]]:
        """The pages up to `count` that a restore has to write, a window at a time."""
        skip = lock_page(target.page_size)
        born_from = base.page_count + 1 if base.page_size == target.page_size else 1
        for first in range(1, max(count, 1) + 1, WINDOW_PAGES):
            last = min(first + WINDOW_PAGES - 1, max(count, 1))
            found = self._history.changed(
                base.root, Version(target.version), base.root.head.version, first=first, last=last
            )
            found.update(map(PageNo, range(max(first, born_from), min(last, count) + 1)))
            found.discard(skip)
            yield found

    def _pages_to_write(self, brought: _Brought) -> Iterator[tuple[PageNo, bytes]]:
        """The pages to write, ascending."""
        over, target = brought.over, brought.target
        last = 0
        for window in self._page_numbers(brought.base, target, brought.page_count):
            end = last + WINDOW_PAGES
            numbers = sorted({*window, *(page for page in over if last < page <= end)} - {1})
            if last == 0:
                yield PageNo(1), brought.first
            last = end
            for at in range(0, len(numbers), READ_AHEAD_PAGES):
                some = numbers[at : at + READ_AHEAD_PAGES]
                old = [page for page in some if page not in over]
                datas = dict(zip(old, self._volume.pages(target, old), strict=True))
                for page in some:
                    yield page, datas[page] if page in datas else over[page]

    def _brought_state(self, base: Snapshot, target: Snapshot) -> _Brought:
        over = self._with_answers(base, target)
        head = target.head
        pages = over.pages if over else {}
        size, count = (over.page_size, over.page_count) if over else (head.page_size, head.page_count)
        before = pages.get(PageNo(1)) or target.page(1)
        first = stamped_page(before, Version(base.root.head.version + 1))
        if base.page_count:
            first = with_later_schema(first, base.page(1))
        checksum = (over.checksum if over else head.checksum) ^ page_hash(1, before) ^ page_hash(1, first)
        return _Brought(base, target, pages, size, count, checksum, first)

    # What must not go back

    def _with_answers(self, base: Snapshot, target: Snapshot) -> Dirty | None:
        """What has to be written above `target`: the answers of keyed requests that it does not have, or a first page."""
        now, then = self._connect(), self._connect()
        try:
            now.move(base)
            then.move(target)
            now.control("BEGIN")
            then.control("BEGIN IMMEDIATE")
            if not target.page_count:
                then.internal(_MAKE_FIRST_PAGE)
            copied = keyed.copy_answers(now, then, now_ms=self._volume.environment.now_ms())
            if not copied and target.page_count:
                return None
            then.control("COMMIT")
            return then.file.change(Version(base.root.head.version + 1))
        finally:
            now.close()
            then.close()
