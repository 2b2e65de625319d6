"""Requests of Hrana's: what is checked before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virke.api.hrana.complaints import Refused
from virke.api.hrana.requests import (
    Alone,
    AskedStatement,
    Batch,
    BatchStep,
    Close,
    Execute,
    Text,
    alone_of,
    condition_of,
    pipeline_of,
)
from virke.engine.programs import AllOf, AnyOf, Autocommit, Not, Succeeded

SELECT = {"sql": "SELECT 1"}


def test_a_pipeline_is_a_baton_and_requests() -> None:
    """Fields that are not known are passed over, and null is as good as nothing."""
    stmt = {
        "sql": "SELECT ?",
        "args": [{"type": "null"}],
        "named_args": None,
        "want_rows": False,
        "replication_index": "7",
    }
    body: Any = {"baton": "x", "more": 1, "requests": [{"type": "execute", "stmt": stmt}, {"type": "close"}]}
    expected = Execute(AskedStatement(Text("SELECT ?", None), (None,), wants_rows=False))
    assert pipeline_of(body) == ("x", (expected, Close()))


def test_names_of_arguments_come_with_and_without_their_sign() -> None:
    named = [{"name": name, "value": {"type": "text", "value": name}} for name in (":a", "@b", "$c", "d")]
    body: Any = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1", "named_args": named}}]}
    [request] = pipeline_of(body)[1]
    assert isinstance(request, Execute)
    assert request.statement.params == {"a": ":a", "b": "@b", "c": "$c", "d": "d"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "ok", "step": 1}, Succeeded(1)),
        ({"type": "error", "step": 0}, Not(Succeeded(0))),
        ({"type": "and", "conds": []}, AllOf(())),
        ({"type": "or", "conds": [{"type": "is_autocommit"}]}, AnyOf((Autocommit(),))),
        ({"type": "not", "cond": {"type": "ok", "step": 0}}, Not(Succeeded(0))),
    ],
)
def test_conditions_are_those_of_the_engine(body: Any, expected: object) -> None:
    """`error` holds for a step that was passed over too, as in sqld."""
    assert condition_of(body, 2) == expected


@pytest.mark.parametrize(
    "request_body",
    [
        {"type": "nope"},
        {"type": ["execute"]},
        {"type": "execute"},
        {"type": "execute", "stmt": {}},
        {"type": "execute", "stmt": {"sql": 1}},
        {"type": "execute", "stmt": {"sql": "SELECT 1", "sql_id": 1}},
        {"type": "execute", "stmt": {"sql": "SELECT 1", "args": {}}},
        {"type": "execute", "stmt": {"sql": "SELECT 1", "want_rows": 1}},
        {"type": "execute", "stmt": {**SELECT, "args": [{"type": "null"}], "named_args": [{"name": "a"}]}},
        {"type": "execute", "stmt": {**SELECT, "named_args": [{"name": "a"}]}},
        {"type": "store_sql", "sql_id": 1 << 31, "sql": "SELECT 1"},
        {"type": "store_sql", "sql_id": True, "sql": "SELECT 1"},
        {"type": "store_sql", "sql_id": 1},
        {"type": "sequence"},
        {"type": "batch", "batch": {"steps": {}}},
        {"type": "batch", "batch": {"steps": [{"stmt": SELECT, "condition": {"type": "ok", "step": 0}}]}},
        {"type": "batch", "batch": {"steps": [{"stmt": SELECT, "condition": {"type": "ok", "step": -1}}]}},
        {"type": "batch", "batch": {"steps": [{"stmt": SELECT, "condition": {"type": "maybe"}}]}},
    ],
)
def test_what_is_no_request_is_refused(request_body: Any) -> None:
    with pytest.raises(Refused):
        pipeline_of({"requests": [request_body]})


def test_a_stream_is_closed_at_the_end_of_a_pipeline_only() -> None:
    body: Any = {"requests": [{"type": "close"}, {"type": "get_autocommit"}]}
    with pytest.raises(Refused, match="last"):
        pipeline_of(body)


def test_conditions_are_nested_as_deep_as_is_said_and_no_deeper() -> None:
    nested: Any = {"type": "is_autocommit"}
    for _ in range(64):
        nested = {"type": "not", "cond": nested}
    condition_of(nested, 1)
    with pytest.raises(Refused, match="64"):
        condition_of({"type": "not", "cond": nested}, 1)


def test_a_batch_has_its_steps_in_order() -> None:
    steps = [{"stmt": SELECT}, {"stmt": SELECT, "condition": {"type": "ok", "step": 0}}]
    body: Any = {"requests": [{"type": "batch", "batch": {"steps": steps}}]}
    statement = AskedStatement(Text("SELECT 1", None))
    assert pipeline_of(body)[1] == (Batch((BatchStep(statement), BatchStep(statement, Succeeded(0)))),)


JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    "",
    "x",
    [],
    {},
    [None],
    "execute",
    "close",
    {"type": "close"},
)
_VALUES = st.sampled_from(
    [{"type": "null"}, {"type": "integer", "value": "7"}, {"type": "text", "value": "é"}, {"type": "float", "value": 1}]
)
_STATEMENTS = st.fixed_dictionaries(
    {"sql": st.sampled_from(["SELECT ?", "INSERT INTO t VALUES (?)", "BEGIN", ""])},
    optional={
        "args": st.lists(_VALUES | st.sampled_from(JUNK), max_size=2) | st.sampled_from(JUNK),
        "named_args": st.sampled_from(JUNK) | st.just([{"name": "a", "value": {"type": "null"}}]),
        "want_rows": st.sampled_from(JUNK),
        "sql_id": st.sampled_from(JUNK),
        "more": st.just(1),
    },
)
_EXECUTES = st.fixed_dictionaries({"type": st.just("execute"), "stmt": _STATEMENTS | st.sampled_from(JUNK)})
_REQUESTS = st.one_of(_EXECUTES, _EXECUTES, st.just({"type": "close"}), st.sampled_from(JUNK))
_BODIES = st.fixed_dictionaries(
    {"requests": st.lists(_REQUESTS, max_size=3) | st.sampled_from(JUNK)}, optional={"baton": st.sampled_from(JUNK)}
) | st.sampled_from(JUNK)


def _said(parse: Callable[[Any], object], body: Any) -> object:
    """What comes of it; of a refusal its words."""
    try:
        return parse(body)
    except Refused as error:
        return error.message


@given(body=_BODIES)
@settings(max_examples=1_000)
def test_a_pipeline_of_one_statement_is_read_faster_and_not_otherwise(body: Any) -> None:
    """What is `Alone` is what `pipeline_of` makes of it; what that refuses is refused, or left to it."""
    expected, alone = _said(pipeline_of, body), _said(alone_of, body)
    if isinstance(alone, Alone):
        statement = AskedStatement(Text(alone.sql, None), alone.params, alone.wants_rows)
        assert expected == (None, (Execute(statement), *([Close()] if alone.closes else [])))
    else:
        assert alone in (None, expected)


@pytest.mark.parametrize("more", [{}, {"args": []}, {"args": None}, {"want_rows": None}, {"named_args": []}])
@pytest.mark.parametrize("closes", [False, True])
def test_what_clients_send_for_one_statement_is_alone(more: Any, closes: bool) -> None:
    body: Any = {
        "baton": None,
        "requests": [{"type": "execute", "stmt": SELECT | more}, {"type": "close"}][: 1 + closes],
    }
    alone = alone_of(body)
    assert alone is not None
    assert (alone.sql, alone.params, alone.wants_rows, alone.closes) == ("SELECT 1", (), True, closes)
