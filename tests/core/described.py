"""Roots, references and segments as plain JSON, for the golden vectors and for comparing with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from typing import cast

from virke.core.blocks import Place
from virke.core.ids import PageNo
from virke.core.index import Index, Stub, decode_index
from virke.core.inline import Inline
from virke.core.ring import Ring
from virke.core.segment import Ref, decode_frame

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


def described(value: object) -> Json:
    """`value` as JSON: records by field name, bytes as hex, tuples as lists."""
    match value:
        case bytes():
            return value.hex()
        case Enum():
            return cast(str, value.value)
        case tuple() | list() | Ring():
            return [described(item) for item in value]
        case None | bool() | int() | str():
            return value
        case Inline():
            return {name: described(getattr(value, name)) for name in ("head", "frames", "data")}
    if is_dataclass(value):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"no JSON for {value!r}")


def index_of(ref: Ref, parts: Mapping[str, bytes]) -> Index:
    """The index of the segment whose parts are `parts`, by key, with all entries."""

    def at(place: Place) -> bytes:
        return parts[ref.identity.part_key(place.part)][place.offset : place.offset + place.length]

    found = decode_index(at(Place(ref.parts - 1, ref.index_offset, ref.index_length)), ref)
    index = found.with_tables(map(at, found.places)) if isinstance(found, Stub) else found
    for block, place in index.missing():
        index.take(block, at(place))
    return index


def pages_of(index: Index, parts: Mapping[str, bytes], group: int) -> dict[PageNo, bytes]:
    """The pages that one group of a segment brings."""
    found: dict[PageNo, bytes] = {}
    for frame in index.frames(group):
        data = parts[index.identity.part_key(frame.part)][frame.offset : frame.offset + frame.length]
        pages = decode_frame(frame, data, index.groups[group].head.page_size, index.what)
        found |= dict(zip(frame.pages, pages, strict=True))
    return found


def described_segment(ref: Ref, parts: Mapping[str, bytes]) -> dict[str, Json]:
    """A segment: reference, keys, inputs, and of each group head, frames and the SHA-256 of every page."""
    index = index_of(ref, parts)
    groups: list[Json] = []
    for number, group in enumerate(index.groups):
        pages = pages_of(index, parts, number)
        groups.append(
            {
                "head": described(group.head),
                "frames": [described(frame) for frame in index.frames(number)],
                "pages": {str(page): sha256(data).hexdigest() for page, data in pages.items()},
            }
        )
    return {
        "ref": described(ref),
        "encoded_ref": ref.encoded.hex(),
        "keys": described(ref.keys),
        "inputs": described(index.inputs),
        "groups": groups,
    }
