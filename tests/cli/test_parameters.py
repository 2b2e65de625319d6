"""Values of `-p`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.cli.parameters import bind_values, value_of
from virke.cli.render import Value
from virke.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("9223372036854775807", (1 << 63) - 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1e3", -1000.0),
        ("1.", 1.0),
        ("2.5E-3", 0.0025),
        ("null", None),
        ("NULL", None),
        ("true", 1),
        ("false", 0),
        ("x'00fF'", b"\x00\xff"),
        ("X''", b""),
        ("text:12", "12"),
        ("text:", ""),
        ("text:text:a", "text:a"),
        ("", ""),
        ("007", "007"),
        ("+49", "+49"),
        ("1_000", "1_000"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("-", "-"),
        (".", "."),
        ("e5", "e5"),
        (".e5", ".e5"),
        ("1.2.3", "1.2.3"),
        ("x'0'", "x'0'"),
        ("Null", "Null"),
        ("²", "²"),
        ("١٢", "١٢"),
        ("alice@example.com", "alice@example.com"),
        ("a=b", "a=b"),
    ],
)
def test_a_value_is_typed_by_how_it_is_written(text: str, value: Value) -> None:
    found = value_of(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" * 5000])
def test_an_integer_beyond_64_bits_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        value_of(text)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_integer_of_sqlite_can_be_written(number: int) -> None:
    assert value_of(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_real_can_be_written(number: float) -> None:
    found = value_of(repr(number))
    assert isinstance(found, float)
    assert found == number


@given(st.text())
def test_text_can_be_forced(text: str) -> None:
    assert value_of("text:" + text) == text


def test_parameters_are_named_only_if_the_sql_has_names() -> None:
    assert bind_values(["a=1", "b=x"], ["a", "b"]) == {"a": 1, "b": "x"}
    assert bind_values([":a=1"], ["a"]) == {"a": 1}
    assert bind_values(["a=1"], []) == ["a=1"]
    assert bind_values(["1", "2"], ["a", "b"]) == [1, 2]
    assert bind_values(["text:a=1"], ["a"]) == ["a=1"]
    assert bind_values(["a=text:1=2"], ["a"]) == {"a": "1=2"}


@pytest.mark.parametrize(
    ("values", "words"),
    [(["a=1", "2"], "all parameters by name"), (["b=1"], "no parameter 'b'"), (["a=1"] * 2, "twice")],
)
def test_names_that_do_not_fit_are_usage_errors(values: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bind_values(values, ["a"])
