"""The checker of the black-box runs finds each broken promise that is planted, and nothing in a history without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.blackbox.history import KEPT, REFUSED, SESSION, STRONG, Counts, History, Read, Write

STALENESS_NS: Final = 100
WRITES: Final = (
    Write("a", 0, 10, 20, KEPT),
    Write("a", 1, 30, 40, REFUSED),
    Write("a", 2, 50, 60, KEPT),
    Write("b", 0, 15, 25, KEPT),
    Write("b", 1, 45),
)
"""The last was begun, and its client killed: it may be there or not."""
ROWS: Final = [("a", 0), ("a", 2), ("b", 0)]
READ: Final = Read("r", 70, 80, STRONG, {"a": Counts(2, 2, 2), "b": Counts(1, 1, 1)})
EARLIER: Final = replace(READ, began_ns=41, ended_ns=44, counts={"a": Counts(1, 1, 1), "b": Counts(1, 1, 1)})


def faults(*reads: Read, rows: list[tuple[str, int]] = ROWS, twins: list[tuple[str, int]] | None = None) -> list[str]:
    """The first word of each fault that is found."""
    found = History(STALENESS_NS, list(WRITES), list(reads)).find_faults(rows, rows if twins is None else twins)
    return sorted({one.split(" in ")[0].split(":")[0] for one in found})


@pytest.mark.parametrize("last", [[], [("b", 1)]], ids=["the open write is not there", "the open write is there"])
def test_a_true_history_has_no_faults(last: list[tuple[str, int]]) -> None:
    old = replace(EARLIER, consistency=SESSION, reader="other", began_ns=119, ended_ns=130, counts={})
    assert faults(EARLIER, READ, old, rows=ROWS + last) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[1:], "lost"),
        (ROWS + ROWS[:1], "doubled"),
        ([*ROWS, ("a", 1)], "refused and there"),
        ([*ROWS, ("c", 7)], "never written"),
    ],
)
def test_what_the_tables_hold_at_the_end_is_checked(rows: list[tuple[str, int]], said: str) -> None:
    assert faults(rows=rows) == [said]


def test_a_write_that_is_there_in_part_is_found() -> None:
    assert faults(twins=[*ROWS, ("b", 1)]) == ["in part"]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (replace(READ, counts={**READ.counts, "a": Counts(1, 1, 1)}), "stale"),
        (replace(READ, consistency=SESSION, began_ns=200, ended_ns=210, counts={}), "stale"),
        (replace(READ, counts={**READ.counts, "a": Counts(3, 2, 2)}), "doubled"),
        (replace(READ, counts={**READ.counts, "a": Counts(2, 2, 1)}), "in part"),
        (replace(READ, counts={**READ.counts, "a": Counts(3, 3, 3)}), "never written"),
        (replace(READ, counts={**READ.counts, "c": Counts(1, 1, 1)}), "never written"),
    ],
)
def test_what_a_read_saw_is_checked(read: Read, said: str) -> None:
    assert said in faults(read)


def test_a_reader_that_sees_less_than_before_is_found() -> None:
    assert faults(READ, replace(READ, consistency=SESSION, began_ns=90, ended_ns=95, counts={})) == ["gone back"]
