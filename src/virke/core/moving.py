"""Moving a segment to another tier as it is: its frames and their entries in fewer parts, and an index that says where they are.

Pure: a generator of effects. Knows chains (`chain`) and indexes; knows no root.

1. What is moved, and where to, follows from the segment's index alone: so the bytes are the same whoever does it (chain, rule 6).
2. Of a part its frames and their entries are moved, not what a merge in steps has behind them (`chain.Link`).
3. Parts that follow one another become one, up to `JOINED_MAX` of them and `JOINED_BYTES`. A merge of some thousand inserts has 40 parts of
   7 KB, each of which a scan would ask for by itself.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Final

from virke.core.blocks import Listed, Place
from virke.core.chain import Chain, get_fresh
from virke.core.codec import crc32
from virke.core.commit import store_objects
from virke.core.effects import Absent, Effect, Outcome, PutNew
from virke.core.index import Index, encode_index, encode_tables
from virke.core.segment import Ref
from virke.errors import Corrupt, Unavailable
from virke.lazy_dataclasses import dataclass

JOINED_MAX: Final = 5
"""Each is read by itself, in one step of upkeep."""
JOINED_BYTES: Final = 256 << 10
"""What a step hands over: as much as the largest part of the KV tier."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the bytes of a segment's parts are in its copy."""

    used: list[int]
    """Of each part so many are moved."""
    joined: list[list[int]]
    """The parts that become each part of the copy."""

    def places(self) -> dict[int, tuple[int, int]]:
        """For each part that is moved the part of the copy, and where it begins in that."""
        found: dict[int, tuple[int, int]] = {}
        for number, parts in enumerate(self.joined):
            start = 0
            for part in parts:
                found[part] = number, start
                start += self.used[part]
        return found


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a copy has come: how many of its parts are there; the segment and its index, once those are all."""

    parts: int
    ref: Ref | None = None
    index: bytes = b""


def layout_of(index: Index) -> Layout:
    """How the segment with that index is copied. Raises `Corrupt`."""
    used = index.used_bytes()
    joined: list[list[int]] = [[]]
    taken = 0
    for part, length in enumerate(used):
        if not length:
            continue  # tables of a large index, which is written anew
        if joined[-1] and (len(joined[-1]) == JOINED_MAX or taken + length > JOINED_BYTES):
            joined.append([])
            taken = 0
        joined[-1].append(part)
        taken += length
    return Layout(used, joined)


def copy_parts(chain: Chain, index: Index, first: int, count: int) -> Generator[Effect, Outcome, Moved]:
    """Make parts of the copy from part `first` on: at most `count`, and no more than one of several joined.

    Raises:
        Unavailable: a part could not be read or stored. Corrupt: one is missing, or shorter than the index says.
    """
    [source] = chain.inputs
    layout = layout_of(index)
    first = min(first, len(layout.joined) - 1)  # a hint may say anything
    numbers = range(first, min(first + count, len(layout.joined)))
    while len(numbers) > 1 and sum(len(layout.joined[number]) for number in numbers) > max(count, JOINED_MAX):
        numbers = numbers[:-1]
    wanted = [part for number in numbers for part in layout.joined[number]]
    names = [source.identity.part_key(part) for part in wanted]
    answers = (yield from get_fresh(source.tier, *((name, 0, None) for name in names))) if names else []
    came: dict[int, bytes] = {}
    for part, name, data in zip(wanted, names, answers, strict=True):
        if isinstance(data, Absent):
            raise Corrupt(f"{name}: the object is missing")
        if len(data) < layout.used[part]:
            raise Corrupt(f"{name}: the object is cut short")
        came[part] = data[: layout.used[part]]
    made = [b"".join(came[part] for part in layout.joined[number]) for number in numbers]
    moved = Moved(numbers.stop)
    if numbers.stop == len(layout.joined):
        moved = _whole_copy(chain, index, layout, len(made[-1]))
        made[-1] += moved.index
    puts = (
        PutNew(chain.tier, chain.identity.part_key(number), data) for number, data in zip(numbers, made, strict=True)
    )
    if failed := (yield from store_objects(tuple(puts))):
        raise Unavailable(f"the store did not take a part of a segment: {failed}")
    return moved


def _whole_copy(chain: Chain, index: Index, layout: Layout, index_offset: int) -> Moved:
    """The copied segment, and its index, which begins at `index_offset` of the last part."""
    [source] = chain.inputs
    places = layout.places()
    listing = [(head, [_moved_block(one, places) for one in blocks]) for head, blocks in index.listing()]
    encoded = encode_index(chain.identity, chain.inputs, encode_tables(listing))
    ref = replace(
        source,
        identity=chain.identity,
        tier=chain.tier,
        parts=len(layout.joined),
        stored_bytes=sum(layout.used) + len(encoded),
        index_offset=index_offset,
        index_length=len(encoded),
        index_crc=crc32(encoded),
        has_inputs=True,
    )
    return Moved(len(layout.joined), ref, encoded)


def _moved_block(listed: Listed, places: dict[int, tuple[int, int]]) -> Listed:
    block, entries, _ = listed
    part, start = places[block.part]
    if isinstance(entries, Place):
        entries = Place(part, start + entries.offset, entries.length)
    return Listed(block._replace(part=part, start=start + block.start), entries)
