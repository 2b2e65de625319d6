"""Turns as a finite graph: who starves, and how long the others wait at worst.

Time goes in ticks; within a tick the actors act in every order. A slow writer needs some ticks of SQL on an unmoved
root, a fast one always has something to commit, an edge request gives up after some ticks and comes again as a new one,
a one-shot process is new for each commit, upkeep moves the root and no page, old software knows no turns. What an actor
does next is what `core/turntaking.next_move` says on roots that say what the state says.

An actor starves if the graph has a cycle without a commit of it; if not, the longest path without one is the exact
worst case. Faults are taken from a budget: an answer that is lost (applied or not), a stale read, a clock twice as
fast for a tick, a holder that is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from typing import Final, NamedTuple

from tests.core.actors import empty
from virke.core import turntaking
from virke.core.ids import ID_BYTES
from virke.core.turn import Turn
from virke.core.turntaking import NEVER, Claim, Move, Take, Wait, Watch, next_move

NOW_MS: Final = 1_000_000
TIMER_MOST: Final = 9
PASSED_MOST: Final = 2
SERIALS: Final = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """The actors, what may go wrong, and which rules hold; by default all of them do."""

    kinds: tuple[str, ...] = ("slow", "fast")
    sql: int = 3
    length: int = 6
    rest: int = 3
    deadline: int = 3
    gap: int = 2
    faults: int = 0
    crash_of: tuple[int, ...] = ()
    takes_turns: bool = True
    anyone_removes: bool = True
    rebases: bool = True
    rests: bool = True
    hints: bool = True
    renews: bool = False


class Actor(NamedTuple):
    """Phases: read, wait, run, take a turn, commit, pause, dead. `base`: 2 newest, 1 older with the same pages, 0 older.

    `timed` is what its clock measures: a turn by its serial, or a rest; `ran` that its SQL is done on these pages.
    """

    phase: str = "read"
    base: int = 0
    left: int = 0
    losses: int = 0
    ran: bool = False
    timed: int | str | None = None
    timer: int = 0
    row: int = 0


class Register(NamedTuple):
    """Whose turn the root holds, with which serial; whether a rest was left; and how long ago the turn was written."""

    owner: int | None = None
    serial: int = 0
    rests: bool = False
    age: int = 0


class State(NamedTuple):
    """One state; a value."""

    root: Register
    actors: tuple[Actor, ...]
    faults: int


Event = tuple[int, str]
Step = tuple[State, tuple[Event, ...]]
NEW: Final = Actor()


@cache
def _decided(
    rules: Rules, number: int, losses: int, root: Register, watched: tuple[int | str | None, int]
) -> tuple[Move, int | str | None, int]:
    """The real decision on a root like `root`, and what is timed from then on."""
    turn = None
    if root.owner is not None:
        written_ms = NOW_MS - 1000 * (root.age if rules.hints else 0)
        turn = Turn(_token(root.owner), root.serial, 1000 * rules.length, written_ms)
    shown = replace(empty(), turn=turn, rest_ms=1000 * rules.rest if root.rests and rules.rests else 0)
    timed, timer = watched
    watch = Watch()
    if isinstance(timed, int) and turn:
        watch = Watch(turn=(turn.token, timed), turn_from_s=-timer)
    elif timed == "rest":
        watch = Watch(rest_from_s=-timer, rest_seen_s=-1.0)
    watch = watch.saw(shown, 0.0)
    claim = Claim(_token(number), losses, may_take=rules.takes_turns and rules.kinds[number] == "slow")
    move = next_move(shown, watch, claim, now_s=0.0, now_ms=NOW_MS)
    if root.owner is not None:
        return move, root.serial, round(-watch.turn_from_s)
    rests = shown.rest_ms and watch.rest_from_s != NEVER and isinstance(move, Wait | Take)
    return move, "rest" if rests else None, round(-watch.rest_from_s) if rests else 0


def _token(number: int) -> bytes:
    return bytes([number + 1]) * ID_BYTES


class Graph:
    """All states that can be reached under some rules, and the steps between them."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        first = State(Register(), tuple(NEW for _ in rules.kinds), rules.faults)
        self.numbers = {first: 0}
        self.edges: list[tuple[int, int, frozenset[Event]]] = []
        waiting = [first]
        while waiting:
            state = waiting.pop()
            number = self.numbers[state]
            for after, events in self._tick(state):
                if after not in self.numbers:
                    self.numbers[after] = len(self.numbers)
                    waiting.append(after)
                self.edges.append((number, self.numbers[after], events))

    # Answers

    def worst(self, number: int, besides: tuple[str, ...] = ()) -> tuple[int, int] | None:
        """The most ticks and SQL runs of an actor without its commit; None if it may wait for ever.

        `besides`: events of the actor that are taken not to happen.
        """
        ends = {(number, "commit"), *((number, name) for name in besides)}
        edges = [edge for edge in self.edges if not ends & edge[2]]
        ticks = self._longest(edges, lambda _: 1)
        runs = self._longest(edges, lambda events: (number, "run") in events)
        return None if ticks is None or runs is None else (ticks, runs)

    def _longest(
        self, edges: list[tuple[int, int, frozenset[Event]]], weight: Callable[[frozenset[Event]], int]
    ) -> int | None:
        follow: list[list[tuple[int, int]]] = [[] for _ in self.numbers]
        entering = [0] * len(self.numbers)
        for start, end, events in edges:
            follow[start].append((end, weight(events)))
            entering[end] += 1
        ready, best, done = [n for n, count in enumerate(entering) if not count], [0] * len(entering), 0
        while ready:
            here = ready.pop()
            done += 1
            for end, cost in follow[here]:
                best[end] = max(best[end], best[here] + cost)
                entering[end] -= 1
                if not entering[end]:
                    ready.append(end)
        return max(best) if done == len(best) else None

    def again_and_again(self, name: str) -> bool:
        """Whether an event can happen without end."""
        follow: list[list[int]] = [[] for _ in self.numbers]
        for start, end, _ in self.edges:
            follow[start].append(end)
        for start, end, events in self.edges:
            if any(event == name for _, event in events) and _reaches(follow, end, start):
                return True
        return False

    # Steps

    def _tick(self, state: State) -> set[tuple[State, frozenset[Event]]]:
        found = set[tuple[State, frozenset[Event]]]()
        for order in permutations(range(len(self.rules.kinds))):
            layer = {(state, frozenset[Event]())}
            for number in order:
                layer = {
                    (after, events | frozenset(new))
                    for here, events in layer
                    for after, new in self._step(here, number)
                }
            found |= layer
        return {(after._replace(root=self._aged(after.root)), events) for after, events in found}

    def _aged(self, root: Register) -> Register:
        is_seen = root.owner is not None and self.rules.hints
        return root._replace(age=min(root.age + 1, PASSED_MOST * self.rules.length) if is_seen else 0)

    def _step(self, state: State, number: int) -> Iterator[Step]:
        actor = state.actors[number]
        if actor.phase == "dead":
            yield state, ()
            return
        if state.faults and state.root.owner == number and number in self.rules.crash_of:
            yield _with(state, number, NEW._replace(phase="dead"), faults=state.faults - 1), ((number, "crash"),)
        match actor.phase:
            case "pause":
                left = actor.left - 1
                yield (
                    _with(state, number, actor._replace(left=left) if left else actor._replace(left=0, phase="read")),
                    (),
                )
            case "read" | "wait":
                yield from self._reads(state, number)
            case "run":
                yield self._runs(state, number)
            case _:
                yield from self._swaps(state, number)

    def _reads(self, state: State, number: int) -> Iterator[Step]:
        actor, waits = state.actors[number], state.actors[number].phase == "wait"
        if state.faults:  # a stale read: no news, but time goes on
            late = actor._replace(timer=min(actor.timer + 1, TIMER_MOST)) if waits else actor
            yield _with(state, number, late, faults=state.faults - 1), ((number, "stale"),)
        for passed in (1, 2) if state.faults and waits else (1,):  # 2: a clock that is twice as fast
            timer = min(actor.timer + passed, TIMER_MOST) if waits else actor.timer
            seen = actor._replace(base=2, timer=timer, ran=actor.ran and self.rules.rebases)
            after = self._decides(seen, number, state.root)
            events: tuple[Event, ...] = ()
            if waits and self.rules.kinds[number] == "edge" and timer >= self.rules.deadline and after.phase == "wait":
                after = NEW  # the request ends unanswered, and the next one knows nothing
            elif waits and after.phase != "wait" and state.root.owner not in (None, number):
                events = ((number, "waited to the end"),)
            yield _with(state, number, after, faults=state.faults - (passed - 1)), events

    def _decides(self, actor: Actor, number: int, root: Register) -> Actor:
        """What an actor that has just seen the newest root does."""
        if self.rules.kinds[number] == "old":
            return actor._replace(phase="commit", ran=False)
        move, timed, timer = _decided(self.rules, number, actor.losses, root, (actor.timed, actor.timer))
        actor = actor._replace(timed=timed, timer=min(timer, TIMER_MOST))
        match move:
            case Wait():
                return actor._replace(phase="wait", row=0)
            case Take():
                return actor._replace(phase="take")
        if actor.ran or self.rules.kinds[number] != "slow":
            return actor._replace(phase="commit")
        return actor._replace(phase="run", left=self.rules.sql)

    def _runs(self, state: State, number: int) -> Step:
        actor, root, rules = state.actors[number], state.root, self.rules
        holds = root.owner == number
        if rules.renews and holds and actor.base == 2 and actor.timer >= rules.length // 2:
            renewed = root._replace(serial=(root.serial + 1) % SERIALS, age=0)
            moved = state._replace(root=renewed, actors=_moved(state.actors, number, pages=False))
            return _with(moved, number, actor._replace(timer=0)), ((number, "renews"),)
        events = ((number, "run"),) if actor.left == rules.sql else ()
        after = actor._replace(left=actor.left - 1, timer=min(actor.timer + 1, TIMER_MOST) if holds else actor.timer)
        return _with(state, number, after if after.left else after._replace(phase="commit", ran=True)), events

    def _swaps(self, state: State, number: int) -> Iterator[Step]:
        actor, kind = state.actors[number], self.rules.kinds[number]
        if state.faults:  # lost on the way: look, and send again
            yield _with(state, number, actor._replace(phase="read"), faults=state.faults - 1), ((number, "lost"),)
        if actor.base != 2:
            yield _with(state, number, self._loses(actor, kind)), ((number, f"loses {actor.phase}"),)
            return
        pages = actor.phase == "commit" and kind != "upkeep"
        root, after, events = self._wins(state.root, actor, number)
        won = state._replace(root=root, actors=_moved(state.actors, number, pages=pages))
        yield _with(won, number, after), events
        if state.faults:  # applied, and the answer lost: it reads, and finds its commit
            reads = after if after.phase == "pause" else after._replace(phase="read", left=0)
            yield _with(won, number, reads, faults=state.faults - 1), events

    def _loses(self, actor: Actor, kind: str) -> Actor:
        actor = actor._replace(phase="read", row=0 if actor.phase == "commit" else actor.row)
        if kind == "upkeep" or actor.phase == "take":
            return actor
        again = actor.base == 1 and self.rules.rebases
        return actor._replace(losses=min(actor.losses + 1, turntaking.LOSSES), ran=actor.ran and again)

    def _wins(self, root: Register, actor: Actor, number: int) -> tuple[Register, Actor, tuple[Event, ...]]:
        rules, kind = self.rules, self.rules.kinds[number]
        if actor.phase == "take":
            taken = Register(number, (root.serial + 1) % SERIALS)
            phase = "commit" if actor.ran else "run"
            left = actor.left if actor.ran else rules.sql
            return taken, actor._replace(phase=phase, left=left, timer=0, row=0), ((number, "turn"),)
        if kind == "upkeep":
            after = self._without_turn(root, number)
            return after, actor._replace(phase="pause", left=2), ((number, "upkeep"),)
        after = self._without_turn(root, number)
        row = min(actor.row + 1, 3)
        actor = actor._replace(losses=0, ran=False, row=row)
        if rules.gap and kind in ("fast", "old") and row >= 2:
            actor = actor._replace(phase="pause", left=rules.gap, row=0)
        else:
            actor = NEW if kind == "cli" else self._decides(actor, number, after)
        return after, actor, ((number, "commit"),)

    def _without_turn(self, root: Register, number: int) -> Register:
        """The register after a commit (`next_root` removes the turn that it sees)."""
        others = self.rules.anyone_removes and self.rules.kinds[number] != "old"
        if root.owner is None or not (root.owner == number or others):
            return root
        return root._replace(owner=None, rests=True, age=0)


def _with(state: State, number: int, actor: Actor, *, faults: int | None = None) -> State:
    actors = (*state.actors[:number], actor, *state.actors[number + 1 :])
    return state._replace(actors=actors, faults=state.faults if faults is None else faults)


def _moved(actors: tuple[Actor, ...], number: int, *, pages: bool) -> tuple[Actor, ...]:
    """The others after a swap: what they have read is older, and their SQL void if pages changed."""
    return tuple(
        actor if at == number else actor._replace(base=0 if pages else min(actor.base, 1), ran=actor.ran and not pages)
        for at, actor in enumerate(actors)
    )


def _reaches(follow: list[list[int]], start: int, goal: int) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        for there in follow[here]:
            if there not in seen:
                seen.add(there)
                waiting.append(there)
    return False
