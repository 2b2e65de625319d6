"""Each rule of the commit protocol by itself: what it sends and says after one story of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from tests.core.actors import empty, history, id_of, in_root, with_segment, with_two_parts
from virke.core.backoff import BACKOFF
from virke.core.commit import SENDS, Committed, Conflicted, Failed, Gone, Plan, TooSoon, Unknown, commit_plan
from virke.core.commit import Verdict as AnyVerdict
from virke.core.effects import (
    Absent,
    AwaitSlot,
    BackOff,
    Delete,
    Effect,
    Generation,
    Lost,
    Mismatch,
    Outcome,
    OutOfTime,
    Paced,
    Pause,
    PutAll,
    PutNew,
    ReadRoot,
    Record,
    Refused,
    Stored,
    Swapped,
    SwapRoot,
)
from virke.core.ids import Epoch
from virke.core.lineage import Forgot
from virke.core.pins import Parent, Tombstone, encode_tombstone
from virke.core.root import Root, RootAt, encode_root
from virke.errors import Denied, Unavailable

ROOTS, _ = history(in_root, in_root)
BASE: Final = RootAt(ROOTS[-1], Generation("base"))
NEXT: Final = Generation("next")
SMALL: Final = in_root(BASE.root, id_of("mine"))
STORED: Final = with_segment(BASE.root, id_of("mine"))
UPLOADED: Final = replace(SMALL, uploaded=(Delete(STORED.puts[0].tier, ("already-there",)),))
OTHER: Final = in_root(BASE.root, id_of("theirs")).root
UNMOVED: Final = Record(encode_root(BASE.root), BASE.generation)

Answer = Outcome | Exception
Story = Sequence[Answer]
"""What is answered to one kind of effect, in order; the last one is answered from then on."""
TAKEN: Final[Story] = (Swapped(NEXT),)
ALL_STORED: Final[Story] = (Stored(),)


def shown(root: Root) -> Record:
    """A read that shows `root`."""
    return Record(encode_root(root), NEXT)


def buried(epoch: int, root: Root = BASE.root) -> Record:
    """A read that shows what a deleted branch leaves."""
    tombstone = Tombstone(root.database_id, "db", "main", Epoch(epoch), Parent("", Epoch(0)))
    return Record(encode_tombstone(tombstone), NEXT)


def later(commits: int, root: Root = OTHER) -> Root:
    """A root that so many more commits made of `root`."""
    for number in range(commits):
        root = in_root(root, id_of(f"later {number}")).root
    return root


def told(
    plan: Plan,
    swaps: Story = TAKEN,
    *,
    puts: Story = ALL_STORED,
    reads: Story = (UNMOVED,),
    deletes: Story = (None,),
    waits: Story = (None,),
    linearizable: bool = False,
    key: str | None = None,
) -> tuple[AnyVerdict, list[Effect]]:
    """The verdict, and every effect."""
    protocol, effects = commit_plan(BASE, plan, "db", linearizable=linearizable, key=key), list[Effect]()
    stories: dict[type[Effect], list[Answer]] = {
        SwapRoot: list(swaps),
        ReadRoot: list(reads),
        PutNew: list(puts),
        PutAll: list(puts),
        Delete: list(deletes),
        Pause: [None],
        BackOff: list(waits),
        AwaitSlot: [None],
    }
    answer: Answer = None
    while True:
        try:
            effect = protocol.throw(answer) if isinstance(answer, Exception) else protocol.send(answer)
        except StopIteration as end:
            return end.value, effects
        effects.append(effect)
        story = stories[type(effect)]
        answer = story.pop(0) if len(story) > 1 else story[0]


def kinds(effects: list[Effect]) -> str:
    """The kinds of what was sent, and which pause, or wait after which failure, each was."""

    def kind(one: Effect) -> str:
        match one:
            case Pause(number) | BackOff(number):
                return f"{type(one).__name__}{number}"
        return type(one).__name__

    return " ".join(map(kind, effects))


def test_the_objects_are_there_before_the_root_names_them() -> None:
    """Rule 1."""
    assert told(STORED) == (
        Committed(STORED.root, RootAt(STORED.root, NEXT)),
        [STORED.puts[0], SwapRoot(encode_root(STORED.root), BASE.generation)],
    )
    two = with_two_parts(BASE.root, id_of("mine"))
    together = PutAll(two.puts[0].tier, tuple((put.key, put.data) for put in two.puts))
    assert told(two)[1] == [together, SwapRoot(encode_root(two.root), BASE.generation)]


@pytest.mark.parametrize("last", [Lost("no answer"), Refused("no room"), None])
def test_what_a_store_does_not_take_is_in_no_root(last: Answer) -> None:
    """Rules 1, 6 and 7: the swap is not sent, and what may have arrived is deleted."""
    verdict, effects = told(STORED, puts=[last])
    reason = getattr(last, "reason", "the store did not take the object")
    assert (verdict, effects[-1]) == (Failed(reason), Delete(STORED.puts[0].tier, (STORED.puts[0].key,)))
    assert kinds(effects) == "PutNew BackOff1 PutNew BackOff2 PutNew BackOff3 PutNew BackOff4 PutNew Delete"
    assert effects.count(STORED.puts[0]) == BACKOFF.tries


def test_an_object_is_sent_again_before_the_swap() -> None:
    verdict, effects = told(STORED, puts=[Lost("no answer"), Refused("down", is_down=True), Stored()])
    assert (type(verdict), kinds(effects)) == (Committed, "PutNew BackOff1 PutNew BackOff2 PutNew SwapRoot")


def test_a_store_that_is_down_when_a_commit_begins_is_not_waited_for() -> None:
    """Rule 13, for the objects and for the root; nothing that the root would name is missing, as it is not swapped in."""
    down = Refused("it is down", is_down=True)
    verdict, effects = told(STORED, puts=[down])
    assert (verdict, kinds(effects)) == (Failed("it is down"), "PutNew Delete")
    verdict, effects = told(SMALL, [down])
    assert (verdict, kinds(effects)) == (Failed("it is down"), "SwapRoot")
    verdict, effects = told(SMALL, [Lost("no answer"), down, Swapped(NEXT)])
    assert (type(verdict), kinds(effects)) == (
        Committed,
        "SwapRoot ReadRoot BackOff1 SwapRoot ReadRoot BackOff2 SwapRoot",
    )


def test_a_generation_that_is_not_told_is_not_made_up() -> None:
    assert told(SMALL, [Swapped(None)])[0] == Committed(SMALL.root, None)


@pytest.mark.parametrize("answer", [Lost("no answer"), Mismatch()])
@pytest.mark.parametrize("linearizable", [False, True])
def test_our_commit_at_its_version_is_committed(answer: Outcome, linearizable: bool) -> None:
    """Rule 2: a `Mismatch` may answer a repeat of our own success. Others may have gone on since."""
    verdict, _ = told(STORED, [answer], reads=[shown(STORED.root)], linearizable=linearizable)
    assert verdict == Committed(STORED.root, RootAt(STORED.root, NEXT))
    now = later(3, SMALL.root)
    verdict, effects = told(SMALL, [answer], reads=[shown(now)], linearizable=linearizable)
    assert (verdict, kinds(effects)) == (Committed(SMALL.root, RootAt(now, NEXT)), "SwapRoot ReadRoot")


@pytest.mark.parametrize("answer", [Lost("no answer"), Mismatch(), Refused("no")])
def test_another_commit_at_that_version_is_a_conflict(answer: Outcome) -> None:
    """Rules 3 and 7: what was uploaded is deleted then, also what was there before the commit began."""
    verdict, effects = told(STORED, [answer], reads=[shown(OTHER)])
    assert (verdict, kinds(effects)) == (Conflicted(RootAt(OTHER, NEXT)), "PutNew SwapRoot ReadRoot Delete")
    verdict, effects = told(UPLOADED, [answer], reads=[shown(OTHER)])
    assert (verdict, effects[2:]) == (Conflicted(RootAt(OTHER, NEXT)), list(UPLOADED.uploaded))


def test_the_ring_does_not_reach_back() -> None:
    """Rule 4: unknown, and nothing is deleted; a conflict if no request can have been applied."""
    now = replace(later(9), ring=later(9).ring[-3:])
    verdict, effects = told(STORED, [Lost("no answer")], reads=[shown(now)])
    assert verdict == Unknown("10 commits passed, more than the ring remembers", passed=True)
    assert kinds(effects) == "PutNew SwapRoot ReadRoot"
    verdict, effects = told(STORED, [Refused("no")], reads=[shown(now)])
    assert (verdict, kinds(effects)) == (Conflicted(RootAt(now, NEXT)), "PutNew SwapRoot ReadRoot Delete")


@pytest.mark.parametrize("read", [UNMOVED, shown(ROOTS[0])], ids=["unmoved", "stale"])
def test_the_same_bytes_are_sent_again_while_nothing_is_proved(read: Outcome) -> None:
    """Rules 5 and 6: as often as a failing store is asked; then unknown with the upload left alone, or failed with it deleted."""
    verdict, effects = told(STORED, [Lost("no answer")], reads=[read])
    swap, look = SwapRoot(encode_root(STORED.root), BASE.generation), ReadRoot()
    rounds = [one for failed in range(1, BACKOFF.tries + 1) for one in (swap, look, BackOff(failed))]
    assert (verdict, effects[1:]) == (Unknown("no answer", passed=False), rounds[:-1])
    verdict, effects = told(STORED, [Refused("no")], reads=[read])
    assert (verdict, kinds(effects[-1:]), effects.count(swap)) == (Failed("no"), "Delete", BACKOFF.tries)
    verdict, _ = told(STORED, [Mismatch(), Refused("no")], reads=[read])
    assert isinstance(verdict, Unknown)
    assert not verdict.passed  # it may still be applied
    late = [Lost("no answer")] * (BACKOFF.tries - 1) + [Swapped(NEXT)]
    assert isinstance(told(STORED, late, reads=[read])[0], Committed)
    verdict, effects = told(STORED, [Mismatch()], reads=[read])  # the store answers: it is no failure of it
    assert (type(verdict), effects.count(swap), BackOff(1) in effects) == (Unknown, SENDS, False)


def test_a_store_that_shows_nothing_is_not_sent_the_swap_again() -> None:
    """Rule 6: only the root says what became of the first one; it is asked for, once for each try that is left."""
    silent = [Lost("no answer")]
    verdict, effects = told(STORED, [Lost("swap lost"), Swapped(NEXT)], reads=silent)
    assert verdict == Unknown("swap lost", passed=False)
    assert kinds(effects) == "PutNew SwapRoot ReadRoot BackOff2 ReadRoot BackOff3 ReadRoot BackOff4 ReadRoot"
    verdict, effects = told(STORED, [Refused("no"), Swapped(NEXT)], reads=silent)
    assert (verdict, kinds(effects[-1:]), kinds(effects).count("SwapRoot")) == (Failed("no"), "Delete", 1)
    verdict, _ = told(STORED, [Mismatch(), Swapped(NEXT)], reads=silent)
    assert isinstance(verdict, Unknown)
    verdict, effects = told(STORED, [Lost("swap lost")], reads=[*silent, shown(STORED.root)])
    assert (type(verdict), kinds(effects)) == (Committed, "PutNew SwapRoot ReadRoot BackOff2 ReadRoot")


def test_where_there_is_no_time_for_another_try_it_ends() -> None:
    """What the store said of when to come back is waited for, or not at all."""
    no_time = (OutOfTime(),)
    verdict, effects = told(STORED, puts=[Lost("no answer", retry_after_s=60.0)], waits=no_time)
    assert (verdict, effects[1:2]) == (Failed("no answer"), [BackOff(1, 60.0)])
    assert kinds(effects) == "PutNew BackOff1 Delete"
    verdict, effects = told(SMALL, [Lost("no answer", retry_after_s=60.0)], waits=no_time)
    assert (type(verdict), effects[-1]) == (Unknown, BackOff(1, 60.0))
    verdict, effects = told(SMALL, [Lost("no answer")], reads=[Lost("nor this", retry_after_s=7.0)], waits=no_time)
    assert (type(verdict), effects[-1]) == (Unknown, BackOff(2, 7.0))


def test_a_refusal_for_the_rate_is_no_reason_to_forget_a_request_that_may_arrive() -> None:
    verdict, effects = told(SMALL, [Lost("no answer"), Paced(), Swapped(NEXT)], reads=[UNMOVED])
    assert (type(verdict), kinds(effects)) == (
        Committed,
        "SwapRoot ReadRoot BackOff1 SwapRoot ReadRoot AwaitSlot SwapRoot",
    )
    verdict, _ = told(SMALL, [Lost("no answer"), Paced()], reads=[UNMOVED, shown(OTHER)])
    assert verdict == Conflicted(RootAt(OTHER, NEXT))
    assert told(SMALL, [Lost("no answer"), Paced()], reads=[UNMOVED, shown(SMALL.root)])[0] == Committed(
        SMALL.root, RootAt(SMALL.root, NEXT)
    )


@pytest.mark.parametrize("plan", [SMALL, STORED, UPLOADED], ids=["small", "stored", "uploaded"])
def test_a_race_lost_to_the_rate_is_planned_again(plan: Plan) -> None:
    """Rule 11: it is no try, so it is not `Conflicted`; what was uploaded is deleted."""
    verdict, effects = told(plan, [Paced(3.0)], reads=[shown(OTHER)])
    assert verdict == TooSoon(RootAt(OTHER, NEXT), 3.0)
    assert kinds(effects).count("Swap") == 1
    assert kinds(effects).endswith("Delete") == (plan is not SMALL)


def test_a_refusal_for_the_rate_is_answered_at_once_if_nothing_was_uploaded() -> None:
    """Rule 11: with the root as read since; what is uploaded waits for its slot."""
    assert told(SMALL, [Paced(3.0)])[0] == TooSoon(BASE, 3.0)
    assert told(SMALL, [Paced(3.0)], reads=[Lost("no answer")])[0] == TooSoon(None, 3.0)
    for plan in (STORED, UPLOADED):
        verdict, effects = told(plan, [Paced(3.0), Swapped(NEXT)])
        assert (type(verdict), AwaitSlot(Paced(3.0)) in effects, "Pause" in kinds(effects)) == (Committed, True, False)


@pytest.mark.parametrize(
    "read", [Absent(), buried(BASE.root.epoch), buried(5)], ids=["absent", "buried", "buried later"]
)
def test_a_database_that_is_gone_is_so_only_where_reads_are_linearizable(read: Outcome) -> None:
    """Rules 8 and 12: elsewhere that may be from before it was created. Nothing is deleted."""
    verdict, effects = told(STORED, [Lost("no answer")], reads=[read], linearizable=True)
    assert (verdict, kinds(effects)) == (Gone(), "PutNew SwapRoot ReadRoot")
    verdict, effects = told(STORED, [Lost("no answer")], reads=[read])
    assert verdict == Unknown("the store does not show this database any more, or not yet")
    assert kinds(effects).count("SwapRoot") == BACKOFF.tries
    assert "Delete" not in kinds(effects)


def test_another_database_under_the_name_is_gone_too() -> None:
    for read in (shown(empty("another")), buried(0, empty("another"))):
        assert told(SMALL, [Lost("no answer")], reads=[read], linearizable=True)[0] == Gone()


def test_a_tombstone_of_an_earlier_life_is_a_stale_read() -> None:
    """Rule 12."""
    base = replace(BASE.root, epoch=Epoch(7), birth_epoch=Epoch(5))
    protocol = commit_plan(RootAt(base, BASE.generation), in_root(base, id_of("mine")), "db", linearizable=True)
    effects = [protocol.send(None), protocol.send(Lost("no answer")), protocol.send(buried(4))]
    assert kinds(effects) == "SwapRoot ReadRoot BackOff1"


def test_an_error_says_nothing_of_the_requests_before_it() -> None:
    """Rule 9."""
    denied = Denied("no right to read")
    stories: tuple[Story, ...] = ([denied], [UNMOVED, denied])
    for reads in stories:
        verdict, effects = told(STORED, [Lost("no answer")], reads=reads)
        assert (verdict, "Delete" in kinds(effects)) == (Unknown("no right to read"), False)
    verdict, _ = told(STORED, [Lost("no answer"), Denied("no right to write")])
    assert verdict == Unknown("no right to write")


@pytest.mark.parametrize("at", ["puts", "swaps", "reads"])
def test_an_error_before_anything_can_have_been_applied_is_raised(at: str) -> None:
    """Rules 9 and 7: and the uploads are deleted, each of them, whatever becomes of another."""
    two = with_two_parts(BASE.root, id_of("mine"))
    plan = replace(two, uploaded=UPLOADED.uploaded)
    protocol = commit_plan(BASE, plan, "db")
    answers: list[Outcome] = [None, Stored(), Refused("no")]
    for answer in answers[: ("puts", "swaps", "reads").index(at) + 1]:
        protocol.send(answer)
    deleted = [protocol.throw(Denied("no right"))]
    deleted += [protocol.throw(Unavailable("not now")) for _ in range(2)]
    assert deleted == [*(Delete(put.tier, (put.key,)) for put in two.puts), *UPLOADED.uploaded]
    with pytest.raises(Denied):
        protocol.send(None)


def test_a_store_that_forgot_commits_is_neither_a_success_nor_a_lost_race() -> None:
    """Rule 10: nothing is deleted."""
    another = in_root(in_root(ROOTS[0], id_of("x")).root, id_of("y")).root
    for now, linearizable in ((ROOTS[0], True), (another, False), (later(1, another), True)):
        verdict, effects = told(STORED, [Lost("no answer")], reads=[shown(now)], linearizable=linearizable)
        assert (type(verdict), kinds(effects)) == (Forgot, "PutNew SwapRoot ReadRoot")


def test_the_register_may_be_another_one_than_the_drivers() -> None:
    _, effects = told(SMALL, [Lost("no answer"), Swapped(NEXT)], key="root/db/other")
    assert [getattr(one, "key", "") for one in effects] == ["root/db/other", "root/db/other", "", "root/db/other"]
