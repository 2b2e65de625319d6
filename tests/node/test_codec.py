"""Both codecs mean the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.api.codec import PlainCodec
from virke.engine.values import encode_value
from virke.errors import Invalid
from virke.node.codec import FastCodec

CODECS = (PlainCodec(), FastCodec())
VALUES = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text() | st.binary()


@given(st.lists(st.lists(VALUES, max_size=4), max_size=4))
def test_rows_are_read_back_as_they_were(rows: list[list[object]]) -> None:
    encoded = [[encode_value(value) for value in row] for row in rows]  # type: ignore[arg-type]
    plain, fast = (codec.dumps(encoded) for codec in CODECS)
    assert json.loads(plain) == json.loads(fast) == encoded
    assert CODECS[0].loads(fast) == CODECS[1].loads(plain) == encoded


@pytest.mark.parametrize(
    "text",
    [
        b"1" * 5000,
        b"",
        b"{",
        b"[NaN]",
        b"[Infinity]",
        b"\xff",
        b'"\xff"',
        b"[1] x",
        b"[" * 5000,
        b"01",
        b"1e999",
        b"-1e999",
        b'"\\ud800"',
        b'["\\udcff"]',
        b'{"\\udcff": 1}',
    ],
)
def test_what_is_no_json_is_refused_by_both(text: bytes) -> None:
    for codec in CODECS:
        with pytest.raises(Invalid):
            codec.loads(text)


def test_odd_text_that_was_not_wrapped_is_answered_all_the_same() -> None:
    for codec in CODECS:
        assert codec.dumps({"name": "a\udcffb", "é": 1}) == '{"name":"a?b","é":1}'.encode()
