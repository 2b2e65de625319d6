"""Which programs are one commit, and what a root says of a journal's entries that ride in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.actors import empty
from virke.core.root import NOT_TOLD, JournalMark, RootAt
from virke.engine.groups import fit_together, is_pushed, last_marks
from virke.engine.programs import Program, Step
from virke.engine.queue import Pending

JOURNAL, OTHER = b"j" * 16, b"o" * 16


def program(sql: str = "SELECT 1", *, foreign_keys: bool = False) -> Program:
    return Program((Step(sql),), 0, foreign_keys)


def entry(sequence: int, journal: bytes = JOURNAL) -> Pending:
    return Pending(program(), mark=JournalMark(journal, sequence, 0, sequence.to_bytes(16, "big")))


@pytest.mark.parametrize(
    ("other", "fits"),
    [(program(), True), (program(foreign_keys=True), False), (program("VACUUM"), False)],
    ids=["alike", "foreign keys", "stands alone"],
)
def test_programs_of_one_mode_that_stand_in_a_transaction_are_one_commit(other: Program, fits: bool) -> None:
    assert fit_together(program(), other) == fits
    assert fit_together(other, program()) == fits


@pytest.mark.parametrize(("sequence", "pushed"), [(4, True), (5, True), (6, False)])
def test_p2_an_entry_up_to_the_mark_is_in_history(sequence: int, pushed: bool) -> None:
    base = RootAt(replace(empty(), journals=(JournalMark(JOURNAL, 5, 0, bytes(16)),)), NOT_TOLD)
    assert is_pushed(entry(sequence), base) == pushed
    assert not is_pushed(entry(sequence, OTHER), base)
    assert not is_pushed(Pending(program()), base)


def test_p2_a_commit_leaves_the_last_mark_of_each_journal() -> None:
    """Everything up to it was run, in order."""
    group = [entry(1), entry(7, OTHER), Pending(program()), entry(2)]
    assert [(mark.journal_id, mark.sequence) for mark in last_marks(group)] == [(JOURNAL, 2), (OTHER, 7)]
