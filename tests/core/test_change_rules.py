"""What a commit makes of the root's clock, its ring and its answers, at their bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.actors import empty, id_of
from virke.core import change
from virke.core.change import change_without_pages, may_have_answered, next_root
from virke.core.ids import Version
from virke.core.ring import RING_LENGTH, Answer, RingEntry
from virke.core.root import Root


def answers(number: int, count: int) -> tuple[Answer, ...]:
    return tuple(Answer(number.to_bytes(8, "big") + at.to_bytes(8, "big"), number) for at in range(count))


def with_ring(*counts: int, version: int = 100) -> Root:
    """A root whose last commits gave so many answers."""
    ring = tuple(RingEntry(id_of(f"{at}"), answers(at, count)) for at, count in enumerate(counts))
    root = empty()
    return replace(root, ring=ring, head=replace(root.head, version=Version(version)))


@pytest.mark.parametrize(("later_ms", "moved_ms"), [(-5, 0), (0, 0), (5, 5)])
def test_history_goes_forward_whatever_the_clock_does(later_ms: int, moved_ms: int) -> None:
    root = empty()
    after = next_root(root, id_of("next"), change_without_pages(root, root.head.time_ms + later_ms))
    assert after.head.time_ms - root.head.time_ms == moved_ms


@pytest.mark.parametrize(("passed", "found"), [(0, True), (1, False), (2, False), (3, True), (4, True)])
def test_p2_answers_are_known_to_be_none_only_as_far_as_the_ring_reaches(passed: int, found: bool) -> None:
    """Of three entries the oldest has one; what came before them is not known."""
    now = with_ring(1, 0, 0)
    base = replace(now, head=replace(now.head, version=Version(now.head.version - passed)))
    assert may_have_answered(base, now) == found


def test_p2_more_commits_than_the_ring_has_may_have_answered() -> None:
    now = with_ring(0, 0, 0)
    base = replace(now, head=replace(now.head, version=Version(now.head.version - 3)))
    assert not may_have_answered(base, now)
    assert may_have_answered(replace(base, head=replace(base.head, version=Version(now.head.version - 4))), now)


def test_of_too_many_answers_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "ANSWERS_KEPT", 10)
    root = with_ring(6, 5, 3)
    after = next_root(root, id_of("next"), replace(change_without_pages(root, 0), answers=answers(9, 2)))
    assert [len(entry.answers) for entry in after.ring] == [0, 5, 3, 2]
    assert [entry.commit_id for entry in after.ring[:3]] == [entry.commit_id for entry in root.ring]


def test_of_answers_that_upkeep_carries_on_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit without pages pushes none out of the ring, up to what one entry may have."""
    monkeypatch.setattr(change, "ANSWERS_MAX", 3)
    root = with_ring(*[2, 2, *[0] * (RING_LENGTH - 2)])
    after = next_root(root, id_of("next"), change_without_pages(root, 0))
    assert after.ring[0].answers == (answers(0, 2) + answers(1, 2))[-3:]
    assert after.ring[0].commit_id == root.ring[1].commit_id
