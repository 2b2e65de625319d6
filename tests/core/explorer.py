"""Every order of events and every fault of a tiny world, tried out.

A world is one register, a set of objects and a few actors. An actor is a generator of effects: the real protocols
of `virke.core`, around them a little that an engine would do. It is a pure function of the outcomes it was sent, so
a state is a value: what the register ever held, which objects exist, which swaps are still on their way, what each
actor was told, how many faults are left. The search visits every state that can be reached, each one once.

1. At each effect of each actor every outcome happens that a store may give, faults as long as the budget lasts.
2. A swap whose answer was lost may arrive at any later step, also after its writer got its verdict, or never.
3. Generations are made from the bytes alone, as ETags are: equal bytes would have equal generations.
4. An actor may be killed at every effect, before or after it took effect, and starts again knowing nothing.
5. Checked in every state: versions ascend by one, no commit is in history twice, no logical write is; what was told
   is true now; everything that the root needs exists; nobody is told `Failed` without a fault, and nobody `Unknown`
   unless the scenario is one in which neither can be proved.
6. Where the scenario says so, the store forgets: the register goes back to a state that it held, its old generation
   included, and requests on their way to that state count again. From then on nothing that was told needs to hold; what
   is told must be provable: another history is never taken for a lost race or a success, and `Forgot` is never told before.

`worlds` counts distinct ends: states in which all actors are done, orders of events that nobody can tell apart
counted once.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from virke.core.commit import Committed, Conflicted, Failed, Gone, TooSoon, Unknown, Verdict
from virke.core.effects import (
    Absent,
    AwaitSlot,
    BackOff,
    Delete,
    Effect,
    Generation,
    Get,
    Lost,
    Mismatch,
    Outcome,
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
from virke.core.ids import CommitId
from virke.core.lineage import Forgot
from virke.core.root import Root, RootAt, decode_root

LOST: Final = Lost("no answer")
REFUSED: Final = Refused("not now")


@dataclass(frozen=True, slots=True)
class Told:
    """An actor's report: the verdict on one commit of one logical write."""

    write: str
    commit_id: CommitId
    verdict: Verdict
    base: RootAt | None = None


@dataclass(frozen=True, slots=True)
class ListKeys:
    """An effect of actors only: the keys of all objects, as bytes."""


@dataclass(frozen=True, slots=True)
class RemoveRoot:
    """An effect of actors only: delete the database's root."""


Step = Effect | Told | ListKeys | RemoveRoot
Actor = Generator[Step, Outcome, None]
Program = Callable[[int], Actor]
"""Starts an actor's `n`-th life."""


class Violation(AssertionError):
    """A promise was broken; the message has the steps that led there."""


class GivenUp(Exception):
    """An actor that sees no way to go on."""


class Node:
    """An actor as far as it has come; nodes are interned, so equal is identical."""

    __slots__ = ("_answers", "_lives", "_next", "program", "step", "told")

    def __init__(self, program: Program, lives: int, answers: tuple[Outcome, ...], told: tuple[Told, ...]) -> None:
        self.program, self._lives, self._answers = program, lives, answers
        self._next: dict[object, Node] = {}
        self.told = told
        self.step: Step | None = None
        actor = program(lives)
        try:
            step = next(actor)
            for answer in answers:
                step = actor.send(answer)
            while isinstance(step, Told | Pause | BackOff):
                if isinstance(step, Told):
                    self.told = (*self.told, step)
                self._answers = (*self._answers, None)
                step = actor.send(None)
            self.step = step
        except (StopIteration, GivenUp):
            self.step = None

    def after(self, answer: Outcome) -> Node:
        """The actor once it got `answer`."""
        key = tuple(answer) if isinstance(answer, list) else answer
        if key not in self._next:
            self._next[key] = Node(self.program, self._lives, (*self._answers, answer), self.told)
        return self._next[key]

    def killed(self) -> Node:
        """The actor's next life."""
        if "killed" not in self._next:
            self._next["killed"] = Node(self.program, self._lives + 1, (), self.told)
        return self._next["killed"]


class Chain:
    """What the register holds, and all it ever held; interned like nodes."""

    __slots__ = ("_next", "data", "generation", "ids", "needed", "older", "root")

    def __init__(self, older: Chain | None, data: bytes | None, needs: Callable[[Root], frozenset[str]]) -> None:
        self.older, self.data = older, data
        self.root = None if data is None else decode_root(data, "world")
        self.generation = None if data is None else Generation(blake2b(data, digest_size=6).hexdigest())
        self.ids: tuple[CommitId, ...] = () if older is None else older.ids
        self.needed = frozenset[str]()
        if self.root is not None:
            self.ids = (*self.ids, self.root.head.commit_id)
            self.needed = needs(self.root)
        self._next: dict[bytes | None, Chain] = {}

    def then(self, data: bytes | None, needs: Callable[[Root], frozenset[str]]) -> Chain:
        """The register after `data` was swapped in (None: removed)."""
        if data not in self._next:
            self._next[data] = Chain(self, data, needs)
        return self._next[data]

    def record(self) -> Record | Absent:
        """What a read answers."""
        return Absent() if self.data is None or self.generation is None else Record(self.data, self.generation)

    def past(self) -> Iterator[Chain]:
        """All older states, newest first."""
        here = self.older
        while here is not None:
            yield here
            here = here.older


class State(NamedTuple):
    """One state of a world; a value."""

    chain: Chain
    objects: frozenset[str]
    late: frozenset[SwapRoot]
    actors: tuple[Node, ...]
    faults: int
    forgets: int = 0
    forgotten: frozenset[Chain] = frozenset()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where a world starts, and what may happen in it."""

    history: tuple[bytes | None, ...]
    programs: tuple[Program, ...]
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: int = 2
    forgets: int = 0
    stale: bool = False
    paced: bool = False
    kill: bool = False
    may_be_unknown: bool = False
    answers_carry_generation: bool = True
    needs: Callable[[Root, dict[str, bytes]], frozenset[str]] = lambda root, _: frozenset(
        key for ref in root.segments for key in ref.keys
    )


@dataclass(slots=True)
class Found:
    """What a search saw."""

    worlds: int = 0
    states: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    complete: bool = True


class Move(NamedTuple):
    """One thing that can happen to an actor's effect."""

    name: str
    answer: Outcome
    chain: Chain
    objects: frozenset[str]
    late: frozenset[SwapRoot]
    cost: int


@contextmanager
def without_collections() -> Iterator[None]:
    """A search keeps nearly all that it makes: looking through it for garbage again and again takes half of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Explorer:
    """Searches one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.contents = dict(scenario.objects)
        self._came: dict[State, tuple[State, str] | None] = {}

    def run(self, worlds_max: int = 1 << 60) -> Found:
        """Visit every state, or as many as it takes to see `worlds_max` ends.

        Raises:
            Violation: a promise does not hold.
        """
        with without_collections():
            return self._searched(worlds_max)

    def _searched(self, worlds_max: int) -> Found:
        found = Found()
        start = self._start()
        self._came[start] = None
        waiting = [start]
        while waiting:
            state = waiting.pop()
            found.states += 1
            if all(node.step is None for node in state.actors):
                found.worlds += 1
                found.verdicts.update(type(told.verdict).__name__ for node in state.actors for told in node.told)
                if found.worlds >= worlds_max:
                    found.complete = False
                    return found
            for name, after in self._after(state):
                if after not in self._came:
                    self._came[after] = (state, name)
                    self._check(after)
                    waiting.append(after)
        return found

    def _needs(self, root: Root) -> frozenset[str]:
        return self.scenario.needs(root, self.contents)

    def _start(self) -> State:
        chain = Chain(None, self.scenario.history[0], self._needs)
        for data in self.scenario.history[1:]:
            chain = chain.then(data, self._needs)
        actors = tuple(Node(program, 0, (), ()) for program in self.scenario.programs)
        return State(
            chain, frozenset(self.scenario.objects), frozenset(), actors, self.scenario.faults, self.scenario.forgets
        )

    def _after(self, state: State) -> Iterator[tuple[str, State]]:
        for swap in state.late:
            if swap.base == state.chain.generation:
                chain = state.chain.then(swap.data, self._needs)
                yield "a late swap arrives", state._replace(chain=chain, late=self._alive(state.late, chain, state))
        for old in state.chain.past() if state.forgets else ():
            if old.data is not None:
                forgotten = state.forgotten | {state.chain}
                yield "the store forgets", state._replace(chain=old, forgets=state.forgets - 1, forgotten=forgotten)
        for number, node in enumerate(state.actors):
            if node.step is None:
                continue
            here = Move("", None, state.chain, state.objects, state.late, 0)
            for move in self._moves(node.step, here, state.forgotten):
                if move.cost > state.faults:
                    continue
                yield self._moved(state, number, move, node.after(move.answer))
                if self.scenario.kill and move.cost == 0 and state.faults:
                    dead = move._replace(name=f"{move.name}, killed", cost=1)
                    yield self._moved(state, number, dead, node.killed())
            if self.scenario.kill and state.faults:
                late = state.late | self._on_its_way(node.step, state.chain)
                yield self._moved(state, number, here._replace(name="killed before", late=late, cost=1), node.killed())

    def _moved(self, state: State, number: int, move: Move, node: Node) -> tuple[str, State]:
        actors = (*state.actors[:number], node, *state.actors[number + 1 :])
        late = self._alive(move.late, move.chain, state)
        faults = state.faults - move.cost
        after = state._replace(chain=move.chain, objects=move.objects, late=late, actors=actors, faults=faults)
        return f"actor {number}: {type(state.actors[number].step).__name__} {move.name}", after

    def _alive(self, late: frozenset[SwapRoot], chain: Chain, state: State) -> frozenset[SwapRoot]:
        """The swaps that may still be applied: all of them while the store may go back to their base."""
        return late if state.forgets else frozenset(swap for swap in late if swap.base == chain.generation)

    def _on_its_way(self, step: Step | None, chain: Chain) -> frozenset[SwapRoot]:
        return frozenset([step]) if isinstance(step, SwapRoot) and step.base == chain.generation else frozenset()

    def _moves(self, step: Step, here: Move, forgotten: frozenset[Chain]) -> Iterator[Move]:
        match step:
            case SwapRoot():
                yield from self._swaps(step, here)
            case ReadRoot():
                yield here._replace(name="fresh", answer=here.chain.record())
                yield here._replace(name="lost", answer=LOST, cost=1)
                if self.scenario.stale:
                    for head in (here.chain, *forgotten):
                        for old in (*((head,) if head in forgotten else ()), *head.past()):
                            yield here._replace(name="stale", answer=old.record(), cost=1)
            case PutNew(_, key, data):
                yield from self._puts(((key, data),), here)
            case PutAll(_, objects):
                yield from self._puts(objects, here)
            case Delete(_, keys):
                yield here._replace(name="deleted", objects=here.objects - set(keys))
                yield here._replace(name="not deleted", cost=1)
            case Get(_, ranges):
                yield here._replace(name="got", answer=[self._range(here, *place) for place in ranges])
            case AwaitSlot():
                yield here._replace(name="came")
            case ListKeys():
                yield here._replace(name="listed", answer=[key.encode() for key in sorted(here.objects)])
            case RemoveRoot():
                yield here._replace(name="removed", chain=here.chain.then(None, self._needs))
            case _:
                raise AssertionError(f"no world knows {step}")

    def _puts(self, objects: tuple[tuple[str, bytes], ...], here: Move) -> Iterator[Move]:
        for key, data in objects:
            if self.contents.setdefault(key, data) != data:
                raise Violation(f"two contents for {key}")
        keys = [key for key, _ in objects]
        yield here._replace(name="stored", answer=Stored(), objects=here.objects | set(keys))
        yield here._replace(name="stored, answer lost", answer=LOST, objects=here.objects | set(keys), cost=1)
        for some in [[], *([key] for key in keys if len(keys) > 1)]:
            there = here.objects | set(some)
            yield here._replace(name=f"lost, {len(some)} stored", answer=LOST, objects=there, cost=1)
            yield here._replace(name=f"refused, {len(some)} stored", answer=REFUSED, objects=there, cost=1)

    def _range(self, here: Move, key: str, offset: int, length: int | None) -> bytes | Absent:
        end = None if length is None else offset + length
        return self.contents[key][offset:end] if key in here.objects else Absent()

    def _swaps(self, swap: SwapRoot, here: Move) -> Iterator[Move]:
        if swap.base == here.chain.generation:
            chain = here.chain.then(swap.data, self._needs)
            generation = chain.generation if self.scenario.answers_carry_generation else None
            yield here._replace(name="applied", answer=Swapped(generation), chain=chain)
            yield here._replace(name="applied, answer lost", answer=LOST, chain=chain, cost=1)
            yield here._replace(name="applied and repeated on the way", answer=Mismatch(), chain=chain, cost=1)
        else:
            yield here._replace(name="mismatch", answer=Mismatch())
        late = here.late | self._on_its_way(swap, here.chain)
        yield here._replace(name="lost", answer=LOST, late=late, cost=1)
        yield here._replace(name="refused", answer=REFUSED, cost=1)
        if self.scenario.paced:
            yield here._replace(name="too soon", answer=Paced(), cost=1)

    def _check(self, state: State) -> None:
        wrong = self._wrong(state)
        if wrong:
            steps, here = [wrong], self._came.get(state)
            while here is not None:
                steps.append(here[1])
                here = self._came.get(here[0])
            raise Violation("\n".join(reversed(steps)))

    def _wrong(self, state: State) -> str:
        chain = state.chain
        before = chain.older.root if chain.older else None
        now = chain.root.head.version if chain.root else 0
        if before and now > 1 and now != before.head.version + 1:  # 1 is another database of the same name
            return "versions do not ascend by one"
        if len(set(chain.ids)) != len(chain.ids):
            return "P2: a commit is in history twice"
        if not chain.needed <= state.objects:
            return f"P8: the root needs {sorted(chain.needed - state.objects)}"
        writes: Counter[str] = Counter()
        for told in (told for node in state.actors for told in node.told):
            is_in = told.commit_id in chain.ids
            writes[told.write] += is_in
            if writes[told.write] > 1:
                return f"P2: {told.write} is in history twice"
            if wrong := self._untrue(told, is_in, state):
                return f"{wrong} ({told.write})"
        return ""

    def _untrue(self, told: Told, is_in: bool, state: State) -> str:
        if told.base and isinstance(told.verdict, Committed | Conflicted) and told.verdict.at:
            before = told.base.root.head
            there = told.verdict.at.root.commit_at(before.version)
            if there is not None and there.commit_id != before.commit_id:
                return "P14: another history was taken for the one that was known"
        if state.forgets < self.scenario.forgets:
            is_blind = isinstance(told.verdict, Unknown) and not self.scenario.may_be_unknown
            return "P14: told unknown, though the loss can be proved" if is_blind else ""
        spent = self.scenario.faults - state.faults
        match told.verdict:
            case Committed(root, at):
                held = [older.generation for older in (state.chain, *state.chain.past())]
                if not is_in or root.head.commit_id != told.commit_id:
                    return "P1: told committed, not in history"
                return "" if at is None or at.generation in held else "Committed names a generation that never was"
            case Conflicted(at):
                held = [older.generation for older in (state.chain, *state.chain.past())]
                if is_in:
                    return "P3: told conflict, and in history"
                return "" if at.generation in held else "Conflicted names a generation that never was"
            case Failed():
                return "P3: told failed, and in history" if is_in else "" if spent else "failed without a fault"
            case TooSoon(at):
                if is_in or not spent:
                    return "P3: told too soon, and in history" if is_in else "too soon without a fault"
                held = [older.generation for older in (state.chain, *state.chain.past())]
                return "" if at is None or at.generation in held else "TooSoon names a generation that never was"
            case Gone():
                deleted = any(older.data is None and older.older for older in (state.chain, *state.chain.past()))
                return "" if deleted else "P3: told that the database was deleted, it never was"
            case Forgot():
                return "P14: told that the store forgot, it did not"
            case Unknown():
                return "" if self.scenario.may_be_unknown else "P3: told unknown, though it can be proved"
