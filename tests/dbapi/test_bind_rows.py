"""Rows that are bound together are what they are one by one, and fail as they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest

from virke.dbapi.errors import ProgrammingError
from virke.dbapi.values import ROWS_TOGETHER, bind_params, bind_rows

COUNT = 2 * ROWS_TOGETHER + 1


class Color(IntEnum):
    RED = 1


def rows_with(odd: object, at: int) -> list[Any]:
    """Plain rows, one of which is another."""
    rows: list[Any] = [(n, f"text {n}", n / 2, None, b"bytes") for n in range(COUNT)]
    rows[at] = odd
    return rows


def names() -> Sequence[str | None]:
    return ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("at", [0, ROWS_TOGETHER, COUNT - 1])
@pytest.mark.parametrize(
    "odd",
    [
        (1, "é", 1.5, None, b""),
        (Color.RED, "a", 1.5, None, b""),
        (True, "a", 1.5, None, bytearray(b"x")),
        (None, 1, "a", b"", 1.5),
        (date(2026, 11, 27), Decimal("1.50"), 0, 0, 0),
        [1, 2, 3, 4, 5],
        (1, 2),
        {"a": 1, "b": Decimal(1), "c": 3, "d": 4, "e": 5},
        ((1 << 63) - 1, "", 0, 0, -(1 << 63)),
    ],
)
def test_rows_are_bound_as_one_by_one(odd: object, at: int) -> None:
    rows = rows_with(odd, at)
    assert list(bind_rows(iter(rows), names)) == [bind_params(row, names) for row in rows]
    assert [type(value) for row in bind_rows(rows, names) for value in row] == [
        type(value) for row in rows for value in bind_params(row, names)
    ]


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        ((1 << 63, "", 0, 0, 0), OverflowError),
        ((-(1 << 63) - 1, "", 0, 0, 0), OverflowError),
        ((0, "\udcff", 0, 0, 0), UnicodeEncodeError),
        ((0, object(), 0, 0, 0), ProgrammingError),
        (7, ProgrammingError),
    ],
)
@pytest.mark.parametrize("is_beside_other_kinds", [False, True])
def test_a_row_that_can_t_be_bound_is_the_same_error(
    odd: object, error: type[Exception], is_beside_other_kinds: bool
) -> None:
    """After the rows of the hundred before it."""
    rows = rows_with(odd, ROWS_TOGETHER + 1)
    if is_beside_other_kinds:
        rows[ROWS_TOGETHER] = (None, None, None, None, None)
    bound = bind_rows(rows, names)
    assert [next(bound) for _ in range(ROWS_TOGETHER)] == rows[:ROWS_TOGETHER]
    with pytest.raises(error):
        list(bound)
