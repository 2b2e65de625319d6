"""Requests of Hrana's: what is checked before anything is done."""

from __future__ import annotations

from typing import Any

import pytest

from virke.api.hrana.complaints import Refused
from virke.api.hrana.requests import (
    Batch,
    BatchStep,
    Close,
    Execute,
    Statement,
    Text,
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
    expected = Execute(Statement(Text("SELECT ?", None), (None,), wants_rows=False))
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
    statement = Statement(Text("SELECT 1", None))
    assert pipeline_of(body)[1] == (Batch((BatchStep(statement), BatchStep(statement, Succeeded(0)))),)
