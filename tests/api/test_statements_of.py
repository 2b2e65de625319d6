"""Bodies of requests as statements and values: what is written is what was sent, and what is not a value is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from virke.api.native import parameter_of, parameters_of, rows_in, statement_of
from virke.errors import Invalid


@pytest.mark.parametrize(
    ("body", "params"),
    [
        (None, ()),
        ([], ()),
        ([1, "a", None, 1.5], (1, "a", None, 1.5)),
        ({"a": 1, ":b": 2, "@c": 3, "$d": 4}, {"a": 1, "b": 2, "c": 3, "d": 4}),
        ({}, {}),
    ],
)
def test_parameters_come_by_place_or_by_name(body: Any, params: object) -> None:
    assert parameters_of(body) == params


@pytest.mark.parametrize("body", ["a", 1, True])
def test_what_is_neither_a_list_nor_an_object_is_not_parameters(body: Any) -> None:
    with pytest.raises(Invalid, match="`params` is a list"):
        parameters_of(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (True, 1),
        (False, 0),
        ((1 << 63) - 1, (1 << 63) - 1),
        (-(1 << 63), -(1 << 63)),
        ({"int64": "9223372036854775807"}, (1 << 63) - 1),
        ({"real": "1.5"}, 1.5),
        ({"base64": "AP8="}, b"\x00\xff"),
        ({"text_base64": "/w=="}, "\udcff"),
    ],
)
def test_a_value_is_what_sqlite_stores(body: Any, value: object) -> None:
    found = parameter_of(body)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "body",
    [1 << 63, -(1 << 63) - 1, {"int64": "9223372036854775808"}, {"int64": "x"}, {"base64": "?"}, {"a": 1}, [1], {}],
)
def test_what_sqlite_has_no_value_for_is_refused(body: Any) -> None:
    with pytest.raises(Invalid):
        parameter_of(body)
    with pytest.raises(Invalid):
        parameters_of([body])


def test_a_statement_is_a_text_or_an_object_of_known_fields() -> None:
    assert statement_of("SELECT 1") == ("SELECT 1", ())
    assert statement_of({"sql": "SELECT ?", "params": [1]}) == ("SELECT ?", (1,))
    assert statement_of({"sql": "SELECT 1", "key": "k"}, frozenset({"key"})) == ("SELECT 1", ())
    wrong: list[Any] = [{"sql": "SELECT 1", "parms": [1]}, {"params": [1]}, {"sql": 1}, 7, None, ["SELECT 1"]]
    for body in wrong:
        with pytest.raises(Invalid):
            statement_of(body)


def test_rows_are_parameters_for_each_time_and_none_is_not_no_row() -> None:
    assert rows_in({}) is None
    assert rows_in({"rows": None}) is None
    assert rows_in({"rows": []}) == ()
    assert rows_in({"rows": [[1], {"a": 2}]}) == ((1,), {"a": 2})
    wrong: list[Any] = [{"rows": {}}, {"rows": 1}, {"rows": ["a"]}]
    for body in wrong:
        with pytest.raises(Invalid):
            rows_in(body)
