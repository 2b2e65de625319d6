"""P14: what a client may conclude from the root it is shown, in every small history; and what a bookmark proves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from tests.core.lineages import FEW, Budget, Explored, History, Rule, World, explore, root_of
from virke.core.ids import Epoch, Version
from virke.core.lineage import (
    Behind,
    Contradicts,
    Forgot,
    Keep,
    Newer,
    NewerEpoch,
    NewLineage,
    Replaced,
    Same,
    Satisfied,
    Seen,
    held_against,
    judge_root,
    mark_of,
)
from virke.core.root import Root

pytestmark = pytest.mark.once

EVERY_VERDICT = {"Same", "Newer", "NewerEpoch", "NewLineage", "Keep", "Forgot", "Replaced", "AskAgain"}


def summed(rule: Rule, *, versions_max: int = 5, budget: Budget | None = None) -> dict[bool, Explored]:
    """What a rule does on a linearizable and on an eventual store."""
    return {
        linearizable: explore(World(linearizable, rule, versions_max, budget or FEW)) for linearizable in (True, False)
    }


def test_no_false_alarm_and_nothing_provable_missed_in_any_small_history() -> None:
    """Losses, restores, own commits, reads that overlap with them: the verdicts are true, and say all that is proved."""
    found = summed(judge_root)
    assert [each.wrong for each in found.values()] == [set(), set()]
    assert sum(each.states for each in found.values()) > 50_000
    assert EVERY_VERDICT - found[True].verdicts.keys() == {"Replaced", "AskAgain"}


def test_a_deleted_database_is_told_from_one_that_was_not() -> None:
    """The same with a deletion and a new database of the same name, also while a slow read is under way."""
    found = summed(judge_root, versions_max=3, budget=Budget(forgets=1, restores=0, own=1, deletions=1))
    assert [each.wrong for each in found.values()] == [set(), set()]
    assert EVERY_VERDICT - {"NewerEpoch", "NewLineage"} - found[True].verdicts.keys() == set()
    assert "Replaced" not in found[False].verdicts


@pytest.mark.prove
def test_two_losses_are_told_rightly() -> None:
    assert explore(World(True, judge_root, 5, Budget(forgets=2))).wrong == set()
    assert explore(World(False, judge_root, 4, Budget(forgets=2))).wrong == set()


# Wrong variants: each shortcut is found out


def versions_only(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """A higher version is newer, a lower one is older: what looks enough while no store forgets."""
    old, new = known.head.version, shown.head.version
    return Same() if new == old else Newer() if new > old else Keep()


def any_lower_version_is_proof(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """When the read began is not asked."""
    return judge_root(known, shown, began_after=True, linearizable=linearizable)


def every_store_is_linearizable(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """A stale read is taken for a loss."""
    return judge_root(known, shown, began_after=began_after, linearizable=True)


def schema_is_kept(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """All newer roots are alike."""
    verdict = judge_root(known, shown, began_after=began_after, linearizable=linearizable)
    return Newer() if isinstance(verdict, NewerEpoch | NewLineage) else verdict


def own_ring_is_not_asked(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """Only the ring of the root that is shown is looked into."""
    if shown.head.version < known.head.version and not (linearizable and began_after):
        return Keep()
    return judge_root(known, shown, began_after=began_after, linearizable=linearizable)


def equal_versions_are_equal(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """The same version number is the same root."""
    if shown.head.version == known.head.version:
        return Same()
    return judge_root(known, shown, began_after=began_after, linearizable=linearizable)


def epochs_do_not_count(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """Restores are not noticed."""
    blind = replace(shown, epoch=known.epoch)
    return judge_root(known, blind, began_after=began_after, linearizable=linearizable)


def any_other_id_is_a_deletion(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """A read that began before the database was created is believed."""
    return judge_root(known, shown, began_after=True, linearizable=linearizable)


WRONG = [
    (versions_only, "missed: a linearizable store went back"),
    (any_lower_version_is_proof, "false alarm"),
    (every_store_is_linearizable, "false alarm"),
    (schema_is_kept, "kept the schema over another history or epoch"),
    (own_ring_is_not_asked, "missed: the rings prove another history"),
    (equal_versions_are_equal, "took another history for the same root"),
    (epochs_do_not_count, "kept the schema over another history or epoch"),
]


@pytest.mark.parametrize(("rule", "wrong"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_rule_is_rejected(rule: Rule, wrong: str) -> None:
    found = summed(rule, versions_max=4)
    assert wrong in found[True].wrong | found[False].wrong


def test_a_deletion_believed_from_a_slow_read_is_rejected() -> None:
    """The answer to a read that began before this database was created shows the one before it."""
    budget = Budget(forgets=0, restores=0, own=1, deletions=1)
    found = explore(World(True, any_other_id_is_a_deletion, 3, budget))
    assert "false alarm: it was not deleted" in found.wrong


# The largest case that no ring can prove


def test_what_no_ring_reaches_is_taken_over_as_another_lineage() -> None:
    known = History(0, (0, 1), (1, 1))
    assert judge_root(
        root_of(known), root_of(History(0, tuple(range(10)), (1,) * 10)), began_after=True, linearizable=True
    ) == (NewLineage())


def test_a_loss_says_which_versions_are_concerned() -> None:
    known, shown = History(0, (0, 1, 2), (1, 1, 1)), History(0, (0,), (1,))
    verdict = judge_root(root_of(known), root_of(shown), began_after=True, linearizable=True)
    assert verdict == Forgot("it shows version 1 after version 3 was committed")


# Bookmarks


def histories(versions_max: int = 4) -> Iterator[History]:
    """Histories of a store that forgot commits at any version, with restores anywhere; no two commits share a number."""
    for version in range(1, versions_max + 1):
        for made in product(range(4), repeat=version - 1):  # each commit: an original or another one, restoring or not
            whole, number = History(0, (0,), (1,)), 0
            for kind in made:
                number = 5 * number + kind + 1
                whole = whole.then(number, restores=kind % 2 == 1)
            yield whole


def test_a_bookmark_is_satisfied_by_what_follows_it_and_by_nothing_that_is_proved_to_be_another_history() -> None:
    """All pairs of small histories: behind exactly if older, contradicted exactly where ring or epochs prove it."""
    for marked, shown in product(histories(), repeat=2):
        found = held_against(mark_of(root_of(marked)), root_of(shown))
        is_before = shown.commits[: marked.version] == marked.commits
        is_behind = marked.commits[: shown.version] == shown.commits and marked.version > shown.version
        at_mark = shown.ring(marked.version)
        if is_before:
            assert found == Satisfied()
        elif is_behind:
            assert found == Behind()
        elif at_mark is not None and at_mark != marked.commits[-1]:
            assert isinstance(found, Contradicts)


def test_a_bookmark_of_an_epoch_that_does_not_go_with_its_version_is_contradicted() -> None:
    root = root_of(History(0, (0, 1, 2), (1, 2, 2)))
    mark = mark_of(root)
    assert isinstance(held_against(replace(mark, epoch=Epoch(1)), root), Contradicts)
    assert isinstance(held_against(replace(mark, epoch=Epoch(3)), root), Contradicts)
    assert held_against(replace(mark, epoch=Epoch(3), version=Version(4)), root) == Behind()


def test_a_restored_root_satisfies_the_bookmarks_of_before() -> None:
    """A restore is a forward commit: what was written before it is in its history."""
    before = History(0, (0, 1), (1, 1))
    assert held_against(mark_of(root_of(before)), root_of(before.then(2, restores=True))) == Satisfied()


# Branches that were deleted and created again


def born(epoch: int, version: int = 2) -> Root:
    """The newest root of a branch that was created in `epoch`."""
    root = root_of(History(0, tuple(range(version)), (epoch,) * version))
    return replace(root, birth_epoch=Epoch(epoch))


@pytest.mark.parametrize("linearizable", [True, False])
@pytest.mark.parametrize("began_after", [True, False])
@pytest.mark.parametrize("version", [1, 2, 9])
def test_a_branch_created_again_is_another_one_whatever_its_version(
    version: int, began_after: bool, linearizable: bool
) -> None:
    """Its epoch is higher at any version, and that is not a loss."""
    assert judge_root(born(1), born(2, version), began_after=began_after, linearizable=linearizable) == Replaced()
    older = judge_root(born(2), born(1, version), began_after=began_after, linearizable=linearizable)
    assert isinstance(older, Forgot) if linearizable and began_after else older == Keep()


def test_a_bookmark_of_the_deleted_branch_is_contradicted() -> None:
    for version in (1, 2, 9):
        assert isinstance(held_against(mark_of(born(1, version)), born(2)), Contradicts)
