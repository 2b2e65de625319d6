"""What the next root remembers of the one before."""

from __future__ import annotations

from dataclasses import replace

from tests.core.model import new_model
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
