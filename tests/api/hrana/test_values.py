"""Values in Hrana's JSON: each comes back as what it was, and what is none is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.api.hrana.complaints import Refused
from virke.api.hrana.values import decode_value, encode_value
from virke.engine.sqlite import Value

VALUES = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
)


@given(VALUES)
def test_a_value_comes_back_with_its_type(value: Value) -> None:
    """Through JSON text, as it crosses the wire."""
    back = decode_value(json.loads(json.dumps(encode_value(value))))
    assert (type(back), back) == (type(value), value)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_float_that_is_not_finite_is_answered_as_null(value: float) -> None:
    assert encode_value(value) == {"type": "float", "value": None}


@pytest.mark.parametrize(("text", "expected"), [("AP8", b"\x00\xff"), ("AP8=", b"\x00\xff"), ("", b"")])
def test_blobs_are_understood_with_and_without_padding(text: str, expected: bytes) -> None:
    assert decode_value({"type": "blob", "base64": text}) == expected


def test_blobs_are_answered_without_padding() -> None:
    assert encode_value(b"\x00\xff") == {"type": "blob", "base64": "AP8"}


def test_a_whole_number_that_is_sent_as_a_float_is_a_real() -> None:
    assert type(decode_value({"type": "float", "value": 5})) is float


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        {},
        {"type": "nope"},
        {"type": "integer", "value": 5},
        {"type": "integer", "value": "9223372036854775808"},
        {"type": "integer", "value": "1.0"},
        {"type": "integer", "value": "٣"},
        {"type": "float", "value": None},
        {"type": "float", "value": True},
        {"type": "float", "value": 10**400},
        {"type": "text", "value": 1},
        {"type": "blob", "base64": "!!"},
        {"type": "blob", "base64": "A"},
    ],
)
def test_what_is_no_value_is_refused(body: object) -> None:
    with pytest.raises(Refused):
        decode_value(body)  # type: ignore[arg-type]


def test_text_that_is_not_utf8_is_never_answered_as_another_text() -> None:
    with pytest.raises(Refused, match="not UTF-8"):
        encode_value("a\udcff")
