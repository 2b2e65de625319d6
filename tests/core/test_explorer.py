"""The commit protocol in every world: promises P1, P2, P3 and P8, and wrong variants that must be caught."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.core.actors import (
    TIME_MS,
    Collecting,
    collector,
    deleter,
    empty,
    forward,
    history,
    in_root,
    merged,
    merger,
    needs,
    registers,
    repeater,
    restorer,
    short_ring,
    stepper,
    with_segment,
    with_two_parts,
    writer,
)
from tests.core.explorer import Explorer, Found, Program, Scenario, Violation
from virke.core import backoff
from virke.core import commit as protocol
from virke.core.chain import Chain
from virke.core.change import change_without_pages, next_root
from virke.core.collect import Marked
from virke.core.commit import (
    Committed,
    Conflicted,
    Gone,
    Plan,
    Protocol,
    Unknown,
    Verdict,
    commit_plan,
)
from virke.core.effects import Mismatch, Outcome, ReadRoot, Record, Swapped, SwapRoot
from virke.core.ids import CommitId
from virke.core.merge import Merge
from virke.core.ring import RingEntry
from virke.core.root import Root, RootAt, decode_root, encode_root
from virke.core.segment import Ref

pytestmark = pytest.mark.once

NEW, _ = history(in_root)
OLD, OBJECTS = history(with_segment, with_segment, merged, with_segment)
SHORT = short_ring(in_root, 2)


def linearizable_commit(base: RootAt, plan: Plan, name: str) -> Protocol:
    """`commit` on a register whose reads are never stale."""
    return commit_plan(base, plan, name, linearizable=True)


def world(*programs: Program, faults: int, stale: bool = False, kill: bool = False) -> Scenario:
    """A database of two commits, without objects."""
    return Scenario(registers(NEW), programs, faults=faults, stale=stale, kill=kill)


def upkeep(*programs: Program, faults: int, stale: bool = False, kill: bool = False) -> Scenario:
    """A database with a merged segment, its inputs and one segment more, that keeps no history."""
    return Scenario(registers(OLD), programs, OBJECTS, faults=faults, stale=stale, kill=kill, needs=needs)


def short_ringed(faults: int) -> Scenario:
    """One writer against another that makes three commits, where the ring remembers two."""
    return Scenario(registers(NEW), (writer("a", SHORT), writer("b", SHORT, writes=3)), faults=faults)


FAST = {
    "two writers": world(writer("a"), writer("b"), faults=3),
    "stale reads": world(writer("a"), writer("b"), faults=2, stale=True),
    "killed writers": world(writer("a"), writer("b"), faults=2, kill=True),
    "segments": world(writer("a", with_segment), writer("b", with_segment), faults=2),
    "segments of two parts": world(writer("a", with_two_parts), writer("b"), faults=2),
    "a merge and a writer": upkeep(merger(), writer("a", with_segment), faults=1, kill=True),
    "a merge and a collection": upkeep(merger(), collector(), faults=1),
    "two collections": upkeep(collector("c1"), collector("c2"), faults=1),
    "a merge, a collection and a writer": upkeep(collector(), merger(), writer("a", with_segment), faults=0),
    "two who take the steps of one merge": upkeep(stepper("s"), stepper("t"), faults=1, kill=True),
    "a merge in steps and a writer": upkeep(stepper(), writer("a", with_segment), faults=1, kill=True),
    "a merge in steps and a collection": upkeep(stepper(), collector(), faults=1, kill=True),
    "a merge, and the same in steps": upkeep(stepper(), merger(), faults=1),
    "a restore and a writer": upkeep(restorer("r", OLD[1]), writer("a", with_segment), faults=1, kill=True),
    "two restores, and a keyed request that is repeated": world(
        restorer("r", NEW[1]), restorer("q", NEW[0]), repeater("k"), faults=1
    ),
    "a restore and a collection": upkeep(restorer("r", OLD[1]), collector(), faults=1),
    "a restore and a merge": upkeep(restorer("r", OLD[2]), merger(), faults=1, kill=True),
}
SLOW = {
    "three writers": world(writer("a"), writer("b"), writer("c"), faults=2, stale=True),
    "two writers, stale reads": world(writer("a"), writer("b"), faults=3, stale=True),
    "two writers, each killed": world(writer("a"), writer("b"), faults=3, kill=True),
    "segments, killed": world(writer("a", with_segment), writer("b", with_segment), faults=2, kill=True, stale=True),
    "segments, three faults": world(writer("a", with_segment), writer("b"), faults=3, stale=True),
    "segments of two parts": world(writer("a", with_two_parts), writer("b", with_two_parts), faults=2, kill=True),
    "a merge and a writer": upkeep(merger(), writer("a", with_segment), faults=2, kill=True),
    "a collection and a writer": upkeep(collector(), writer("a", with_segment), faults=2),
    "a merge and a collection": upkeep(merger(), collector(), faults=2),
    "two collections": upkeep(collector("c1"), collector("c2"), faults=2),
    "a killed collection and a merge": upkeep(collector(), merger(), faults=2, kill=True, stale=True),
    "a merge, a collection and a writer": upkeep(collector(), merger(), writer("a", with_segment), faults=1),
    "two who take the steps of one merge": upkeep(stepper("s"), stepper("t"), faults=2, kill=True, stale=True),
    "a merge in steps, a collection and a writer": upkeep(stepper(), collector(), writer("a", with_segment), faults=1),
    "a merge in steps and a collection": upkeep(stepper(), collector(), faults=2, kill=True, stale=True),
    "a restore, a writer and a collection": upkeep(
        restorer("r", OLD[1]), writer("a", with_segment), collector(), faults=1
    ),
    "a restore, a writer and a keyed request, stale reads": world(
        restorer("r", NEW[1]), writer("a"), repeater("k"), faults=2, stale=True
    ),
    "two who take the steps, and a collection": upkeep(stepper("s"), stepper("t"), collector(), faults=1),
}


def explore(scenarios: dict[str, Scenario]) -> int:
    """Explore each scenario to the end; the number of worlds."""
    worlds = 0
    for name, scenario in scenarios.items():
        found = Explorer(scenario).run()
        print(f"{name}: {found.worlds:,} worlds, {found.states:,} states, {dict(found.verdicts)}")
        worlds += found.worlds
    print(f"{worlds:,} worlds")
    return worlds


@pytest.mark.native  # how many parts a segment has in its worlds is isal's
def test_every_verdict_is_true_in_every_small_world() -> None:
    """P1, P2, P3: whatever the store does, a verdict holds from when it is told to the end."""
    assert explore(FAST) >= 10_000


@pytest.mark.prove
def test_every_verdict_is_true_in_every_larger_world() -> None:
    """The same with more faults, kills and actors."""
    assert explore(SLOW) >= 100_000


def verdicts(scenario: Scenario) -> Found:
    """What an exploration saw."""
    return Explorer(scenario).run()


def test_without_faults_two_writers_are_both_committed() -> None:
    """A lost race is cured by one re-execution; nobody fails and nothing is unknown."""
    found = verdicts(world(writer("a"), writer("b"), faults=0))
    assert set(found.verdicts) == {"Committed", "Conflicted"}
    assert found.verdicts["Committed"] == 2 * found.worlds


def test_a_store_whose_answers_carry_no_generation_is_enough() -> None:
    """Some stores don't tell the new generation; the protocol needs none to be sure."""
    scenario = Scenario(registers(NEW), (writer("a"), writer("b")), faults=2, answers_carry_generation=False)
    assert verdicts(scenario).verdicts.keys() == {"Committed", "Conflicted"}


def test_a_ring_that_does_not_reach_back_makes_the_outcome_unknown() -> None:
    """Rule 4: too many commits passed, so neither can be proved; and that is all that is told."""
    scenario = replace(short_ringed(faults=2), may_be_unknown=True)
    assert verdicts(scenario).verdicts.keys() == {"Committed", "Conflicted", "Unknown"}


def test_giving_up_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 6: after the last try it is `Failed` if no request can have been applied, else `Unknown`."""
    monkeypatch.setattr(protocol, "SENDS", 2)
    monkeypatch.setattr(backoff, "BACKOFF", backoff.Backoff(tries=2))
    programs = (writer("a", with_segment), writer("b"))
    scenario = Scenario(registers(NEW), programs, faults=2, stale=True, may_be_unknown=True)
    assert verdicts(scenario).verdicts.keys() == {"Committed", "Conflicted", "Unknown", "Failed"}


def test_a_root_from_before_the_database_existed_proves_no_deletion() -> None:
    """Rule 8: an eventual store may show what was there before, absence or a database of the same name."""
    before = registers([empty("another")]) + registers(NEW)
    programs = (writer("a", with_segment), writer("b"))
    found = verdicts(Scenario(before, programs, faults=2, stale=True, may_be_unknown=True))
    assert "Gone" not in found.verdicts


@pytest.mark.parametrize("create_anew", [False, True])
def test_a_deletion_is_told_where_reads_are_linearizable(create_anew: bool) -> None:
    """Rule 8 the other way round: there an absent root is proof, also when another database took the name."""
    programs = (writer("a", with_segment, protocol=linearizable_commit), deleter(create_anew))
    found = verdicts(Scenario(registers(NEW), programs, faults=2))
    assert found.verdicts.keys() == {"Committed", "Gone"}


# Wrong variants: the explorer must reject each one


def mismatch_is_conflict(base: RootAt, plan: Plan, name: str) -> Protocol:
    """(a) A mismatch is taken for a lost race without looking for the own commit."""
    swap = SwapRoot(encode_root(plan.root), base.generation)
    for _ in range(protocol.SENDS):
        match (yield swap):
            case Swapped(generation):
                return Committed(plan.root, RootAt(plan.root, generation) if generation else None)
            case Mismatch():
                while not isinstance(seen := (yield ReadRoot()), Record):
                    pass
                return Conflicted(RootAt(decode_root(seen.data, name), seen.generation))
    return Unknown("no answer")


def _read(seen: Outcome) -> tuple[Root, RootAt] | None:
    if not isinstance(seen, Record):
        return None
    root = decode_root(seen.data, "world")
    return root, RootAt(root, seen.generation)


def look_at_the_head_only(base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool) -> Verdict | None:
    """(b) Only the newest commit id is compared; the ring is not searched."""
    if not (read := _read(seen)) or read[0].head.version <= base.root.head.version:
        return None
    return Committed(root, read[1]) if read[0].head.commit_id == root.head.commit_id else Conflicted(read[1])


def look_for_another_version(
    base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool
) -> Verdict | None:
    """(c) Any other version than the base's counts as moved, an older one included."""
    if not (read := _read(seen)) or read[0].head.version == base.root.head.version:
        return None
    ids = [entry.commit_id for entry in read[0].ring]
    return Committed(root, read[1]) if root.head.commit_id in ids else Conflicted(read[1])


def look_without_guard(base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool) -> Verdict | None:
    """(d) What the ring does not remember counts as lost."""
    if not (read := _read(seen)) or read[0].head.version <= base.root.head.version:
        return None
    ids = [entry.commit_id for entry in read[0].ring]
    return Committed(root, read[1]) if root.head.commit_id in ids else Conflicted(read[1])


def look_and_believe_absence(
    base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool
) -> Verdict | None:
    """(g) An absent root counts as a deletion, also where it may be an old state."""
    verdict = real_look(base, root, seen, name, linearizable=linearizable)
    return Conflicted(base) if isinstance(verdict, Gone) else verdict


def root_before_segment(base: RootAt, plan: Plan, name: str) -> Protocol:
    """(f) The root is swapped in before the objects that it names are there."""
    verdict = yield from commit_plan(base, Plan(plan.root), name)
    yield from plan.puts
    return verdict


def rebase_over_a_watermark(root: Root, job: Merge, ref: Ref, commit_id: CommitId) -> Plan | None:
    """(e) A merge is rebased although a collection may have taken its upload for garbage."""
    inputs = job.inputs
    if root.segments[: len(inputs)] != inputs:
        return None
    new = next_root(root, commit_id, change_without_pages(root, TIME_MS))
    return Plan(replace(new, segments=(ref, *root.segments[len(inputs) :])))


def name_over_a_watermark(root: Root, chain: Chain, ref: Ref, commit_id: CommitId) -> Plan | None:
    """(h) A chain is named although a collection may have taken its links for garbage."""
    return rebase_over_a_watermark(root, chain.job(), ref, commit_id)


def leftovers_of_any_age(root: Root, marked: Marked, keys: Iterable[str]) -> list[str]:
    """(e) Everything that no root names counts as garbage, an upload in flight included."""
    return [key for key in keys if key not in marked.needed_keys]


def names_old_references(base: Root, then: Root, commit_id: CommitId) -> Plan:
    """(i) A restore names the segments of then again, and drops the newer ones."""
    new = next_root(base, commit_id, replace(change_without_pages(base, TIME_MS), restores=then.head.version))
    return Plan(replace(new, segments=then.segments))


def goes_back_whole(base: Root, then: Root, commit_id: CommitId) -> Plan:
    """(i) The ring, and the answers in it, go back with the pages."""
    old = replace(base, ring=then.ring)
    plan = forward(old, then, commit_id)
    return replace(plan, root=replace(plan.root, ring=(*then.ring[-1:], plan.root.ring[-1])))


def without_an_epoch(base: Root, then: Root, commit_id: CommitId) -> Plan:
    """(i) The root of then is written again, version and all."""
    head = replace(then.head, commit_id=commit_id)
    return Plan(replace(then, head=head, ring=(*then.ring[:-1], RingEntry(commit_id))))


real_look = protocol.judge_swap
LOOKS = [
    (look_at_the_head_only, world(writer("a"), writer("b"), faults=1)),
    (look_for_another_version, world(writer("a"), writer("b"), faults=2, stale=True)),
    (look_without_guard, short_ringed(faults=1)),
    (look_and_believe_absence, world(writer("a"), writer("b"), faults=2, stale=True)),
]
RULES = Collecting(leftover_keys=leftovers_of_any_age)
SCENARIOS = {
    "a: mismatch is conflict": world(writer("a", protocol=mismatch_is_conflict), writer("b"), faults=1),
    "e: rebase over a watermark": upkeep(merger(plan=rebase_over_a_watermark), collector(), faults=0),
    "e: leftovers of any age": upkeep(writer("a", with_segment), collector(rules=RULES), faults=0),
    "h: a chain is named over a watermark": upkeep(stepper(plan=name_over_a_watermark), collector(), faults=0),
    "h: a chain is named before its last link": upkeep(stepper(ahead=True), faults=0),
    "h: who lost deletes what others may name": upkeep(stepper("s", deletes=True), stepper("t"), faults=1),
    "h: leftovers of any age": upkeep(stepper(), collector(rules=RULES), faults=0),
    "i: a restore names old references": upkeep(restorer("r", OLD[2], names_old_references), collector(), faults=0),
    "i: answers go back": world(restorer("r", NEW[0], goes_back_whole), repeater("k"), faults=0),
    "i: the version goes back": world(restorer("r", NEW[0], without_an_epoch), writer("a"), faults=0),
    "f: root before segment": world(writer("a", with_segment, protocol=root_before_segment), faults=0),
}


@pytest.mark.parametrize(("look", "scenario"), LOOKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_look_is_rejected(look: object, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """The explorer finds the world in which each plausible shortcut loses or doubles a write."""
    monkeypatch.setattr(protocol, "judge_swap", look)
    with pytest.raises(Violation, match=r"P[123]"):
        Explorer(scenario).run()


SIZED = frozenset(name for name in SCENARIOS if name.startswith("h: "))
"""Those whose segments have one part if isal compresses them, and more without it."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.native] * (name in SIZED)) for name in SCENARIOS]
)
def test_a_wrong_protocol_is_rejected(name: str) -> None:
    """The same for wrong actors."""
    with pytest.raises(Violation, match=r"P[1238]|versions do not ascend"):
        Explorer(SCENARIOS[name]).run()
