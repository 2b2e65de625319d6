"""Formats 1 and 2 of the root, format 1 of the segment: golden bytes open for ever (P10), and nothing but what was written opens (P7, P11)."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.described import described, described_segment, index_of, pages_of
from tests.core.first_format import FirstBlock, encode_index
from virke.core import codec
from virke.core.change import change_without_pages, next_root
from virke.core.codec import DEFLATE, STORED, crc32
from virke.core.entries import FRAMES_MAX, RAW_MAX
from virke.core.extensions import Extension
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.index import Index, Stub, decode_index
from virke.core.packing import SegmentWriter
from virke.core.pins import TOMBSTONE_MAGIC, Pin, PinKind, Tombstone, encode_tombstone
from virke.core.ring import RingEntry
from virke.core.root import (
    MAGIC,
    NO_ENTRY,
    Root,
    decode_record,
    decode_root,
    encode_root,
)
from virke.core.segment import Frame, Head, Ref, decode_frame, read_ref
from virke.core.turn import Turn
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt, Invalid, NotFound

VECTORS: Final = Path(__file__).parents[2] / "vectors"
ROOTS: Final = ("format-1/root-new", "format-1/root-full", "format-2/root-new", "format-2/root-full")
RECORDS: Final = (*ROOTS, "format-2/tombstone")
SECOND: Final = tuple(f"format-2/segment-{name}" for name in ("stored", "deflated", "wide", "whole", "apart", "alike"))
SEGMENTS: Final = ("format-1/segment-stored", "format-1/segment-deflated", "format-1/segment-wide", *SECOND)
STORED_SEGMENT: Final = "format-2/segment-stored"
DEFLATED_SEGMENT: Final = "format-2/segment-deflated"
NEW: Final = "format-2/root-new"
FULL: Final = "format-2/root-full"
RECENT: Final = "format-2/root-recent"
PEAK_MAX: Final = 4 << 20
LATER: Final = {"stale_if_down_ms": 0}
"""Settings that came after the golden files were written, at their defaults."""
RUN: Final = b"\x01\x80\x04"
"""A frame's first bytes: 256 pages that follow each other."""


def vector(name: str) -> bytes:
    """One binary file."""
    return (VECTORS / f"{name}.bin").read_bytes()


def segment(name: str) -> tuple[Ref, dict[str, bytes]]:
    """A segment vector: its reference, and its parts by key."""
    meaning = json.loads((VECTORS / f"{name}.json").read_bytes())
    source = Reader(bytes.fromhex(meaning["encoded_ref"]), name)
    ref = read_ref(source)
    source.done()
    return ref, {key: vector(f"{name}.{number:04x}") for number, key in enumerate(ref.keys)}


def sealed(body: bytes) -> bytes:
    """`body` with the checksum that makes a decoder look inside."""
    return body + crc32(body).to_bytes(4, "big")


def read_all(ref: Ref, parts: dict[str, bytes]) -> list[dict[PageNo, bytes]]:
    """Every page of every group."""
    index = index_of(ref, parts)
    return [pages_of(index, parts, number) for number in range(len(index.groups))]


def frames_of(ref: Ref, parts: dict[str, bytes]) -> list[list[Frame]]:
    """The frames of every group."""
    index = index_of(ref, parts)
    return [list(index.frames(number)) for number in range(len(index.groups))]


# Golden bytes


@pytest.mark.parametrize("form", ["format-1", "format-2"])
def test_no_golden_file_changes(form: str) -> None:
    """Append-only: a changed byte here means databases that don't open any more."""
    lines = (VECTORS / form / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.name: path.read_bytes() for path in (VECTORS / form).iterdir() if path.name != "SHA256SUMS"}
    assert {name: sha256(data).hexdigest() for name, data in files.items()} == sums


@pytest.mark.parametrize("name", [FULL, NEW, RECENT])
def test_a_golden_root_reads_and_writes_the_same(name: str) -> None:
    """P10: the bytes mean what the JSON says, and that is written as the same bytes."""
    root = decode_root(vector(name), name)
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())["root"]
    expected["settings"] |= LATER
    assert described(root) == expected
    assert encode_root(root) == vector(name)


@pytest.mark.parametrize("name", ["format-1/root-full", "format-1/root-new"])
def test_a_golden_root_of_format_1_means_what_it_meant(name: str) -> None:
    """P10: every field that format 1 has; what format 2 added is empty, and says so when it is written."""
    root = decode_root(vector(name), name)
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())["root"]
    expected["settings"] |= {"foreign_keys": "off", "commit_window_ms": "auto"} | LATER
    for mark in expected["journals"]:
        mark["entry_id"] = NO_ENTRY.hex()
    added: dict[str, object] = {
        "birth_epoch": 1,
        "parent": None,
        "pins": [],
        "turn": None,
        "rest_ms": 0,
        "marks_dropped": 0,
    }
    assert described(root) == {**expected, **added, "extensions": []}
    data = encode_root(root)
    assert data[8:10] == b"\0\2"
    assert decode_root(data, name) == root


def test_a_golden_tombstone_reads_and_writes_the_same() -> None:
    """P10: as for roots; where a root is asked for, it says that the branch was deleted."""
    data = vector("format-2/tombstone")
    tombstone = decode_record(data, "golden")
    assert isinstance(tombstone, Tombstone)
    assert described(tombstone) == json.loads((VECTORS / "format-2/tombstone.json").read_bytes())["tombstone"]
    assert encode_tombstone(tombstone) == data
    with pytest.raises(NotFound, match="branch 'dev' of 'golden' was deleted"):
        decode_root(data, "golden")


def test_foreign_keys_stay_off_in_a_database_of_format_1() -> None:
    """A default that changed changes no database that exists, also not by its next commits."""
    old = decode_root(vector("format-1/root-new"), "x")
    again = decode_root(encode_root(next_root(old, CommitId(bytes(16)), change_without_pages(old, 0))), "x")
    assert [root.settings.foreign_keys for root in (old, again)] == ["off", "off"]
    assert decode_root(vector(NEW), "x").settings.foreign_keys == "on"


def test_an_unknown_extension_is_carried_along_by_every_commit() -> None:
    """What a newer Virke wrote into a root stays there, byte for byte, whoever commits."""
    root = decode_root(vector(FULL), "x")
    for number in range(3):
        root = decode_root(
            encode_root(next_root(root, CommitId(bytes([number]) * 16), change_without_pages(root, 0))), "x"
        )
    assert root.extensions == decode_root(vector(FULL), "x").extensions != ()


def test_an_unknown_extension_that_is_critical_makes_the_root_unreadable() -> None:
    """A Virke that does not know it says what to do, and never guesses."""
    root = replace(decode_root(vector(NEW), "x"), extensions=(Extension(9, b"", is_critical=True),))
    with pytest.raises(Corrupt, match="extension 9 is not known to this Virke and can't be left out; upgrade it"):
        decode_root(encode_root(root), "x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pins": (Pin(PinKind.TAG, "t", Epoch(0), Version(3), Version(13)),)},
        {"pins": (Pin(PinKind.TAG, "t", Epoch(0), Version(3), Version(3)),)},
        {"pins": (Pin(PinKind.TAG, "t", Epoch(0), Version(3), Version(4)),) * 2},
        {"birth_epoch": Epoch(4)},
        {"marks_dropped": Version(13)},
        {"extensions": (Extension(9, b""), Extension(9, b""))},
    ],
)
def test_a_root_whose_parts_contradict_each_other_is_corrupt(wrong: dict[str, object]) -> None:
    """P7: a pin or a mark from the future, a pin twice, a birth after the present, an extension twice."""
    data = encode_root(replace(decode_root(vector(FULL), "x"), **wrong))  # type: ignore[arg-type]
    with pytest.raises(Corrupt, match=r"pin|contradict|extensions"):
        decode_root(data, "x")


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_golden_segment_reads_the_same(name: str) -> None:
    """P10: reference, index, frames and every page are what the JSON says."""
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())
    del expected["encode"]
    assert described_segment(*segment(name)) == expected


def test_a_golden_segment_of_stored_frames_is_written_the_same() -> None:
    """P10: where no deflate is involved, every encoder writes these frames; an index it may compress otherwise."""
    ref, parts = segment(STORED_SEGMENT)
    index, groups = index_of(ref, parts), read_all(ref, parts)
    writer = SegmentWriter(ref.identity, ref.tier, max(map(len, parts.values())))
    written: list[tuple[str, bytes]] = []
    for number, group in enumerate(index.groups):
        for frame in index.frames(number):
            assert frame.codec == STORED
            written += writer.frame(frame.pages, b"".join(groups[number][page] for page in frame.pages))
        writer.end_group(group.head)
    last, made = writer.finish(index.inputs)
    again = dict(written + last)
    assert read_all(made, again) == groups
    assert [frames_of(made, again)] == [frames_of(ref, parts)]
    assert [again[key][: ref.index_offset] for key in ref.keys] == [parts[key][: ref.index_offset] for key in ref.keys]


# Damage


@pytest.mark.parametrize("name", RECORDS)
def test_a_root_cut_short_anywhere_is_corrupt(name: str) -> None:
    """P7: at every length, also when the checksum was made to fit."""
    data = vector(name)
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            decode_record(data[:length], name)
        if length < len(data) - 4:
            with pytest.raises(Corrupt):
                decode_record(sealed(data[:length]), name)


@pytest.mark.parametrize("name", RECORDS)
def test_a_root_with_any_bit_flipped_is_corrupt(name: str) -> None:
    """P7: every bit of every byte."""
    data = vector(name)
    for at in range(len(data)):
        for bit in range(8):
            with pytest.raises(Corrupt):
                decode_record(flipped(data, at, 1 << bit), name)


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    """`data` with bits of one byte flipped."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_segment_cut_short_anywhere_is_corrupt(name: str) -> None:
    """P7: every part, at every length."""
    ref, parts = segment(name)
    for key, data in parts.items():
        for length in range(0, len(data), 1 if len(data) < 2000 else 7):
            with pytest.raises(Corrupt):
                read_all(ref, {**parts, key: data[:length]})


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_segment_with_any_byte_flipped_is_corrupt(name: str) -> None:
    """P7: every byte of every part is covered by a checksum."""
    ref, parts = segment(name)
    index = index_of(ref, parts)
    what, size = index.what, index.groups[0].head.page_size
    frames = [frame for number in range(len(index.groups)) for frame in index.frames(number)]
    covered = dict.fromkeys(parts, 0)
    for frame in frames:
        key = ref.identity.part_key(frame.part)
        data = parts[key][frame.offset : frame.offset + frame.length]
        covered[key] += len(data)
        for at in range(len(data)):
            with pytest.raises(Corrupt):
                decode_frame(frame, flipped(data, at, 1 << at % 8), size, what)
    data = parts[ref.index_key][ref.index_offset :]
    covered[ref.index_key] += len(data)
    for at in range(len(data)):
        with pytest.raises(Corrupt):
            decode_index(flipped(data, at, 1 << at % 8), ref)
    found = decode_index(data, ref)
    elsewhere = found.places if isinstance(found, Stub) else tuple(place for _, place in found.missing())
    for place in elsewhere:
        key = ref.identity.part_key(place.part)
        covered[key] += place.length
        for at in range(place.offset, place.offset + place.length):
            with pytest.raises(Corrupt):
                index_of(ref, {**parts, key: flipped(parts[key], at, 1 << at % 8)})
    if isinstance(found, Stub):
        whole = found.with_tables(parts[ref.identity.part_key(place.part)] for place in found.places)
        for _, place in whole.missing():
            covered[ref.identity.part_key(place.part)] += place.length
    assert covered == {key: len(data) for key, data in parts.items()}


def test_two_segments_under_each_others_key_are_corrupt() -> None:
    """P7: a whole and valid segment in the wrong place is refused, and so is one of its data parts."""
    (one, ones), (other, others) = segment(STORED_SEGMENT), segment(DEFLATED_SEGMENT)
    with pytest.raises(Corrupt):
        index_of(one, {one.index_key: others[other.index_key]})
    with pytest.raises(Corrupt):
        read_all(one, {**ones, one.keys[0]: ones[one.keys[1]]})
    stolen = replace(other, identity=one.identity)
    with pytest.raises(Corrupt, match="another segment"):
        decode_index(others[other.index_key][other.index_offset :], stolen)


def test_a_newer_format_is_refused_by_name() -> None:
    """A format that this Virke does not know is named, and never guessed at."""
    data = vector(NEW)
    with pytest.raises(Corrupt, match="format version 3 is not known"):
        decode_root(sealed(data[:8] + b"\0\3" + data[10:-4]), "x")
    ref, parts = segment(STORED_SEGMENT)
    body = parts[ref.index_key][ref.index_offset : -4]
    with pytest.raises(Corrupt, match=r"format version 3 is not known to this Virke \(knows 2\); upgrade it"):
        resealed_index(ref, body[:8] + b"\0\3" + body[10:])()
    data = vector("format-2/tombstone")
    with pytest.raises(Corrupt, match="tombstone of version 2 is not known"):
        decode_root(sealed(data[:8] + b"\0\2" + data[10:-4]), "x")


# Garbage: only Corrupt or Invalid may come out, and little memory be used


def used(index: Index) -> None:
    """Touch everything that is decoded late."""
    for group in index.groups:
        index.pages(group.head.version)
        index.find(PageNo(3), group.head.version)


def outcome(read: Callable[[], object]) -> object:
    """What `read` returns, or the type of the allowed error that it raises; its peak of memory is bounded."""
    tracemalloc.start()
    try:
        return read()
    except (Corrupt, Invalid) as error:
        return type(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < PEAK_MAX, f"{peak:,} bytes"


def resealed_index(ref: Ref, body: bytes) -> Callable[[], object]:
    """A reading of `body` as the index of `ref`, all checksums made to fit."""
    data = sealed(body)
    fitting = replace(ref, index_length=len(data), index_crc=crc32(data))
    return lambda: used(_with_all(decode_index(data, fitting)))


def _with_all(found: Index | Stub) -> Index:
    """An index of which everything that is elsewhere is nothing. Raises `Corrupt`."""
    index = found.with_tables([b""]) if isinstance(found, Stub) else found
    for block, _ in index.missing():
        index.take(block, b"")
    return index


@pytest.mark.parametrize("name", RECORDS)
def test_a_root_forged_byte_by_byte_raises_nothing_else(name: str) -> None:
    """P11: each byte set to each of a few values, under a fitting checksum."""
    body = vector(name)[:-4]
    for at in range(len(MAGIC), len(body)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            forged = sealed(body[:at] + bytes([value]) + body[at + 1 :])
            try:
                decode_record(forged, name)
            except (Corrupt, Invalid):
                continue


@pytest.mark.parametrize("name", SEGMENTS)
def test_an_index_forged_byte_by_byte_raises_nothing_else(name: str) -> None:
    """P11: the same for indexes, and their blocks with them."""
    ref, parts = segment(name)
    body = parts[ref.index_key][ref.index_offset : -4]
    for at in range(len(body)):
        for value in (0, 0xFF) if at % 2 else (0x80,):
            try:
                resealed_index(ref, body[:at] + bytes([value]) + body[at + 1 :])()
            except (Corrupt, Invalid):
                continue


@given(st.binary(max_size=400), st.sampled_from([b"", b"\0\1", b"\0\2"]))
def test_garbage_behind_a_magic_number_raises_nothing_else(garbage: bytes, start: bytes) -> None:
    """P11: random bytes, sealed, are never anything but refused."""
    assert outcome(lambda: decode_root(sealed(MAGIC + start + garbage), "x")) is Corrupt
    assert outcome(lambda: decode_record(sealed(TOMBSTONE_MAGIC + start + garbage), "x")) is Corrupt
    ref, _ = segment(STORED_SEGMENT)
    assert outcome(resealed_index(ref, b"VirkeSeg" + start + garbage)) is Corrupt
    assert outcome(lambda: read_ref(Reader(garbage, "x"))) is Corrupt or len(garbage) > 40


def bombs() -> Iterator[tuple[str, Callable[[], object]]]:
    """Small bytes that promise much."""
    full = vector(FULL)[:-4]
    ref, _ = segment(STORED_SEGMENT)
    identity = encode_index(ref.identity, (), ())[:-6]
    head = Head(ref.hi, CommitId(bytes(16)), 0, 512, PageCount(9), 0)
    for many in (b"\xff\x7f", b"\xff" * 4 + b"\x7f", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x7f"):
        name = len(many)
        yield f"index inputs {name}", resealed_index(ref, identity + many)
        yield f"index groups {name}", resealed_index(ref, identity + b"\0" + many)
        for at in range(40, len(full), 9):
            forged = sealed(full[:at] + many + full[at + 1 :])
            yield f"root {at} {name}", lambda forged=forged: decode_root(forged, "x")  # type: ignore[misc]
    for raw_bytes, raw in ((RAW_MAX, bytes(RAW_MAX)), (100, bytes(50 << 20)), (1 << 40, b"")):
        yield f"block {raw_bytes}", resealed_index(ref, index_with(head, deflated_block(raw, raw_bytes)))
    frames = (RUN + bytes(8)) * FRAMES_MAX
    yield "frames of nothing", resealed_index(ref, index_with(head, deflated_block(frames, len(frames))))


def deflated_block(raw: bytes, raw_bytes: int) -> FirstBlock:
    """A block that says it holds `raw_bytes` and as many frames as may be."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(raw) + compressor.flush()
    return FirstBlock(PageNo(1), PageNo(40_000), FRAMES_MAX, DEFLATE, raw_bytes, crc32(data), data)


def index_with(head: Head, block: FirstBlock) -> bytes:
    """The body of an index with one block."""
    ref, _ = segment(STORED_SEGMENT)
    return encode_index(ref.identity, (), ((head, (block,)),))[:-4]


def test_a_bomb_is_refused_before_memory_is_taken() -> None:
    """P11: counts and lengths are checked against what is there; a number that is neither (a time) may be any."""
    for name, read in bombs():
        result = outcome(read)
        assert result in (Corrupt, Invalid) or (name.startswith("root ") and isinstance(result, Root)), name


def test_a_frame_that_inflates_to_more_than_it_says_is_refused_at_that_size() -> None:
    """P11: 50 MB of zeros in 50 KB do not get further than one byte more than a page."""
    block = deflated_block(bytes(50 << 20), 0)
    assert outcome(lambda: codec.decode(DEFLATE, block.data, crc=block.crc, raw_bytes=512, what="x")) is Corrupt


def test_frames_in_a_root_can_not_promise_more_pages_than_their_bytes_hold() -> None:
    """P11: an inline commit of tiny frames, each of 256 pages, is refused at the first."""
    root = decode_root(vector("format-1/root-new"), "x")
    out = Writer()
    out.raw(vector("format-1/root-new")[:-5])  # less its empty list of inline commits
    out.varint(1)
    start = Head(Version(1), root.head.commit_id, 0, 512, PageCount(9), 0)
    frames = b"".join(RUN + bytes([0, at, 1]) + bytes(4) + b"\x01" for at in range(100))
    for field in (head_bytes(start), b"\x64", frames, b"\x64", bytes(100)):
        out.raw(field)
    assert outcome(lambda: decode_root(out.sealed(), "x")) is Corrupt


def head_bytes(head: Head) -> bytes:
    """A head as a root holds it."""
    out = Writer()
    out.varint(head.version)
    out.raw(head.commit_id)
    out.varint(head.time_ms)
    out.u32(head.page_size)
    out.u32(head.page_count)
    out.u64(head.checksum)
    return out.bytes()


# Whatever is written is read the same


ids = st.binary(min_size=16, max_size=16)
counters = st.integers(min_value=0, max_value=(1 << 62) - 1)


@given(ids, ids, st.text(max_size=30), counters, counters)
def test_every_root_is_read_as_it_was_written(
    database: bytes, commit: bytes, branch: str, version: int, time_ms: int
) -> None:
    """Encoding and decoding are inverse, at the ends of every range too."""
    head = Head(Version(version), CommitId(commit), time_ms, 65536, PageCount(0xFFFFFFFE), (1 << 64) - 1)
    root = replace(
        decode_root(vector(FULL), "x"),
        database_id=DatabaseId(database),
        branch=branch,
        epoch=Epoch(version),
        head=head,
        ring=(RingEntry(CommitId(commit)),),
        segments=(),
        inline=(),
        birth_epoch=Epoch(version),
        pins=(),
        turn=Turn(commit, version, time_ms, version),
        marks_dropped=Version(version),
        extensions=(Extension(version, database),),
    )
    assert decode_root(encode_root(root), "x") == root


def test_the_heads_that_the_tests_write_are_the_real_ones() -> None:
    """`head_bytes` above must not drift from what the format says."""
    root: Root = decode_root(vector(NEW), "x")
    assert head_bytes(root.head) in vector(NEW)
