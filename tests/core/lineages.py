"""Every history of a small store that commits, restores, forgets and is deleted, and a client that is shown its roots.

The client knows one root; a read of it may be under way while it commits itself, or while another of its threads reads.
A linearizable store shows what its register holds at some moment of the read; an eventual one any root it ever held.
The search visits every state once, and asks of each verdict whether it is true (no false alarm) and whether the roots'
own rings proved more than it says (nothing provable is missed). Truth is the whole list of commit ids, which no client sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, NamedTuple

from tests.core.actors import empty, id_of
from tests.core.explorer import without_collections
from virke.core.ids import DatabaseId, Epoch, Version
from virke.core.lineage import AskAgain, Forgot, Keep, NewerEpoch, NewLineage, Replaced, Same, Seen
from virke.core.ring import RingEntry
from virke.core.root import Root

RING: Final = 3


class History(NamedTuple):
    """All commits of a database up to one version: their numbers, and the epoch of each."""

    database: int
    commits: tuple[int, ...]
    epochs: tuple[int, ...]

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self.commits)

    def ring(self, version: int) -> int | None:
        """The commit of `version`, if the ring reaches it."""
        return self.commits[version - 1] if max(0, self.version - RING) < version <= self.version else None

    def then(self, commit: int, restores: bool = False) -> History:
        """This history with one commit more."""
        epoch = self.epochs[-1] + restores
        return History(self.database, (*self.commits, commit), (*self.epochs, epoch))

    def cut(self, version: int) -> History:
        """What is left of it after the store forgot all that came after `version`."""
        return History(self.database, self.commits[:version], self.epochs[:version])


@cache
def root_of(history: History) -> Root:
    """The root that a client is shown."""
    ids = tuple(RingEntry(id_of(f"commit {commit}")) for commit in history.commits[-RING:])
    blank = empty()
    return replace(
        blank,
        database_id=DatabaseId(id_of(f"database {history.database}")),
        epoch=Epoch(history.epochs[-1]),
        head=replace(blank.head, version=Version(history.version), commit_id=ids[-1].commit_id),
        ring=ids,
    )


class Reading(NamedTuple):
    """A read under way: what was known when it began, and what it was served once it was."""

    knew: History | None
    served: History | None


class Budget(NamedTuple):
    """What may still happen."""

    forgets: int = 1
    restores: int = 1
    own: int = 2
    deletions: int = 0


FEW: Final = Budget()


class State(NamedTuple):
    """One state; a value. `commits` counts all commits ever made, so that no two share a number."""

    held: History
    ever: frozenset[History]
    known: History | None
    reading: Reading | None
    left: Budget
    commits: int


Rule = Callable[..., Seen]


@dataclass(frozen=True, slots=True)
class World:
    """What is explored."""

    linearizable: bool
    rule: Rule
    versions_max: int = 5
    budget: Budget = FEW


@dataclass(slots=True)
class Explored:
    """What was seen: how many states, which verdicts, and what was wrong with them."""

    states: int
    verdicts: Counter[str]
    wrong: set[str]


def explore(world: World) -> Explored:
    """Visit every state of `world`; a state after a wrong verdict is not followed."""
    with without_collections():
        return _explored(world)


def _explored(world: World) -> Explored:
    start = History(0, (0,), (1,))
    waiting = [State(start, frozenset([start]), None, None, world.budget, 1)]
    seen, found = set(waiting), Explored(0, Counter(), set())
    while waiting:
        state = waiting.pop()
        found.states += 1
        for after in (*_stores(state, world), *_reads(state, world, found)):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return found


def _stores(state: State, world: World) -> Iterator[State]:
    """What happens to the register: commits of others and our own, restores, losses, deletion."""
    held, left, number = state.held, state.left, state.commits

    def holds(history: History, left: Budget = left, known: History | None = state.known) -> State:
        ever = state.ever | {history}
        return state._replace(held=history, ever=ever, known=known, left=left, commits=number + 1)

    if held.version < world.versions_max:
        after = held.then(number)
        yield holds(after)
        if state.known == held and left.own:
            yield holds(after, left._replace(own=left.own - 1), after)
        if left.restores:
            yield holds(held.then(number, restores=True), left._replace(restores=left.restores - 1))
    if left.forgets:
        for version in range(1, held.version):
            yield state._replace(held=held.cut(version), left=left._replace(forgets=left.forgets - 1))
    if left.deletions:
        anew = History(held.database + 1, (number,), (1,))
        yield holds(anew, left._replace(deletions=left.deletions - 1))


def _reads(state: State, world: World, found: Explored) -> Iterator[State]:
    """The slow read goes one step on, or another one is asked and answered at once."""
    reading = state.reading
    shown = (state.held,) if world.linearizable else tuple(state.ever)
    for history in shown:
        yield from _judged(state, Reading(state.known, history), world, found)
    if reading is None:
        yield state._replace(reading=Reading(state.known, None))
    elif reading.served is None:
        for history in shown:
            yield state._replace(reading=reading._replace(served=history))
    else:
        yield from _judged(state._replace(reading=None), reading, world, found)


def _judged(state: State, reading: Reading, world: World, found: Explored) -> Iterator[State]:
    known, shown = state.known, reading.served
    assert shown is not None
    if known is None:
        yield state._replace(known=shown)
        return
    began_after = reading.knew == known
    verdict, missed = _verdict_of(world.rule, known, shown, began_after, world.linearizable)
    found.verdicts[type(verdict).__name__] += 1
    if wrong := _untrue(state, world, verdict, shown) or missed:
        found.wrong.add(wrong)
    elif not isinstance(verdict, Forgot | Replaced):  # both are the end
        kept = isinstance(verdict, Keep | AskAgain)
        yield state._replace(known=known if kept else shown)


@cache
def _verdict_of(rule: Rule, known: History, shown: History, began_after: bool, linearizable: bool) -> tuple[Seen, str]:
    """What a rule says, and why that is too little: the same in every state that shows one the other."""
    verdict = rule(root_of(known), root_of(shown), began_after=began_after, linearizable=linearizable)
    return verdict, _missed(known, shown, verdict, linearizable and began_after)


def _untrue(state: State, world: World, verdict: Seen, shown: History) -> str:
    """Why a verdict claims too much."""
    known = state.known
    assert known is not None
    lower = min(known.version, shown.version)
    is_one = known.database == shown.database and known.commits[:lower] == shown.commits[:lower]
    match verdict:
        case Forgot():
            return "" if state.left.forgets < world.budget.forgets else "false alarm"
        case Replaced():
            return "" if state.held.database > known.database else "false alarm: it was not deleted"
        case Keep() | AskAgain():
            return ""
        case _ if shown.version < known.version or shown.database != known.database:
            return "went back"
        case Same():
            return "" if is_one else "took another history for the same root"
        case NewerEpoch() | NewLineage():
            return ""
        case _:
            return (
                ""
                if is_one and known.epochs[-1] == shown.epochs[-1]
                else "kept the schema over another history or epoch"
            )


def _missed(known: History, shown: History, verdict: Seen, must_be_newest: bool) -> str:
    """Why a verdict claims too little."""
    if isinstance(verdict, Forgot):
        return ""
    if known.database != shown.database:
        return "" if isinstance(verdict, Replaced) or not must_be_newest else "missed: another database has its name"
    lower = min(known.version, shown.version)
    rings = known.ring(lower), shown.ring(lower)
    if None not in rings and rings[0] != rings[1]:
        return "missed: the rings prove another history"
    if shown.version <= known.version and shown.epochs[-1] > known.epochs[-1]:
        return "missed: the epoch went up at a lower version"
    if must_be_newest and shown.version < known.version:
        return "missed: a linearizable store went back"
    return ""
