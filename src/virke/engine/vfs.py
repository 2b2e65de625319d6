"""A file for SQLite that is really a snapshot and an overlay of dirty pages; and the request's clock.

Knows SQLite's VFS calls and pages; knows no store, no root and no SQL. One connection has one VFS and one file.

State: clean (snapshot only) → SQLite writes → dirty (overlay) → `accept` or `drop` → clean on a snapshot.

1. Between `move` calls every read comes from one snapshot, or from what this connection wrote over it.
2. When page 1 is read from a snapshot, its change counter is replaced by one that this connection has never seen,
   for each `move`: SQLite's cache can't take pages of one history for another's.
3. After `accept` the counter is the one SQLite wrote itself: its cache stays warm.
4. Pages beyond the lowest size of the transaction are gone: `change` writes every page that came into being since,
   as zeros where SQLite did not write it, so that no older page can shine through (core/pagemap.py, rule 2).
5. Pages that came along with one (`Pages.run`) are handed out only of the snapshot that is shown, and while nothing was written
   since they came.
6. Nothing but the database file can be opened: journals and temporary files stay in memory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Final

from virke.collector import outside
from virke.core.ids import PageCount, PageNo, Version
from virke.core.page import PAGE_SIZES, header_page_size, lock_page, page_hash, stamped_page
from virke.engine.layers import Pages, Patch
from virke.engine.sqlite import VFS, BusyError, Connection
from virke.errors import Corrupt, NotHere, TooLarge, VirkeError
from virke.stores.receipt import current_receipt

UNIX_EPOCH_JULIAN_MS: Final = 210_866_760_000_000
SECTOR_BYTES: Final = 512
_U32_MAX: Final = 0xFFFFFFFF
HASHES_KEPT: Final = 1024
"""Of pages that are known from one commit to the next; the first page is in each."""
FORWARD: Final = 4
"""A read of a page so little behind the last one is one of a scan: pages of other trees are between those of one."""
_NUMBERS: Final = itertools.count(1)
Overlay = MutableMapping[PageNo, bytes]  # pages that a transaction wrote, wherever they are kept


class Dirty:
    """The outcome of a write transaction: the pages to commit and the state after it."""

    __slots__ = ("checksum", "page_count", "page_size", "pages")

    def __init__(self, pages: dict[PageNo, bytes], page_size: int, page_count: int, checksum: int) -> None:
        self.pages = pages
        self.page_size = page_size
        self.page_count = PageCount(page_count)
        self.checksum = checksum


class PagedFile:
    """SQLite's view of one snapshot plus overlay."""

    def __init__(self, snapshot: Pages, overlay_bytes_max: int, overlay: Callable[[], Overlay] = dict) -> None:
        self.overlay_bytes_max, self._new_overlay = overlay_bytes_max, overlay
        self._counter = 1
        self.failure: VirkeError | None = None
        self.pages_left: int | None = None
        """How many more pages may be read, from memory only (`NotHere`); None: as many as it takes, from anywhere."""
        self._start_snapshot(snapshot)

    def _start_snapshot(self, snapshot: Pages, hashes: dict[PageNo, int] | None = None) -> None:
        self.snapshot = snapshot
        self._hashes = hashes or {}  # of pages of the snapshot, as far as they are known
        self._new_hashes: dict[PageNo, int] = {}  # of what `change` returned: the snapshot's once that is committed
        self._page_size = snapshot.head.page_size
        self._size = snapshot.head.page_count * self._page_size
        self._floor = self._size
        self._overlay = self._new_overlay()
        self._run: dict[PageNo, bytes] = {}  # what came with the page that was read last, while nothing is written
        self._reached = -FORWARD  # that page, or the last of those that came with it
        self._first = b""  # the first page of the snapshot, which SQLite reads in pieces

    # What the database does with it

    def move(self, snapshot: Pages) -> None:
        """Drop the overlay and show another snapshot (invariant 2)."""
        self._counter = (self._seen_counter() + 1) & _U32_MAX
        self._start_snapshot(snapshot)

    def accept(self, snapshot: Pages) -> None:
        """The overlay was committed and is now `snapshot` (invariant 3)."""
        self._counter = self._seen_counter()
        known = self._hashes | self._new_hashes
        self._start_snapshot(snapshot, known if len(known) <= HASHES_KEPT else {})

    @property
    def is_dirty(self) -> bool:
        """True if something was written since the last `move` or `accept`."""
        return bool(self._overlay) or self._size != self.snapshot.head.page_count * self.snapshot.head.page_size

    def patch(self, *, copies: bool = True) -> Patch:
        """What was written since the last `move` or `accept`, as it is now; without a copy it is true until the next write."""
        size, pages = self._page_size, dict(self._overlay) if copies else self._overlay
        return Patch(pages, size, self._size // size, self._floor // size)

    def put(self, patch: Patch) -> None:
        """Write a patch over the snapshot, in the place of what was written."""
        self._run = {}
        self._page_size = patch.page_size
        self._size, self._floor = patch.page_count * patch.page_size, patch.floor * patch.page_size
        self._overlay = dict(patch.pages)

    def undo(self) -> None:
        """SQLite has rolled back what was written: the file is as it was at the last `move` or `accept`."""
        self._start_snapshot(self.snapshot)

    def change(self, version: Version) -> Dirty | None:
        """What the transaction changed, to be committed as `version`; None if nothing.

        Raises:
            Corrupt: SQLite wrote a page 1 that is none (never seen), or an old page is damaged.
        """
        if not self.is_dirty:
            return None
        old = self.snapshot.head
        first = self._overlay.get(PageNo(1)) or (self._page_bytes(PageNo(1)) if self._size else b"")
        if not first:
            raise Corrupt("a transaction left the database without a first page")
        page_size = header_page_size(first)
        pages = self._changed_pages() if page_size == old.page_size else self._pages_cut_again(page_size)
        pages[PageNo(1)] = stamped_page(first if page_size == self._page_size else pages[PageNo(1)], version)
        count = self._size // page_size
        return Dirty(pages, page_size, count, self._new_checksum(pages, page_size, count))

    def _changed_pages(self) -> dict[PageNo, bytes]:
        size, old = self._page_size, self.snapshot.head
        count, kept = self._size // size, min(self._floor // size, old.page_count)
        skip = lock_page(size)
        pages = {number: data for number, data in self._overlay.items() if number <= count and number != skip}
        if old.page_size == size:
            for number in [number for number in pages if number <= kept and number != 1]:
                before = self.snapshot.page(number)
                if pages[number] == before:
                    del pages[number]
                elif number not in self._hashes:
                    self._hashes[number] = page_hash(number, before)
        zeros = bytes(size)
        for born in range(kept + 1, count + 1):
            if born != skip:
                pages.setdefault(PageNo(born), zeros)
        return pages

    def _pages_cut_again(self, page_size: int) -> dict[PageNo, bytes]:
        """All pages, cut again: the transaction changed the page size."""
        if page_size == self._page_size:
            whole = {
                PageNo(number): self._page_bytes(PageNo(number)) for number in range(1, self._size // page_size + 1)
            }
            whole.pop(lock_page(page_size), None)
            return whole
        last = -(-self._size // self._page_size)  # smaller pages may end inside one of the old size
        data = b"".join(self._page_bytes(PageNo(number)) for number in range(1, last + 1))
        skip = lock_page(page_size)
        return {
            PageNo(at // page_size + 1): data[at : at + page_size]
            for at in range(0, self._size, page_size)
            if at // page_size + 1 != skip
        }

    def _new_checksum(self, pages: dict[PageNo, bytes], page_size: int, count: int) -> int:
        old, checksum = self.snapshot.head, 0
        if page_size == old.page_size:
            checksum = old.checksum
            replaced = [number for number in pages if number <= old.page_count]
            cut = range(count + 1, old.page_count + 1)
            for number in itertools.chain(replaced, map(PageNo, cut)):
                if number != lock_page(page_size):
                    known = self._hashes.get(number)
                    checksum ^= page_hash(number, self.snapshot.page(number)) if known is None else known
        self._new_hashes = {number: page_hash(number, data) for number, data in pages.items()}
        for hashed in self._new_hashes.values():
            checksum ^= hashed
        return checksum

    def _seen_counter(self) -> int:
        first = self._overlay.get(PageNo(1))
        return int.from_bytes(first[24:28], "big") if first else self._counter

    # Reading and writing pages

    def _page_bytes(self, number: PageNo) -> bytes:
        if number in self._run and self.pages_left is None:
            if receipt := current_receipt():
                receipt.add_pages(1)
            return self._run.pop(number)
        data = self._overlay.get(number)
        if data is not None:
            return data
        size = self._page_size
        if (number - 1) * size >= self._floor or size != self.snapshot.head.page_size or number == lock_page(size):
            return bytes(size)
        if self.pages_left is not None:
            data = self._page_here(number)
        elif number == 1 and self._first:
            return self._first
        elif 0 < number - self._reached <= FORWARD and not self._overlay and self._floor == self._size:
            data = self._begin_run(number)
        else:
            self._reached = number
            data = self.snapshot.page(number)
        if number == 1:
            counter = self._counter.to_bytes(4, "big")
            self._first = b"".join((data[:24], counter, data[28:92], counter, data[96:]))
            return self._first
        return data

    def _begin_run(self, number: PageNo) -> bytes:
        """A page of a scan; what comes with it is handed out without asking again."""
        self._run = self.snapshot.run(number)
        self._reached = max(self._run)
        self._run.pop(PageNo(1), None)  # its counter is the file's own
        return self._run.pop(number)

    def _page_here(self, number: PageNo) -> bytes:
        assert self.pages_left is not None, "the caller looked"
        self.pages_left -= 1
        data = self.snapshot.page_here(number) if self.pages_left >= 0 else None
        if data is None:
            raise NotHere("a page has to be fetched")
        return data

    # SQLite's calls

    def xRead(self, amount: int, offset: int) -> bytes:
        """Bytes of the database; fewer than asked only at its end."""
        size = self._page_size
        number, inside = divmod(offset, size)
        try:
            if amount == size and not inside:
                return self._page_bytes(PageNo(number + 1)) if offset < self._size else b""
            end = min(offset + amount, self._size)
            data = bytearray()
            while offset < end:
                number, inside = divmod(offset, size)
                piece = self._page_bytes(PageNo(number + 1))[inside : inside + end - offset]
                data += piece
                offset += len(piece)
            return bytes(data)
        except VirkeError as error:
            error.is_stores = True
            self.failure = error
            raise

    def xWrite(self, data: bytes, offset: int) -> None:
        """Put bytes into the overlay."""
        self._run = {}
        if not self._size and not self._overlay and len(data) in PAGE_SIZES:
            self._page_size = len(data)
        size, length = self._page_size, len(data)
        if length == size and not offset % size:
            self._overlay[PageNo(offset // size + 1)] = bytes(data)
        else:
            self._patch_pages(bytes(data), offset)
        self._size = max(self._size, offset + length)
        if len(self._overlay) * size > self.overlay_bytes_max:
            self.failure = TooLarge(
                f"the transaction changes more than {self.overlay_bytes_max >> 20} MiB; "
                "split it, or use `virke db import`"
            )
            raise self.failure

    def _patch_pages(self, data: bytes, offset: int) -> None:
        size, end = self._page_size, offset + len(data)
        at = offset
        while at < end:
            number, inside = divmod(at, size)
            take = min(size - inside, end - at)
            page = bytearray(self._page_bytes(PageNo(number + 1)))
            page[inside : inside + take] = data[at - offset : at - offset + take]
            self._overlay[PageNo(number + 1)] = bytes(page)
            at += take

    def xTruncate(self, size: int) -> None:
        """Cut the database to `size` bytes."""
        self._run = {}
        self._size = size
        self._floor = min(self._floor, size)
        for number in [number for number in self._overlay if (number - 1) * self._page_size >= size]:
            del self._overlay[number]

    def xFileSize(self) -> int:
        """Size in bytes."""
        return self._size

    def xLock(self, level: int) -> None:
        """Nothing to lock: the snapshot never changes, and the swap decides between writers."""

    def xUnlock(self, level: int) -> None:
        """See `xLock`."""

    def xCheckReservedLock(self) -> bool:
        """No other connection shares this file."""
        return False

    def xSync(self, flags: int) -> None:
        """Durability comes from the swap."""

    def xClose(self) -> None:
        """Nothing is held."""

    def xSectorSize(self) -> int:
        """The smallest page size."""
        return SECTOR_BYTES

    def xDeviceCharacteristics(self) -> int:
        """No promise that SQLite could use."""
        return 0

    def xFileControl(self, operation: int, pointer: int) -> bool:
        """No file control is known."""
        return False


class SnapshotVFS(VFS):
    """The VFS of one connection: opens its one file, and gives the request's time."""

    def __init__(self, file: PagedFile) -> None:
        self.name = f"virke-{os.urandom(4).hex()}-{next(_NUMBERS)}"
        self.file = file
        self.now_ms: int | None = 0
        """The request's instant; None: the first moment at which its SQL asks for the time."""
        self.clock: Callable[[], int] = lambda: 0
        super().__init__(self.name, base="")

    def xOpen(self, name: object, flags: list[int]) -> PagedFile:  # type: ignore[override]
        """The paged file; nothing else exists."""
        return self.file

    def xFullPathname(self, name: str) -> str:
        """Names are not paths."""
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        """No other file exists."""
        return False

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Nothing to delete."""

    def xRandomness(self, numbytes: int) -> bytes:
        """The system's randomness."""
        return os.urandom(numbytes)

    def xSleep(self, microseconds: int) -> int:
        """SQLite never needs to wait: nothing is locked."""
        return microseconds

    def xCurrentTime(self) -> float:
        """The request's instant as a Julian day."""
        return self.xCurrentTimeInt64() / 86_400_000

    def xCurrentTimeInt64(self) -> int:
        """The request's instant in Julian milliseconds."""
        if self.now_ms is None:
            self.now_ms = self.clock()
        return UNIX_EPOCH_JULIAN_MS + self.now_ms

    def xGetLastError(self) -> tuple[int, str]:
        """No operating system below."""
        return 0, ""


def release_connection(raw: Connection, vfs: SnapshotVFS) -> None:
    """End a connection that was closed, or just dropped, and its VFS, which stays registered until this is called."""
    try:
        _release(raw, vfs)
    except BusyError:  # a cursor that the collector met as well: its statement ends when the collector is done
        outside(partial(_release, raw, vfs))


def _release(raw: Connection, vfs: SnapshotVFS) -> None:
    raw.close(True)
    vfs.unregister()
