"""What a root says of a journal: each way in which its mark and the journal's entries can stand to one another (rules 3 and 4 of `engine/pushing`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.core.actors import empty
from virke.core.ids import Version
from virke.core.root import NO_ENTRY, JournalMark
from virke.engine.entry import Contents, Entry
from virke.engine.programs import Program
from virke.engine.pushing import Standing, standing_of

JOURNAL: Final = b"j" * 16
PROGRAM: Final = Program((), 0, True)


def entry_id(sequence: int) -> bytes:
    return sequence.to_bytes(16, "big")


def entry(sequence: int, *, noted_at: int | None = None) -> Entry:
    """A pending one; noted for a push that was tried on the root of that version."""
    return Entry(
        sequence,
        PROGRAM,
        b"d" * 16,
        entry_id=entry_id(sequence),
        is_noted=noted_at is not None,
        noted_at=noted_at or 0,
    )


def journal(
    *pending: Entry, newest: int = 0, settled: int = 4, settled_id: bytes | None = None, copied_at: int = 0
) -> Contents:
    return Contents(
        JOURNAL,
        newest=max([newest, settled, *(one.sequence for one in pending)]),
        pending=pending,
        ids={one.sequence: one.entry_id for one in pending},
        settled=settled,
        settled_id=entry_id(settled) if settled_id is None else settled_id,
        copied_at=copied_at,
    )


def said(contents: Contents, at: int | None, mark: bytes | None = None, *, marks_dropped: int = 0) -> Standing:
    """What a root says whose mark names entry `at`, by its own id unless another is given; None: it has no mark. Its reason is left out."""
    marks = () if at is None else (JournalMark(JOURNAL, at, 0, entry_id(at) if mark is None else mark),)
    return replace(
        standing_of(replace(empty(), journals=marks, marks_dropped=Version(marks_dropped)), contents), why=""
    )


def test_without_a_mark_everything_is_open() -> None:
    """From the very first entry on."""
    assert Standing().is_open(1)
    assert said(journal(entry(5), entry(6, noted_at=9)), None) == Standing()


def test_without_a_mark_what_was_noted_before_marks_were_dropped_is_unknown() -> None:
    found = said(journal(entry(5, noted_at=8), entry(6, noted_at=9), entry(7)), None, marks_dropped=9)
    assert found.unknown == {5}
    assert not found.is_copy
    assert [found.is_open(sequence) for sequence in (5, 6, 7)] == [False, True, True]


def test_a_mark_of_what_was_settled_says_nothing_new() -> None:
    contents = journal(entry(5))
    assert said(contents, 3) == said(contents, 3, b"x" * 16) == said(contents, 4) == Standing()
    assert said(journal(entry(5), settled_id=NO_ENTRY), 4, b"x" * 16) == Standing()  # the first release kept no ids


def test_another_entry_at_the_number_that_was_settled_last_was_a_copys() -> None:
    found = said(journal(entry(5)), 4, b"x" * 16)
    assert found == Standing(is_copy=True)
    assert found.is_open(5)


@pytest.mark.parametrize("mark", [entry_id(6), NO_ENTRY])
def test_entries_up_to_the_mark_are_in_history(mark: bytes) -> None:
    found = said(journal(entry(5, noted_at=1), entry(6, noted_at=1), entry(7)), 6, mark)
    assert found == Standing(applied=6)
    assert [found.is_open(sequence) for sequence in (5, 6, 7)] == [False, False, True]


def test_what_the_mark_covers_and_the_journal_never_noted_is_unknown() -> None:
    """It was restored from before it was pushed."""
    found = said(journal(entry(5, noted_at=1), entry(6), entry(7)), 6)
    assert found == Standing(applied=6, unknown=frozenset({6}))


@pytest.mark.parametrize("copied_at", [5, 6, 9])
def test_what_a_copy_has_settled_too_is_shared_and_not_unknown(copied_at: int) -> None:
    found = said(journal(entry(5), entry(6), entry(7), copied_at=copied_at), 6)
    assert (found.applied, found.shared) == (6, min(copied_at, 6))
    assert found.unknown == {5, 6} - set(range(copied_at + 1))


def test_a_mark_of_a_copy_leaves_what_comes_before_it_in_doubt() -> None:
    found = said(journal(entry(5), entry(6), entry(7)), 6, b"x" * 16)
    assert found == Standing(unknown=frozenset({5}), is_copy=True)


def test_a_mark_of_a_copy_settles_what_both_have() -> None:
    found = said(journal(entry(5), entry(6), entry(7), copied_at=5), 6, b"x" * 16)
    assert found == Standing(shared=5, is_copy=True)
    assert [found.is_open(sequence) for sequence in (5, 6, 7)] == [False, True, True]


@pytest.mark.parametrize("mark", [entry_id(9), NO_ENTRY])
def test_a_mark_beyond_all_that_the_journal_has_was_a_copys(mark: bytes) -> None:
    assert said(journal(entry(5)), 9, mark) == Standing(unknown=frozenset({5}), is_copy=True)


@pytest.mark.parametrize("newest", [7, 9])
def test_a_mark_of_the_first_release_names_any_entry_that_was_given_away(newest: int) -> None:
    contents = journal(entry(5, noted_at=1), newest=newest)  # it has no 7 any more
    assert said(contents, 7, NO_ENTRY) == Standing(applied=7)
    assert said(contents, 7, b"x" * 16) == Standing(unknown=frozenset({5}), is_copy=True)


def test_marks_of_other_journals_say_nothing() -> None:
    other = JournalMark(b"o" * 16, 6, 0, entry_id(6))
    found = standing_of(replace(empty(), journals=(other,)), journal(entry(5, noted_at=1)))
    assert replace(found, why="") == Standing()
