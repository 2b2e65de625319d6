"""A merge in steps that anybody may take, each of bounded size: what upkeep is where a request may not cost much.

Pure: generators of effects. Knows the segment format; keeps nothing between two steps but what the store has. What one
step does is in `chain_step`.

The merged segment is a **chain** of links, one for each step: link `k` is its part `k`. Behind its frames a link of a
long chain has their entries (in the KV tier, whose objects come whole); it has the index of all frames so far, and the place where the next step goes on; the index of the last link is that of the segment.
Byte layout: docs/format.md.

1. A chain has one identity that follows from the root alone: from the segments that are merged, the watermark and the pins.
   Whoever takes a step finds the same chain, and a newer watermark or pin begins another one.
2. A link is put under a key that must not exist yet (B2). So each link has one content for ever, and goes on from the one
   link before it: if two take the same step, the first one's stands, whatever the bytes of the other.
3. A link names only frames of itself and of links before it, which were stored before it was begun.
4. Nothing of a chain is deleted by those who work at it. One that is given up is garbage: its version (`created`) is right
   above the watermark and the newest pin that its root had, so the next watermark dooms it (core/collect, rule 3). A chain
   that a watermark has doomed is never gone on with, and never named (`plan`).
5. A frame whose pages are all still the newest is copied as it is: to compress pages is what costs most, by far. Its checksum is
   proved first.
6. A segment is moved to another tier by copying (`moving`): that gives the same bytes whoever does it, so that a tier which can't refuse
   to overwrite is enough. Who would copy in another way has another identity.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Final

from virke.core.carried import Carried
from virke.core.codec import crc32
from virke.core.commit import Plan
from virke.core.effects import Absent, Effect, Get, Outcome, Tier
from virke.core.ids import CommitId, Version
from virke.core.index import Index, Listing, encode_index, encode_tables, whole_index
from virke.core.merge import Merge, Run, plan_merge
from virke.core.root import Root
from virke.core.segment import Identity, Ref
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt, Unavailable
from virke.lazy_dataclasses import dataclass

INPUTS_MAX: Final = 4
"""Of one chain: a step reads a part of each, and what a page's newest bytes are takes looking at each commit that they hold."""
READS_MAX: Final = 6
"""What a step may have to read of a chain's inputs before it does anything: the index of each, and another part of a large one."""
COLD, LOWER, UPPER, DONE = range(4)
"""The phases: which pages are taken (core/hot)."""
_LENGTH_BYTES: Final = 4
_JOINS: Final = 2
"""How a segment is copied: 1 was part by part."""


@dataclass(frozen=True)
class Chain:
    """A merge to do in steps: a run of a root's segments, and the identity of the segment that will replace it.

    `copies`: the run is one segment, to be moved to `tier` as it is (rule 6).
    """

    root: Root
    run: Run
    tier: Tier
    copies: bool = False

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """The segments that are merged, oldest first."""
        return self.root.segments[self.run.start : self.run.stop]

    @property
    def begun_at(self) -> Version:
        """The version above which it counts as made (rule 4): the same for all who find this run."""
        pinned = max((pin.pinned_at for pin in self.root.pins), default=0)
        return Version(max(self.inputs[-1].hi, self.root.horizon.watermark, pinned))

    @cached_property
    def identity(self) -> Identity:
        """Whose segment it will be (rule 1)."""
        root, begun_at = self.root, self.begun_at
        out = Writer()
        out.u8(_JOINS if self.copies else 0)
        out.text(self.tier.value)
        out.varint(begun_at)
        for ref in self.inputs:
            out.raw(ref.encoded)
        name = blake2b(out.bytes(), digest_size=16, person=b"virke chain").digest()
        return Identity(root.database_id, root.branch, root.epoch, Version(begun_at + 1), CommitId(name))

    def job(self, indexes: tuple[Index, ...] = ()) -> Merge:
        """The merge that it is."""
        return Merge(self.root, self.run, indexes, self.identity.commit_id, self.tier)


def run_for(segments: tuple[Ref, ...], run: Run) -> Run:
    """What of `run` to begin with: the smallest neighbours, and never the oldest segment if that is not all of it.

    Of large ones it is fewer: `READS_MAX`.
    """
    reads = [1 + (ref.parts > 1) for ref in segments]
    for count in range(INPUTS_MAX, 1, -1):
        first = run.start if run.stop - run.start <= count else run.start or 1
        places = [at for at in range(first, run.stop - count + 1) if sum(reads[at : at + count]) <= READS_MAX]
        if places:
            start = min(places, key=lambda at: sum(ref.stored_bytes for ref in segments[at : at + count]))
            return Run(start, start + count)
    return run


def find_chain(root: Root, name: CommitId, count: int, tier: Tier, *, copies: bool) -> Chain | None:
    """The chain of that identity, of `count` segments, if it may still be gone on with on `root`."""
    for start in range(len(root.segments) - count + 1 if count else 0):
        chain = Chain(root, Run(start, start + count), tier, copies)
        if chain.identity.commit_id == name:
            return chain
    return None


def plan_replacement(
    root: Root,
    chain: Chain,
    ref: Ref,
    *,
    commit_id: CommitId,
    time_ms: int,
    index: bytes = b"",
    recent_bytes: int | None = None,
    frames: Sequence[Carried] = (),
) -> Plan | None:
    """The commit that puts `ref` in the place of what was merged; None if that may not be done any more (rule 4)."""
    return plan_merge(
        root,
        chain.job(),
        ref,
        commit_id=commit_id,
        time_ms=time_ms,
        begun_at=chain.begun_at,
        index=index,
        recent_bytes=recent_bytes,
        frames=frames,
    )


# Links


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next step goes on."""

    phase: int
    next_page: int
    stored_bytes: int
    hot: dict[int, int]
    """The hot pages that were passed, each with its last child (core/hot)."""
    schema: frozenset[int]


@dataclass(frozen=True, slots=True)
class Link:
    """How far a chain has come: its links, the index so far and the place of the next step."""

    links: int
    groups: Listing
    place: Place
    index_bytes: int = 0
    ref: Ref | None = None
    """The segment, once it is whole."""
    identity: Identity | None = None
    """Of the chain that it is a link of; None before the first."""
    index: bytes = b""
    """The bytes of the index so far."""


BEGIN: Final = Link(0, (), Place(COLD, 1, 0, {}, frozenset({1})))


def encode_link(chain: Chain, number: int, frames: bytes, *, groups: Listing, place: Place) -> tuple[bytes, Link]:
    """The bytes of link `number`, and what `decode_link` says of them."""
    index = encode_index(chain.identity, chain.inputs, encode_tables(groups))
    out = Writer()
    out.u8(place.phase)
    for figure in (place.next_page, place.stored_bytes + len(index), len(frames), len(index)):
        out.varint(figure)
    out.u32(crc32(index))
    out.varint(len(place.hot))
    for page, last in sorted(place.hot.items()):
        out.varint(page)
        out.varint(last)
    out.varint(len(place.schema))
    for page in sorted(place.schema):
        out.varint(page)
    end = out.sealed()
    data = b"".join((frames, index, end, len(end).to_bytes(_LENGTH_BYTES, "big")))
    stored, offset, length = place.stored_bytes + len(index), len(frames), len(index)
    return data, _new_link(
        chain, _merged_ref(chain, number, stored, (offset, length, crc32(index))), groups, place, index=index
    )


def decode_link(chain: Chain, number: int, data: bytes) -> Link:
    """Link `number` of a chain. Raises `Corrupt`: the bytes are not those of one."""
    what = f"part {chain.identity.part_key(number)}"
    length = int.from_bytes(data[-_LENGTH_BYTES:], "big")
    if not 0 < length <= len(data) - _LENGTH_BYTES:
        raise Corrupt(f"{what}: not a link of a merge")
    source = Reader.unsealed(data[-_LENGTH_BYTES - length : -_LENGTH_BYTES], what)
    phase, next_page, stored = source.u8(), source.varint(), source.varint()
    offset, index_length, crc = source.varint(len(data)), source.varint(len(data)), source.u32()
    hot = {source.varint(): source.varint() for _ in range(source.count(2))}
    schema = frozenset(source.varint() for _ in range(source.count(1)))
    source.done()
    ref = _merged_ref(chain, number, stored, (offset, index_length, crc))
    encoded = data[offset : offset + index_length]
    index = whole_index(encoded, ref)
    if phase > DONE or index.inputs != chain.inputs:
        raise Corrupt(f"{what}: a link of another merge")
    place = Place(phase, next_page, stored - index_length, hot, schema)
    return _new_link(chain, ref, index.listing(), place, index=encoded)


def _merged_ref(chain: Chain, number: int, stored_bytes: int, index: tuple[int, int, int]) -> Ref:
    """The segment of which link `number` is the last part; `index` is where its index begins, its length and its checksum."""
    inputs = chain.inputs
    return Ref(
        identity=chain.identity,
        lo=inputs[0].lo,
        hi=inputs[-1].hi,
        hi_time_ms=inputs[-1].hi_time_ms,
        tier=chain.tier,
        parts=number + 1,
        stored_bytes=stored_bytes,
        index_offset=index[0],
        index_length=index[1],
        index_crc=index[2],
        has_inputs=True,
    )


def _new_link(chain: Chain, ref: Ref, groups: Listing, place: Place, *, index: bytes) -> Link:
    made = ref if place.phase == DONE else None
    return Link(ref.parts, groups, place, ref.index_length, made, chain.identity, index)


def read_link(chain: Chain, number: int) -> Generator[Effect, Outcome, Link | None]:
    """Link `number` of a chain; None if it is not there, or not shown yet. Raises `Unavailable`, `Corrupt`."""
    [data] = yield from get_fresh(chain.tier, (chain.identity.part_key(number), 0, None))
    return None if isinstance(data, Absent) else decode_link(chain, number, data)


def get_fresh(tier: Tier, *ranges: tuple[str, int, int | None]) -> Generator[Effect, Outcome, list[bytes | Absent]]:
    """Ranges of objects from the store itself: what is copied is not decoded. Raises `Unavailable`."""
    answer = yield Get(tier, ranges, fresh=True)
    if not isinstance(answer, list):
        raise Unavailable("the store did not answer a read")
    return answer
