"""JSON in pieces: the same bytes as at once, a bounded part of them at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.api.codec import Codec, PlainCodec
from virke.api.messages import Parts
from virke.api.pieces import (
    BYTES_OF_A_PIECE,
    ITEMS_OF_A_PIECE,
    Long,
    body_of,
    body_of_lines,
    bytes_of,
    pieces_of,
    rows_of,
)
from virke.node.codec import FastCodec

CODECS: list[Codec] = [PlainCodec(), FastCodec()]
WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda of: st.lists(of) | st.dictionaries(WORDS, of),
    max_leaves=5,  # it is itself a leaf of the next one: with more, the values take long to draw
)


def long_of(items: list[Any]) -> Long:
    return Long(items, lambda item: item)


LONG = st.recursive(
    PLAIN | st.lists(PLAIN).map(long_of), lambda of: st.lists(of) | st.dictionaries(WORDS, of), max_leaves=20
)


def plain(value: Any) -> Any:
    """A value with lists for what is long."""
    match value:
        case Long():
            return value.items
        case dict():
            return {name: plain(one) for name, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case _:
            return value


@pytest.mark.parametrize("codec", CODECS)
@given(value=LONG)
def test_the_pieces_together_are_the_whole(codec: Codec, value: Any) -> None:
    whole = codec.dumps(plain(value))
    assert b"".join(pieces_of(value, codec)) == bytes_of(value, codec) == whole
    body = body_of(value, codec)
    assert (body if isinstance(body, bytes) else b"".join(body)) == whole


@pytest.mark.parametrize("codec", CODECS)
def test_a_piece_is_small(codec: Codec) -> None:
    rows = [(n, "x" * 100) for n in range(10_000)]
    body = body_of({"rows": rows_of(rows, list), "more": 1}, codec)
    assert isinstance(body, Parts)
    pieces = list(body)
    assert json.loads(b"".join(pieces)) == {"rows": [list(row) for row in rows], "more": 1}
    assert max(map(len, pieces)) < BYTES_OF_A_PIECE + 200
    assert len(pieces) >= 10_000 / ITEMS_OF_A_PIECE


def test_few_rows_are_a_list_and_many_or_long_ones_are_not() -> None:
    assert rows_of([(1,)] * ITEMS_OF_A_PIECE, list) == [[1]] * ITEMS_OF_A_PIECE
    assert isinstance(rows_of([(1,)] * (ITEMS_OF_A_PIECE + 1), list), Long)
    assert isinstance(rows_of([("x" * BYTES_OF_A_PIECE,)] * 10, list), Long)


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_no_json_is_an_error_still(codec: Codec) -> None:
    with pytest.raises(TypeError):
        bytes_of({"a": [object()]}, codec)


def test_few_lines_are_a_whole_body_and_many_come_in_parts() -> None:
    assert body_of_lines(iter([b"a\n", b"b\n"])) == b"a\nb\n"
    assert body_of_lines(iter([])) == b""
    many = body_of_lines(iter([b"a\n"] * 1000))
    assert isinstance(many, Parts)
    assert b"".join(many) == b"a\n" * 1000
