"""What the next root remembers of the one before, and what a spill makes of it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import new_model, small_limits
from tests.core.test_recent import ROOM, check, write
from virke.core import change
from virke.core.carried import noted_in
from virke.core.change import change_without_pages, next_root
from virke.core.root import JOURNALS_MAX, JournalMark


def test_the_mark_of_a_push_is_kept_however_old_its_writes_are() -> None:
    """Among as many as a root holds, the one that was not pushed for longest goes: else a killed push is done twice."""
    others = tuple(JournalMark(number.to_bytes(16, "big"), 1, 5000 + number) for number in range(JOURNALS_MAX))
    root = replace(new_model().root, journals=others)
    late = JournalMark(b"x" * 16, 7, 4000)
    new = next_root(root, new_model().commit_id(), replace(change_without_pages(root, 9000), marks=(late,)))
    assert new.journals == (*others[1:], late)
    again = replace(others[5], sequence=2)
    newer = next_root(new, new_model().commit_id(), replace(change_without_pages(new, 9000), marks=(again,)))
    assert newer.journals[-2:] == (late, again)
    assert len(newer.journals) == JOURNALS_MAX


def test_a_root_says_before_which_version_marks_were_dropped() -> None:
    """A journal without a mark can then tell "never pushed" from "pushed, and the mark was pushed out"."""
    others = tuple(JournalMark(number.to_bytes(16, "big"), 1, 5000) for number in range(JOURNALS_MAX - 1))
    root = replace(new_model().root, journals=others)
    mark = JournalMark(b"x" * 16, 7, 4000, b"e" * 16)
    full = next_root(root, new_model().commit_id(), replace(change_without_pages(root, 9000), marks=(mark,)))
    assert (full.journals[-1], full.marks_dropped) == (mark, 0)
    other = replace(mark, journal_id=b"y" * 16)
    dropped = next_root(full, new_model().commit_id(), replace(change_without_pages(full, 9000), marks=(other,)))
    assert dropped.marks_dropped == dropped.head.version == full.head.version + 1
    later = next_root(dropped, new_model().commit_id(), change_without_pages(dropped, 9000))
    assert later.marks_dropped == dropped.head.version


@settings(max_examples=40)
@given(st.integers(0, 1 << 30))
@small_limits()
def test_what_is_spilled_by_a_commit_of_its_own_is_every_version_that_was_inline(seed: int) -> None:
    """Rules 3 and 7: P4 for each version, P7 for who reads by what the root carries; the newest commit stays inline."""
    chance, model = random.Random(seed), new_model()
    model.recent_bytes = chance.choice([0, ROOM])
    spills, most = 0, chance.choice([2, 14])
    for _ in range(25):
        write(model, chance)
        if len(model.root.inline) > 1 and chance.random() < 0.4:
            before = model.root
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(change, "SPILL_COMMITS", most)
                model.spill()
            assert model.root.inline == before.inline[min(most, len(before.inline) - 1) :]
            assert model.root.segments[:-1] == before.segments
            assert model.read(before.head.version) == model.versions[before.head.version].pages
            spills += 1
        check(model)
    assert spills
    for version in model.versions:
        assert model.read(version) == model.versions[version].pages


@small_limits()
def test_interior_pages_of_the_commit_that_stays_are_noted_still() -> None:
    """Or the next spill would carry none of them (carried, rule 3)."""
    chance, model, kept = random.Random(3), new_model(), 0
    model.recent_bytes = ROOM
    for _ in range(60):
        write(model, chance)
        if len(model.root.inline) > 1:
            noted = noted_in(model.root.extensions)
            model.spill()
            assert noted_in(model.root.extensions) == noted.intersection(model.root.inline[-1].pages)
            kept += len(noted_in(model.root.extensions))
    assert kept
