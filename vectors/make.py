"""Writes the golden vectors of the current formats: `python -m vectors.make` in the repository.

Append-only: what is there already is never written again, because databases in that format exist. A vector is one
or more `.bin` files and a `.json` that says what they mean; `SHA256SUMS` pins all of them.

A new format version gets a folder of its own, and what makes the old one is deleted here while its files stay: roots
and segments are of format 2, so `format-1` keeps some that nothing writes any more.
Frames marked `stored` are the same bytes for every encoder. Deflate's output is not, and indexes have some of it: they say
`"encode": "differs"` and are for decoders only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256, shake_256
from pathlib import Path

from tests.core.described import Json, described, described_segment
from virke.core import recent
from virke.core.change import Change, next_root, plan_change
from virke.core.effects import Tier
from virke.core.extensions import Extension
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.packing import SegmentWriter
from virke.core.pins import Parent, Pin, PinKind, Tombstone, encode_tombstone
from virke.core.ring import Answer
from virke.core.root import Horizon, JournalMark, Root, encode_root, first_root
from virke.core.segment import Head, Identity, Ref
from virke.core.settings import Settings
from virke.core.turn import Turn

HERE = Path(__file__).parent
ROOTS, SEGMENTS = "format-2", "format-2"
TIME_MS = 1_700_000_000_000
DATABASE = DatabaseId(shake_256(b"database").digest(16))
Parts = dict[str, bytes]


def noise(name: str, length: int) -> bytes:
    """Bytes that no codec makes shorter."""
    return shake_256(name.encode()).digest(length)


def text(name: str, length: int) -> bytes:
    """Bytes that every codec makes shorter."""
    return (f"{name} is one of the pages of a database. " * length).encode()[:length]


def head(version: int, page_size: int, page_count: int) -> Head:
    """The state after commit number `version`."""
    commit_id = CommitId(noise(f"commit {version}", 16))
    checksum = int.from_bytes(noise(f"checksum {version}", 8), "big")
    return Head(Version(version), commit_id, TIME_MS + version, page_size, PageCount(page_count), checksum)


def writer(version: int, tier: Tier, part_bytes: int, *, is_whole: bool = False) -> SegmentWriter:
    """A writer for the segment that version `version` brings."""
    commit_id = CommitId(noise(f"commit {version}", 16))
    identity = Identity(DATABASE, "main", Epoch(1), Version(version), commit_id)
    return SegmentWriter(identity, tier, part_bytes, is_whole=is_whole)


def stored_segment() -> tuple[Ref, Parts]:
    """Two commits, pages of 512 bytes that do not shrink, three parts; page 2 is written twice."""
    out, parts = writer(7, Tier.KV, 10_000), Parts()
    for version, numbers in ((5, range(1, 36)), (6, (2, 7, 9))):
        pages = [(PageNo(number), noise(f"page {number} of {version}", 512)) for number in numbers]
        parts |= dict(out.pages(512, pages))
        out.end_group(head(version, 512, 35))
    last, ref = out.finish(())
    return ref, parts | dict(last)


def deflated_segment() -> tuple[Ref, Parts]:
    """One commit: text pages of 4096 bytes, numbers with gaps."""
    out, parts = writer(8, Tier.OBJECT, 1 << 20), Parts()
    numbers = [1, 2, 3, 50, 51, 52, 53, 54, 55, 56, 57, 1000, 1_000_000]
    parts |= dict(out.pages(4096, [(PageNo(number), text(f"page {number}", 4096)) for number in numbers]))
    out.end_group(head(8, 4096, 1_000_000))
    last, ref = out.finish(())
    return ref, parts | dict(last)


def wide_segment() -> tuple[Ref, Parts]:
    """A merge of two others, whose index needs three blocks that deflate makes shorter."""
    inputs = (stored_segment()[0], deflated_segment()[0])
    out, parts = writer(9, Tier.OBJECT, 1 << 20), Parts()
    for number in range(1, 301):
        parts |= dict(out.frame((PageNo(number * 3),), text(f"page {number * 3}", 512)))
    out.end_group(head(8, 512, 1000))
    last, ref = out.finish(inputs, lo=Version(5))
    return ref, parts | dict(last)


def whole_segment() -> tuple[Ref, Parts]:
    """One commit for a store without ranges: parts that end in the entries of their frames."""
    out, parts = writer(8, Tier.KV, 3000, is_whole=True), Parts()
    for number in range(1, 13):
        parts |= dict(out.pages(512, [(PageNo(number), noise(f"page {number}", 512))]))
    out.end_group(head(8, 512, 12))
    last, ref = out.finish(())
    return ref, parts | dict(last)


def alike_segment() -> tuple[Ref, Parts]:
    """Pages of cells that rise evenly, as differences."""
    out, parts = writer(8, Tier.OBJECT, 1 << 20), Parts()
    cells = [b"".join((at * 3 + page * 900).to_bytes(7, "big") for at in range(73)) for page in range(6)]
    parts |= dict(out.alike([(PageNo(number), bytes([5]) + cell) for number, cell in enumerate(cells, 1)]))
    out.end_group(head(8, 512, 6))
    last, ref = out.finish(())
    return ref, parts | dict(last)


def apart_segment() -> tuple[Ref, Parts]:
    """Forty commits of one page each, in parts that are smaller than the tables of their index."""
    out, parts = writer(48, Tier.KV, 700, is_whole=True), Parts()
    for version in range(8, 48):
        parts |= dict(out.pages(512, [(PageNo(1), text(f"page of {version}", 512))]))
        out.end_group(head(version, 512, 1))
    last, ref = out.finish(())
    return ref, parts | dict(last)


def new_root() -> Root:
    """The root of a database that was just created."""
    commit_id = CommitId(noise("commit 1", 16))
    return first_root(
        name="golden", database_id=DATABASE, commit_id=commit_id, time_ms=TIME_MS, page_size=4096, tier=Tier.KV
    )


def full_root() -> Root:
    """A root with something in every field: two inline commits, one of each codec."""
    pins = (
        Pin(PinKind.BRANCH, "kid", Epoch(2), Version(6), Version(8)),
        Pin(PinKind.TAG, "before the move", Epoch(0), Version(7), Version(9)),
    )
    root = replace(
        new_root(),
        branch="dev",
        epoch=Epoch(3),
        head=head(9, 512, 1000),
        settings=replace(
            Settings(durability="deferred", max_attempts=20, commit_window_ms=5, foreign_keys="off"),
            unknown=(("from_the_future", "yes"),),
        ),
        horizon=Horizon(Version(6), Version(9), TIME_MS + 9, Version(4), Version(5)),
        segments=(wide_segment()[0],),
        birth_epoch=Epoch(2),
        parent=Parent("main", Epoch(1)),
        pins=pins,
        turn=Turn(noise("turn", 16), 3, 10_000, TIME_MS + 8),
        rest_ms=200,
        marks_dropped=Version(4),
        extensions=(Extension(7, b"carried along"), Extension(300, b"by branches too", is_inherited=True)),
    )
    for number, make in ((10, noise), (11, text)):
        pages = {PageNo(page): make(f"page {page} of {number}", 512) for page in (1, 2, 4, 900)}
        answers = (Answer(noise(f"key {number}", 16), number), Answer(noise(f"key {number}+", 16), 0))
        marks = (JournalMark(noise("journal", 16), number * 1000, TIME_MS + number, noise(f"entry {number}", 16)),)
        after = head(number, 512, 1000 + number)
        change = Change(pages, 512, after.page_count, after.checksum, after.time_ms, answers, marks)
        root = plan_change(root, after.commit_id, change).root
    change = Change({}, 512, root.head.page_count, root.head.checksum, TIME_MS + 12, tier=Tier.OBJECT)
    return next_root(root, CommitId(noise("commit 12", 16)), change)


def recent_root() -> Root:
    """A root that carries copies of the indexes of its newer segments: one as it is, one made for a spill."""
    root, made, version = new_root(), dict[recent.Key, recent.Copy](), 1
    while len(root.segments) < 3:
        version += 1
        pages = range(1, 201) if version == 2 else (1, version % 5 + 2, 100)
        data = {PageNo(page): noise(f"page {page} of {version}", 512) for page in pages}
        after = head(version, 512, 200)
        change = Change(data, 512, after.page_count, after.checksum, after.time_ms, recent_bytes=1 << 20)
        plan = plan_change(root, after.commit_id, change)
        root = plan.root
        if plan.puts and len(root.segments) == 2:
            ref = root.segments[-1]
            index = plan.puts[-1].data[ref.index_offset : ref.index_offset + ref.index_length]
            made[recent.key_of(ref)] = recent.Copy(recent.WHOLE, index)
    return replace(root, extensions=recent.with_copies(root.extensions, root.segments, made))


def tombstone() -> Tombstone:
    """What is left of a deleted branch."""
    return Tombstone(DATABASE, "golden", "dev", Epoch(3), Parent("main", Epoch(1)))


def vectors() -> Iterator[tuple[str, bytes]]:
    """Every file of the formats, by its folder and name."""
    for name, root in (("root-new", new_root()), ("root-full", full_root()), ("root-recent", recent_root())):
        yield f"{ROOTS}/{name}.bin", encode_root(root)
        yield f"{ROOTS}/{name}.json", _json({"root": described(root)})
    yield f"{ROOTS}/tombstone.bin", encode_tombstone(tombstone())
    yield f"{ROOTS}/tombstone.json", _json({"tombstone": described(tombstone())})
    for name, (ref, parts) in (
        ("segment-stored", stored_segment()),
        ("segment-deflated", deflated_segment()),
        ("segment-wide", wide_segment()),
        ("segment-whole", whole_segment()),
        ("segment-apart", apart_segment()),
        ("segment-alike", alike_segment()),
    ):
        for number, key in enumerate(ref.keys):
            yield f"{SEGMENTS}/{name}.{number:04x}.bin", parts[key]
        meaning = described_segment(ref, parts)
        yield f"{SEGMENTS}/{name}.json", _json({"encode": "differs", **meaning})


def _json(value: Json) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def main() -> int:
    """Write what is missing; 1 if a file that is there would have to change."""
    changed = []
    for name, data in vectors():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(data)
        elif path.read_bytes() != data:
            changed.append(name)
    for folder in sorted(path for path in HERE.glob("format-*")):
        files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
        sums = "".join(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
        (folder / "SHA256SUMS").write_text(sums)
    print(f"would differ now (deflate may): {', '.join(changed) or 'none'}")
    return 1 if any(not any(part in name for part in ("segment-", "full", "recent")) for name in changed) else 0


if __name__ == "__main__":
    sys.exit(main())
