"""The root: the one mutable record of a branch, and everything a commit changes at once.

Pure. Byte layout: docs/format.md (format version 1). Knows segments by reference and recent commits by value;
knows no store.

1. Every swap of the root is a commit and takes the next version, upkeep included.
2. `ring[i]` is the commit of version `head.version - len(ring) + 1 + i`: the newest is last.
3. `segments` ascend: each holds later versions than the one before. `inline` commits follow them all.
4. No two roots have equal bytes: the commit id of each swap is in them.
5. A root carries its database's name and branch: one that lies under another key is `Corrupt` (`check_place`).

What many roots have in common (ring entries, references, inline commits) keeps its bytes once they were encoded:
a commit encodes only what it adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from virke.core.effects import Generation, Tier
from virke.core.ids import ID_BYTES, MAIN_BRANCH, CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.segment import (
    TEXT_MAX,
    Frame,
    Head,
    Ref,
    read_frame,
    read_head,
    read_ref,
    write_frame,
    write_head,
)
from virke.core.settings import Settings, load
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt, Invalid

MAGIC: Final = b"VirkeDB\0"
FORMAT: Final = 1
ROOT_BYTES_MAX: Final = 16 << 20
RING_LENGTH: Final = 64
ANSWERS_MAX: Final = 4096
JOURNALS_MAX: Final = 256
SETTING_BYTES_MAX: Final = 4096
_TIERS: Final = (Tier.KV, Tier.OBJECT)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with this idempotency key was told: 16 bytes of the key's hash, rows affected."""

    key: bytes
    rows: int


@dataclass(frozen=True)
class RingEntry:
    """One recent commit: its id, and the answers that it gave."""

    commit_id: CommitId
    answers: tuple[Answer, ...] = ()

    @cached_property
    def encoded(self) -> bytes:
        """Its bytes in a root."""
        out = Writer()
        out.raw(self.commit_id)
        out.varint(len(self.answers))
        for answer in self.answers:
            out.raw(answer.key)
            out.varint(answer.rows)
        return out.bytes()


@dataclass(frozen=True, slots=True)
class JournalMark:
    """How far a node's journal has been pushed: entries up to `sequence` are in history."""

    journal_id: bytes
    sequence: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far collection has come (core/collect.py).

    Versions below `version` may be gone. `watermark` is the version of the swap that said so, at `since_ms`.
    `swept_*` are the horizon and the watermark whose garbage has been deleted.
    """

    version: Version
    watermark: Version
    since_ms: int
    swept_version: Version
    swept_watermark: Version

    @property
    def is_pending(self) -> bool:
        """Whether garbage of this horizon is still to be deleted."""
        return self.version > self.swept_version or self.watermark > self.swept_watermark


NO_HORIZON: Final = Horizon(Version(0), Version(0), 0, Version(0), Version(0))


@dataclass(frozen=True)
class Inline:
    """A small recent commit, carried by the root itself: its frames lie one after another in `data`."""

    head: Head
    frames: tuple[Frame, ...]
    data: bytes

    @cached_property
    def encoded(self) -> bytes:
        """Its bytes in a root."""
        out = Writer()
        write_head(out, self.head)
        out.varint(len(self.frames))
        before = PageNo(0)
        for frame in self.frames:
            write_frame(out, frame, before)
            before = frame.pages[-1]
        out.blob(self.data)
        return out.bytes()

    @cached_property
    def places(self) -> dict[PageNo, tuple[Frame, int]]:
        """Where each of its pages lies: the frame, and the page's place in it."""
        return {page: (frame, slot) for frame in self.frames for slot, page in enumerate(frame.pages)}


@dataclass(frozen=True, slots=True)
class Root:
    """A branch of a database as of its newest version."""

    database_id: DatabaseId
    name: str
    branch: str
    epoch: Epoch
    head: Head
    created_ms: int
    tier: Tier
    settings: Settings = field(default_factory=Settings)
    ring: tuple[RingEntry, ...] = ()
    journals: tuple[JournalMark, ...] = ()
    horizon: Horizon = NO_HORIZON
    segments: tuple[Ref, ...] = ()
    inline: tuple[Inline, ...] = ()

    def commit_at(self, version: Version) -> RingEntry | None:
        """The commit of `version`, if the ring still remembers it."""
        at = version - (self.head.version - len(self.ring) + 1)
        return self.ring[at] if 0 <= at < len(self.ring) else None

    def answer_to(self, key: bytes) -> tuple[Version, Answer] | None:
        """What the request with this idempotency key was told, if the ring still remembers it."""
        for back, entry in enumerate(reversed(self.ring)):
            for answer in entry.answers:
                if answer.key == key:
                    return Version(self.head.version - back), answer
        return None

    def pushed(self, journal_id: bytes) -> int:
        """The last sequence number of a node's journal that is in history; 0 for none."""
        return next((mark.sequence for mark in self.journals if mark.journal_id == journal_id), 0)


NOT_TOLD: Final = Generation("")
"""In the place of a generation that the answer to a swap did not carry: it has to be read before the next swap."""


@dataclass(frozen=True, slots=True)
class RootAt:
    """A root as it was read, with the generation to swap against (or `NOT_TOLD`)."""

    root: Root
    generation: Generation


def first_root(
    *, name: str, database_id: DatabaseId, commit_id: CommitId, time_ms: int, page_size: int, tier: Tier
) -> Root:
    """The root of a new, empty database: version 1, no pages."""
    head = Head(Version(1), commit_id, time_ms, page_size, PageCount(0), 0)
    return Root(database_id, name, MAIN_BRANCH, Epoch(1), head, time_ms, tier, ring=(RingEntry(commit_id),))


def encode_root(root: Root) -> bytes:
    """The bytes of a root.

    Raises:
        Invalid: it would be larger than any reader accepts.
    """
    out = Writer()
    out.raw(MAGIC)
    out.u16(FORMAT)
    out.raw(root.database_id)
    out.text(root.name)
    out.text(root.branch)
    out.varint(root.epoch)
    write_head(out, root.head)
    out.varint(root.created_ms)
    out.u8(_TIERS.index(root.tier))
    _write_settings(out, root.settings)
    _write_ring(out, root)
    horizon = root.horizon
    for number in (
        horizon.version,
        horizon.watermark,
        horizon.since_ms,
        horizon.swept_version,
        horizon.swept_watermark,
    ):
        out.varint(number)
    out.varint(len(root.segments))
    for ref in root.segments:
        out.raw(ref.encoded)
    out.varint(len(root.inline))
    for commit in root.inline:
        out.raw(commit.encoded)
    data = out.sealed()
    if len(data) > ROOT_BYTES_MAX:
        raise Invalid(f"the root would have {len(data)} bytes; at most {ROOT_BYTES_MAX}")
    return data


def decode_root(data: bytes, name: str) -> Root:
    """The root that the register of database `name` holds.

    Raises:
        Corrupt: the bytes are damaged, not a root, or of a newer format.
    """
    what = f"root of {name}"
    if len(data) > ROOT_BYTES_MAX:
        raise Corrupt(f"{what}: {len(data)} bytes is too large")
    if data[: len(MAGIC)] != MAGIC:
        raise Corrupt(f"{what}: not a Virke root")
    source = Reader.unsealed(data, what)
    source.raw(len(MAGIC))
    if (found := source.u16()) != FORMAT:
        raise source.fail(f"format version {found} is not known to this Virke (knows {FORMAT}); upgrade it")
    database_id = DatabaseId(source.raw(ID_BYTES))
    own_name = source.text(TEXT_MAX)
    branch = source.text(TEXT_MAX)
    epoch = Epoch(source.varint())
    head = read_head(source)
    created_ms = source.varint()
    tier = source.u8()
    if tier >= len(_TIERS):
        raise source.fail(f"unknown tier {tier}")
    root = Root(
        database_id=database_id,
        name=own_name,
        branch=branch,
        epoch=epoch,
        head=head,
        created_ms=created_ms,
        tier=_TIERS[tier],
        settings=_read_settings(source),
        ring=tuple(_read_ring(source)),
        journals=tuple(_read_journals(source)),
        horizon=Horizon(
            Version(source.varint()),
            Version(source.varint()),
            source.varint(),
            Version(source.varint()),
            Version(source.varint()),
        ),
        segments=tuple(read_ref(source) for _ in range(source.count(50))),
        inline=tuple(_read_inline(source) for _ in range(source.count(40))),
    )
    source.done()
    return _checked(root, source)


def has_same_pages(root: Root, other: Root) -> bool:
    """Whether two roots of a branch show the same database: between them only references or settings changed.

    By the database checksum (64 bits over all pages) and the sizes; what changed and came back counts as the same.
    """
    one, two = root.head, other.head
    return (root.database_id, root.branch, root.epoch, one.checksum, one.page_count, one.page_size) == (
        other.database_id,
        other.branch,
        other.epoch,
        two.checksum,
        two.page_count,
        two.page_size,
    )


def check_place(root: Root, name: str, branch: str = MAIN_BRANCH) -> Root:
    """Return `root` if it is the one of database `name` and `branch`.

    Raises:
        Corrupt: another root lies under this key.
    """
    if (root.name, root.branch) != (name, branch):
        raise Corrupt(f"root of {name}: the root of {root.name!r}, branch {root.branch!r}, lies under this key")
    return root


def _checked(root: Root, source: Reader) -> Root:
    """Refuse a root whose parts contradict each other."""
    before = Version(0)
    for ref in root.segments:
        if ref.lo <= before or ref.identity.database_id != root.database_id:
            raise source.fail("segments are not in order, or another database's")
        before = ref.hi
    for commit in root.inline:
        if commit.head.version <= before:
            raise source.fail("inline commits are not in order")
        before = commit.head.version
    if before > root.head.version or not root.ring or root.ring[-1].commit_id != root.head.commit_id:
        raise source.fail("head, ring and commits contradict each other")
    return root


def _write_settings(out: Writer, settings: Settings) -> None:
    stored = settings.stored()
    out.varint(len(stored))
    for key, value in sorted(stored.items()):
        out.text(key)
        out.text(value)


def _read_settings(source: Reader) -> Settings:
    stored = {}
    for _ in range(source.count(2)):
        key = source.text(SETTING_BYTES_MAX)
        stored[key] = source.text(SETTING_BYTES_MAX)
    try:
        return load(stored)
    except Invalid as error:
        raise source.fail(str(error)) from error


def _write_ring(out: Writer, root: Root) -> None:
    out.varint(len(root.ring))
    out.raw(b"".join([entry.encoded for entry in root.ring]))
    out.varint(len(root.journals))
    for mark in root.journals:
        out.raw(mark.journal_id)
        out.varint(mark.sequence)
        out.varint(mark.time_ms)


def _read_ring(source: Reader) -> Iterator[RingEntry]:
    for _ in range(source.count(ID_BYTES + 1)):
        commit_id = CommitId(source.raw(ID_BYTES))
        answers = tuple(Answer(source.raw(ID_BYTES), source.varint()) for _ in range(source.varint(ANSWERS_MAX)))
        yield RingEntry(commit_id, answers)


def _read_journals(source: Reader) -> Iterator[JournalMark]:
    for _ in range(source.count(ID_BYTES + 2)):
        yield JournalMark(source.raw(ID_BYTES), source.varint(), source.varint())


def _read_inline(source: Reader) -> Inline:
    head = read_head(source)
    before, frames = PageNo(0), []
    for _ in range(source.count(8)):
        frame = read_frame(source, before, head.page_size)
        before = frame.pages[-1]
        frames.append(frame)
    data = source.blob(ROOT_BYTES_MAX)
    at = 0
    for frame in frames:
        if frame.offset != at or frame.part != 0:
            raise source.fail("inline frames do not follow each other")
        at += frame.length
    if at != len(data):
        raise source.fail("inline frames do not fill their bytes")
    return Inline(head, tuple(frames), data)
