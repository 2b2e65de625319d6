"""The commit protocol on a store that forgets: P14 in every small world, and shortcuts that must be caught."""

from __future__ import annotations

import pytest

from tests.core.actors import Commit, history, in_root, registers, writer
from tests.core.explorer import Explorer, Scenario, Violation
from virke.core import commit as protocol
from virke.core.commit import Committed, Conflicted, Gone, Plan, Protocol, Verdict, commit_plan
from virke.core.effects import Generation, Outcome, Record
from virke.core.ids import Epoch
from virke.core.pins import Parent, Tombstone, encode_tombstone
from virke.core.root import Root, RootAt, decode_root

pytestmark = pytest.mark.once

ROOTS, _ = history(in_root, in_root)


def linearizable(base: RootAt, plan: Plan, name: str) -> Protocol:
    """`commit` on a register whose reads are never stale."""
    return commit_plan(base, plan, name, linearizable=True)


def eventual(base: RootAt, plan: Plan, name: str) -> Protocol:
    """`commit` on a register that may show any root it ever held."""
    return commit_plan(base, plan, name, linearizable=False)


def forgetful(how: Commit, *, faults: int, forgets: int = 1, stale: bool = False, writes: int = 2) -> Scenario:
    """A database of three commits, a writer that may write again and another one, on a store that forgets."""
    programs = (writer("a", writes=writes, protocol=how), writer("b", protocol=how))
    return Scenario(registers(ROOTS), programs, faults=faults, forgets=forgets, stale=stale, may_be_unknown=stale)


def test_a_writer_is_told_of_every_loss_that_its_base_proves() -> None:
    """Rule 10: neither conflict nor success over another history, `Forgot` at once where the version is lower."""
    found = Explorer(forgetful(linearizable, faults=1)).run()
    assert found.verdicts.keys() == {"Committed", "Conflicted", "Forgot"}
    assert found.worlds > 1000


def test_a_stale_read_is_not_taken_for_a_loss() -> None:
    """On an eventual store a lower version proves nothing (`Unknown`); another commit at a known version does."""
    found = Explorer(forgetful(eventual, faults=1, stale=True, writes=1)).run()
    assert "Forgot" in found.verdicts
    honest = Explorer(forgetful(eventual, faults=2, forgets=0, stale=True, writes=1)).run()
    assert honest.verdicts.keys() == {"Committed", "Conflicted"}


# Wrong variants


def look_at_versions_only(base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool) -> Verdict | None:
    """Another history's commit at our version counts as a lost race."""
    if not isinstance(seen, Record):
        return None
    now = decode_root(seen.data, name)
    if now.head.version <= base.root.head.version:
        return None
    at_ours = now.commit_at(root.head.version)
    assert at_ours is not None
    at = RootAt(now, seen.generation)
    return Committed(root, at) if at_ours.commit_id == root.head.commit_id else Conflicted(at)


def look_and_wait_for_what_is_lost(
    base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool
) -> Verdict | None:
    """A lower version is taken for a stale read everywhere."""
    return real_look(base, root, seen, name, linearizable=False)


def look_and_take_stale_for_lost(
    base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool
) -> Verdict | None:
    """A lower version is taken for a loss everywhere."""
    return real_look(base, root, seen, name, linearizable=True)


real_look = protocol.judge_swap
WRONG = [
    (look_at_versions_only, forgetful(linearizable, faults=0)),
    (look_and_wait_for_what_is_lost, forgetful(linearizable, faults=0)),
    (look_and_take_stale_for_lost, forgetful(eventual, faults=2, forgets=0, stale=True)),
]


@pytest.mark.parametrize(("look", "scenario"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_look_that_misreads_a_loss_is_rejected(
    look: object, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "judge_swap", look)
    with pytest.raises(Violation, match="P14"):
        Explorer(scenario).run()


def test_the_tombstone_of_a_branch_is_a_deletion_and_no_failed_read() -> None:
    """What `look` is shown then is not a root, and proves nothing more than absence would."""
    base = RootAt(ROOTS[-1], Generation("base"))
    tombstone = encode_tombstone(Tombstone(ROOTS[-1].database_id, "db", "a", Epoch(1), Parent("main", Epoch(1))))
    seen = Record(tombstone, Generation("tombstone"))
    assert isinstance(protocol.judge_swap(base, ROOTS[-1], seen, "db", linearizable=True), Gone)
