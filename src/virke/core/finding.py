"""Reading indexes, and those of their entries that are not with them.

Pure: generators of effects. Knows references and indexes; knows no root and no page's bytes.

1. Indexes of one tier come in one round, and the tables of those that are in parts of their own in a second one.
2. Entries come in one round for a segment.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from virke.core.effects import Absent, Effect, Outcome, Tier
from virke.core.index import Index, Stub, decode_index
from virke.core.page import PAGE_COUNT_MAX
from virke.core.reading import read_decoded
from virke.core.segment import Ref
from virke.errors import Corrupt


def find_indexes(refs: Sequence[Ref]) -> Generator[Effect, Outcome, dict[Ref, Index]]:
    """Read the indexes of `refs`, one `Get` for each tier; a sweep may have deleted some before it was killed.

    Raises:
        Unavailable: the store did not answer. Corrupt: an index is damaged.
    """
    found: dict[Ref, Index] = {}
    for tier in Tier:
        here = [ref for ref in refs if ref.tier == tier]
        if not here:
            continue
        ranges = [(ref.index_key, ref.index_offset, ref.index_length) for ref in here]

        def decode(at: int, data: bytes, here: Sequence[Ref] = here) -> Index | Stub:
            return decode_index(data, here[at])

        for ref, index in zip(here, (yield from read_decoded(tier, ranges, decode)), strict=True):
            if isinstance(index, Stub):
                found[ref] = yield from with_tables(index)
            elif not isinstance(index, Absent):
                found[ref] = index
    return found


def with_tables(stub: Stub) -> Generator[Effect, Outcome, Index]:
    """The index of a stub, with its tables, which are read. Raises `Corrupt`, `Unavailable`."""
    ranges = [(stub.ref.identity.part_key(place.part), place.offset, place.length) for place in stub.places]
    datas = yield from read_decoded(stub.ref.tier, ranges, lambda at, data: data)
    return stub.with_tables([_present_data(stub.ref, data) for data in datas])


def bring_entries(index: Index, first: int = 1, last: int = PAGE_COUNT_MAX) -> Generator[Effect, Outcome, None]:
    """Read the entries of pages from `first` to `last` that are not here. Raises `Corrupt`, `Unavailable`."""
    missing = index.missing(first, last)
    if missing:
        ranges = [(index.identity.part_key(place.part), place.offset, place.length) for _, place in missing]

        def take(at: int, data: bytes) -> bytes:
            index.take(missing[at][0], data)
            return data

        for data in (yield from read_decoded(index.ref.tier, ranges, take)):
            _present_data(index.ref, data)


def _present_data(ref: Ref, data: bytes | Absent) -> bytes:
    if isinstance(data, Absent):
        raise Corrupt(f"segment {ref.identity.part_key(0)}: an object is missing")
    return data
