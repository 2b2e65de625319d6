"""The root: the one mutable record of a branch, and everything a commit changes at once.

Pure. Byte layout: docs/format.md (format versions 1 and 2). Knows segments by reference and recent commits by value;
knows no store.

1. Every swap of the root is a commit and takes the next version, upkeep included.
2. `ring[i]` is the commit of version `head.version - len(ring) + 1 + i`: the newest is last.
3. `segments` ascend: each holds later versions than the one before. `inline` commits follow them all.
4. No two roots have equal bytes: the commit id of each swap is in them.
5. A root carries its database's name and branch: one that is found under another key is `Corrupt` (`check_place`).
6. Format 2 is what is written; format 1 is read for ever, and becomes 2 with the next commit.
7. An extension that this Virke does not know is carried along by every commit, byte for byte; one that is marked
   critical makes the root unreadable.

What many roots have in common (ring entries, references, inline commits) keeps its bytes once they were encoded:
a commit encodes only what it adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Any, Final

from virke.core.effects import Generation, Tier
from virke.core.extensions import Extension, read_extensions, write_extensions
from virke.core.ids import ID_BYTES, MAIN_BRANCH, CommitId, DatabaseId, Epoch, PageCount, Version
from virke.core.inline import INLINE_BYTES_MIN, Inline, read_inline
from virke.core.pins import (
    TOMBSTONE_MAGIC,
    Parent,
    Pin,
    Tombstone,
    decode_tombstone,
    read_parent,
    read_pins,
    write_parent,
    write_pins,
)
from virke.core.ring import Answer, RingEntry, read_ring, write_ring
from virke.core.segment import TEXT_MAX, Head, Ref, read_head, read_ref, write_head
from virke.core.settings import FORMAT_1_DEFAULTS, Settings, load_settings
from virke.core.turn import Turn, read_turn, write_turn
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt, Invalid, NotFound
from virke.lazy_dataclasses import dataclass

MAGIC: Final = b"VirkeDB\0"
FORMAT: Final = 2
FORMATS: Final = (1, 2)
ROOT_BYTES_MAX: Final = 16 << 20
JOURNALS_MAX: Final = 256
SETTING_BYTES_MAX: Final = 4096
NO_ENTRY: Final = bytes(ID_BYTES)
"""In the place of a journal entry's id in marks that were read from format 1."""
FIRST_EPOCH: Final = Epoch(1)
NEVER: Final = Version(0)
_TIERS: Final = (Tier.KV, Tier.OBJECT)


@dataclass(frozen=True, slots=True)
class JournalMark:
    """How far a node's journal has been pushed: entries up to `sequence`, whose own id is `entry_id`, are in history."""

    journal_id: bytes
    sequence: int
    time_ms: int
    entry_id: bytes = NO_ENTRY


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
    ring: Sequence[RingEntry] = ()
    journals: tuple[JournalMark, ...] = ()
    horizon: Horizon = NO_HORIZON
    segments: tuple[Ref, ...] = ()
    inline: tuple[Inline, ...] = ()
    birth_epoch: Epoch = FIRST_EPOCH
    """The epoch of its first root: what distinguishes this life of the branch from earlier ones of the same name."""
    parent: Parent | None = None
    """None for `main` alone."""
    pins: tuple[Pin, ...] = ()
    turn: Turn | None = None
    rest_ms: int = 0
    """For how long no turn may be taken once this root was seen."""
    marks_dropped: Version = NEVER
    """Marks of journals were dropped before this version; 0 if none ever was."""
    extensions: tuple[Extension, ...] = ()

    def commit_at(self, version: Version) -> RingEntry | None:
        """The commit of `version`, if the ring still remembers it."""
        at = version - (self.head.version - len(self.ring) + 1)
        return self.ring[at] if 0 <= at < len(self.ring) else None

    def answer_to(self, key: bytes) -> tuple[Version, Answer] | None:
        """What the request with this idempotency key was answered, if the ring still remembers it."""
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
    return Root(database_id, name, MAIN_BRANCH, FIRST_EPOCH, head, time_ms, tier, ring=(RingEntry(commit_id),))


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
    out.raw(_encoded_settings(root.settings))
    write_ring(out, root.ring)
    _write_journals(out, root)
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
    out.raw(b"".join([ref.encoded for ref in root.segments]))
    out.varint(len(root.inline))
    out.raw(b"".join([commit.encoded for commit in root.inline]))
    _write_second(out, root)
    data = out.sealed()
    if len(data) > ROOT_BYTES_MAX:
        raise Invalid(f"the root would have {len(data)} bytes; at most {ROOT_BYTES_MAX}")
    return data


def decode_record(data: bytes, name: str) -> Root | Tombstone:
    """What a branch's register of database `name` holds: a living root, or what a deleted branch left.

    Raises:
        Corrupt: as `decode_root`.
    """
    if data[: len(TOMBSTONE_MAGIC)] == TOMBSTONE_MAGIC:
        return decode_tombstone(data, f"tombstone in {name}")
    what = f"root of {name}"
    if len(data) > ROOT_BYTES_MAX:
        raise Corrupt(f"{what}: {len(data)} bytes is too large")
    if data[: len(MAGIC)] != MAGIC:
        raise Corrupt(f"{what}: not a Virke root")
    source = Reader.unsealed(data, what)
    source.raw(len(MAGIC))
    if (found := source.u16()) not in FORMATS:
        raise source.fail(f"format version {found} is not known to this Virke (knows {FORMAT}); upgrade it")
    fields = _read_first(source, found)
    if found > 1:
        fields |= _read_second(source)
    source.done()
    return _checked_root(Root(**fields), source)


def decode_root(data: bytes, name: str) -> Root:
    """The root that the register of database `name` holds.

    Raises:
        Corrupt: the bytes are damaged, not a root, or of a newer format. NotFound: the branch was deleted.
    """
    found = decode_record(data, name)
    if isinstance(found, Tombstone):
        raise NotFound(f"branch {found.branch!r} of {name!r} was deleted")
    return found


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
        Corrupt: another root is under this key.
    """
    if (root.name, root.branch) != (name, branch):
        raise Corrupt(f"root of {name}: the root of {root.name!r}, branch {root.branch!r}, is under this key")
    return root


def _checked_root(root: Root, source: Reader) -> Root:
    """Refuse a root whose parts contradict each other."""
    before = Version(0)
    for ref in root.segments:
        if ref.lo <= before or ref.identity.database_id != root.database_id:
            raise source.fail("segments are not in order, or another database's")
        before = ref.hi
    for commit in root.inline:
        if commit.version <= before:
            raise source.fail("inline commits are not in order")
        before = commit.version
    if before > root.head.version or not root.ring or root.ring[-1].commit_id != root.head.commit_id:
        raise source.fail("head, ring and commits contradict each other")
    if any(not pin.version < pin.pinned_at <= root.head.version for pin in root.pins):
        raise source.fail("a pin is newer than the root that holds it")
    if root.birth_epoch > root.epoch or root.marks_dropped > root.head.version:
        raise source.fail("epochs, or versions, contradict each other")
    return root


def _read_first(source: Reader, form: int) -> dict[str, Any]:
    """Fields of a root that both formats have, in their order."""
    database_id = DatabaseId(source.raw(ID_BYTES))
    name = source.text(TEXT_MAX)
    branch = source.text(TEXT_MAX)
    epoch = Epoch(source.varint())
    head = read_head(source)
    created_ms = source.varint()
    tier = source.u8()
    if tier >= len(_TIERS):
        raise source.fail(f"unknown tier {tier}")
    return {
        "database_id": database_id,
        "name": name,
        "branch": branch,
        "epoch": epoch,
        "head": head,
        "created_ms": created_ms,
        "tier": _TIERS[tier],
        "settings": _read_settings(source, {} if form > 1 else FORMAT_1_DEFAULTS),
        "ring": read_ring(source),
        "journals": tuple(_read_journals(source, form)),
        "horizon": Horizon(
            Version(source.varint()),
            Version(source.varint()),
            source.varint(),
            Version(source.varint()),
            Version(source.varint()),
        ),
        "segments": tuple([_read_keeping(source) for _ in range(source.count(50))]),
        "inline": tuple([read_inline(source) for _ in range(source.count(INLINE_BYTES_MIN))]),
        "birth_epoch": Epoch(min(epoch, 1)),
    }


def _read_keeping(source: Reader) -> Ref:
    """A reference; its bytes are kept for the next root, which most often has the same."""
    left = source.left
    found = read_ref(source)
    found.__dict__["encoded"] = source.since(left)
    return found


def _write_second(out: Writer, root: Root) -> None:
    """What format 2 added."""
    out.varint(root.birth_epoch)
    out.flag(root.parent is not None)
    if root.parent:
        write_parent(out, root.parent)
    write_pins(out, root.pins)
    out.flag(root.turn is not None)
    if root.turn:
        write_turn(out, root.turn)
    out.varint(root.rest_ms)
    out.varint(root.marks_dropped)
    write_extensions(out, root.extensions)


def _read_second(source: Reader) -> dict[str, Any]:
    """Those that format 2 added, or says otherwise."""
    return {
        "birth_epoch": Epoch(source.varint()),
        "parent": read_parent(source) if source.flag() else None,
        "pins": read_pins(source),
        "turn": read_turn(source) if source.flag() else None,
        "rest_ms": source.varint(),
        "marks_dropped": Version(source.varint()),
        "extensions": read_extensions(source, ROOT_BYTES_MAX),
    }


@lru_cache(maxsize=256)
def _encoded_settings(settings: Settings) -> bytes:
    out, stored = Writer(), settings.stored()
    out.varint(len(stored))
    for key, value in sorted(stored.items()):
        out.text(key)
        out.text(value)
    return out.bytes()


def _read_settings(source: Reader, defaults: Mapping[str, str]) -> Settings:
    stored = dict(defaults)
    for _ in range(source.count(2)):
        key = source.text(SETTING_BYTES_MAX)
        stored[key] = source.text(SETTING_BYTES_MAX)
    try:
        return load_settings(stored)
    except Invalid as error:
        raise source.fail(str(error)) from error


def _write_journals(out: Writer, root: Root) -> None:
    out.varint(len(root.journals))
    for mark in root.journals:
        out.raw(mark.journal_id)
        out.varint(mark.sequence)
        out.varint(mark.time_ms)
        out.raw(mark.entry_id)


def _read_journals(source: Reader, form: int) -> Iterator[JournalMark]:
    entry_bytes = ID_BYTES if form > 1 else 0
    for _ in range(source.count(ID_BYTES + 2 + entry_bytes)):
        journal_id, sequence, time_ms = source.raw(ID_BYTES), source.varint(), source.varint()
        yield JournalMark(journal_id, sequence, time_ms, source.raw(entry_bytes) or NO_ENTRY)
