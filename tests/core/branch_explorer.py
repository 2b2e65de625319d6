"""Every order of the steps of a few actors on the branches of one database, with kills, late swaps and stale reads.

`explorer.py` asks what a commit on one register is told; here several registers, and what pins hold, are in question.
Effects are atomic. An actor is a generator of effects, a pure function of what it was answered, so a state is a value.

1. In every state each living root's newest version, and its whole history window, exist: told independently of
   `collect.mark` (`needs`).
2. In each end collectors run a few rounds; then nothing is left but what living roots and their pins need, and no pin
   of a branch that is no more.
3. An actor may be killed before every step; its last swap may still be on its way and arrive at any later step.
4. A swap may be applied and its answer lost; a read may show what its register held at any time before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Final, NamedTuple

from virke.core.collect import mark_needed
from virke.core.effects import (
    Absent,
    AwaitSlot,
    BackOff,
    Delete,
    Effect,
    Generation,
    Get,
    Keys,
    ListKeys,
    Lost,
    Mismatch,
    Outcome,
    Pause,
    PutAll,
    PutNew,
    ReadRoot,
    Record,
    RemoveRoot,
    Stored,
    Swapped,
    SwapRoot,
)
from virke.core.index import whole_index
from virke.core.pins import Tombstone
from virke.core.root import Root, decode_record
from virke.core.segment import Ref
from virke.errors import Corrupt, VirkeError

LOST: Final = Lost("no answer")
ROUNDS: Final = 5
Actor = Generator[Effect, Outcome, object]
Program = Callable[[], Actor]
Registers = frozenset[tuple[str, bytes]]


class Violation(AssertionError):
    """A promise was broken; the message has the steps that led there."""


class Node:
    """An actor as far as it has come; interned, so equal is identical."""

    __slots__ = ("_answers", "_next", "_program", "error", "result", "step")

    def __init__(self, program: Program, answers: tuple[Outcome, ...] = ()) -> None:
        self._program, self._answers = program, answers
        self._next: dict[object, Node] = {}
        self.error: VirkeError | None = None
        self.step: Effect | None = None
        self.result: object = None
        actor = program()
        try:
            step = next(actor)
            for answer in answers:
                step = actor.send(answer)
            while isinstance(step, Pause | BackOff | AwaitSlot):
                self._answers = (*self._answers, None)
                step = actor.send(None)
            self.step = step
        except StopIteration as end:
            self.result = end.value
        except VirkeError as error:
            self.error = error

    def after(self, answer: Outcome) -> Node:
        """The actor once it got `answer`."""
        key = tuple(answer) if isinstance(answer, list) else answer
        if key not in self._next:
            self._next[key] = Node(self._program, (*self._answers, answer))
        return self._next[key]


def _nothing() -> Generator[Effect, Outcome, None]:
    yield from ()


KILLED: Final = Node(_nothing)


class State(NamedTuple):
    """One state of a world; a value."""

    registers: Registers
    objects: frozenset[str]
    nodes: tuple[Node, ...]
    late: SwapRoot | None
    kills: int
    lost: int
    stale: int
    past: Registers


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done one after the other first, and what happens at once then."""

    first: tuple[Program, ...]
    programs: tuple[Program, ...]
    kills: int = 0
    lost: int = 0
    stale: int = 0
    late: bool = False
    lists: bool = True
    """Whether what is left in the end may be found by a LIST, as `db gc` does."""


@dataclass(slots=True)
class Found:
    """What a search saw."""

    states: int = 0
    ends: int = 0


class Explorer:
    """Searches one scenario, from `registers` and `contents` on; `collector` is what the ends are cleaned by.

    `judge` says what is wrong with an end, beyond what is checked of each.
    """

    def __init__(
        self,
        scenario: Scenario,
        registers: Registers,
        contents: dict[str, bytes],
        collector: Callable[[str], Program],
        judge: Callable[[State], str] = lambda state: "",
    ) -> None:
        self._judge = judge
        self._scenario = scenario
        self._contents = dict(contents)
        self._collector = collector
        self._registers = registers
        self._came: dict[State, tuple[State, str] | None] = {}
        self._needed: dict[bytes, frozenset[str]] = {}
        self._cleaners: dict[str, Node] = {}
        self._cleaned = set[tuple[Registers, frozenset[str]]]()

    def run(self) -> Found:
        """Visit every state. Raises `Violation`."""
        scenario, found = self._scenario, Found()
        start = State(self._registers, frozenset(self._contents), (), None, 0, 0, 0, frozenset())
        past = start.registers
        for program in scenario.first:
            start = self._run(start, Node(program))
            past |= start.registers
        nodes = tuple(Node(program) for program in scenario.programs)
        start = start._replace(nodes=nodes, kills=scenario.kills, lost=scenario.lost, stale=scenario.stale)
        start = start._replace(past=past if scenario.stale else frozenset())
        self._came[start] = None
        waiting = [start]
        while waiting:
            state = waiting.pop()
            found.states += 1
            if all(node.step is None for node in state.nodes):
                found.ends += 1
                if wrong := self._judge(state):
                    raise self._violation(state, wrong)
                self._clean(state)
            for name, after in self._after(state):
                if after not in self._came:
                    self._came[after] = (state, name)
                    self._check(after)
                    waiting.append(after)
        return found

    def _after(self, state: State) -> Iterator[tuple[str, State]]:
        if state.late:
            registers, objects, _ = self._perform(state, state.late)
            yield "a late swap arrives", self._past(state._replace(registers=registers, objects=objects, late=None))
        for number, node in enumerate(state.nodes):
            step = node.step
            if step is None:
                continue
            name = f"{number}: {type(step).__name__} {getattr(step, 'key', '')}"
            registers, objects, answer = self._perform(state, step)
            after = self._past(state._replace(registers=registers, objects=objects))
            yield f"{name} {type(answer).__name__}", self._with(after, number, node.after(answer))
            if state.lost and isinstance(answer, Swapped):
                yield f"{name} answer lost", self._with(after._replace(lost=state.lost - 1), number, node.after(LOST))
            if state.stale and isinstance(step, ReadRoot):
                held = [_record(data) for key, data in state.past if key == step.key]
                olds: list[Record | Absent] = [*held, Absent()]
                for old in olds:
                    if old != answer:
                        seen = state._replace(stale=state.stale - 1)
                        yield f"{name} stale", self._with(seen, number, node.after(old))
            if state.kills:
                dead = state._replace(kills=state.kills - 1)
                yield f"{number}: killed", self._with(dead, number, KILLED)
                if self._scenario.late and isinstance(step, SwapRoot) and state.late is None:
                    yield (
                        f"{number}: killed, {name} is on its way",
                        self._with(dead._replace(late=step), number, KILLED),
                    )

    def _with(self, state: State, number: int, node: Node) -> State:
        return state._replace(nodes=(*state.nodes[:number], node, *state.nodes[number + 1 :]))

    def _past(self, state: State) -> State:
        return state._replace(past=state.past | state.registers) if self._scenario.stale else state

    def _run(self, state: State, node: Node) -> State:
        """One actor alone, to its end."""
        while node.step is not None:
            registers, objects, answer = self._perform(state, node.step)
            state, node = state._replace(registers=registers, objects=objects), node.after(answer)
        if node.error:
            raise node.error
        return state

    def _perform(self, state: State, step: Effect) -> tuple[Registers, frozenset[str], Outcome]:
        registers, objects = state.registers, state.objects
        match step:
            case ReadRoot(key):
                return registers, objects, _read(registers, key)
            case SwapRoot(data, base, key):
                assert key is not None
                if not _is_at(registers, key, base):
                    return registers, objects, Mismatch()
                return _placed(registers, key, data), objects, Swapped(_record(data).generation)
            case RemoveRoot(key, base):
                if not _is_at(registers, key, base):
                    return registers, objects, Mismatch()
                return _placed(registers, key, None), objects, Swapped(None)
            case PutNew(_, key, data):
                return registers, objects | self._kept({key: data}), Stored()
            case PutAll(_, many):
                return registers, objects | self._kept(dict(many)), Stored()
            case Delete(_, keys):
                return registers, objects - set(keys), None
            case ListKeys(_, prefix):
                return registers, objects, Keys(tuple(sorted(key for key in objects if key.startswith(prefix))))
            case Get(_, ranges):
                found = [
                    self._contents[key][at : None if length is None else at + length] if key in objects else Absent()
                    for key, at, length in ranges
                ]
                return registers, objects, found
        raise AssertionError(f"no world knows {step}")

    def _kept(self, objects: dict[str, bytes]) -> frozenset[str]:
        for key, data in objects.items():
            if self._contents.setdefault(key, data) != data:
                raise Violation(f"two contents for {key}")
        return frozenset(objects)

    # What must be true

    def _check(self, state: State) -> None:
        if missing := self._missing(state):
            raise self._violation(state, f"P8: {missing}")
        for node in state.nodes:
            if isinstance(node.error, Corrupt) and not self._scenario.stale:
                raise self._violation(state, f"P7: told corrupt, and all is well: {node.error}")

    def _missing(self, state: State) -> str:
        for key, data in state.registers:
            if data not in self._needed:
                self._needed[data] = needs(decoded(data), self._contents)
            if not self._needed[data] <= state.objects:
                return f"{key} needs {sorted(self._needed[data] - state.objects)}"
        return ""

    def _clean(self, end: State) -> None:
        """Collectors alone, until nothing changes."""
        if (end.registers, end.objects) in self._cleaned:
            return
        self._cleaned.add((end.registers, end.objects))
        state = end
        for _ in range(ROUNDS):
            for key, data in sorted(state.registers):
                if isinstance(decoded(data), Root):
                    if key not in self._cleaners:
                        self._cleaners[key] = Node(self._collector(key.rsplit("/", 1)[1]))
                    try:
                        state = self._run(state, self._cleaners[key])
                    except Corrupt as error:
                        raise self._violation(end, f"P7, when collected: {error}") from error
                    if missing := self._missing(state):
                        raise self._violation(end, f"P8, when collected: {missing}")
        roots = {root.branch: root for _, data in state.registers if isinstance(root := decoded(data), Root)}
        needed = frozenset[str]()
        for root in roots.values():
            needed |= self._marked(state, root)
            for pin in root.pins:
                child = roots.get(pin.name)
                if child is None or child.birth_epoch != pin.birth_epoch:
                    raise self._violation(end, f"leak: the pin of {pin.name} in {root.branch} stays")
        if left := state.objects - needed:
            raise self._violation(end, f"leak: {sorted(left)}")

    def _marked(self, state: State, root: Root) -> frozenset[str]:
        walk = mark_needed(root)
        try:
            step = next(walk)
            while True:
                step = walk.send(self._perform(state, step)[2])
        except StopIteration as stop:
            keys: frozenset[str] = stop.value.needed_keys
            return keys

    def _violation(self, state: State, wrong: str) -> Violation:
        steps, here = [wrong], self._came.get(state)
        while here is not None:
            steps.append(here[1])
            here = self._came.get(here[0])
        return Violation("\n".join(reversed(steps)))


@cache
def decoded(data: bytes, name: str = "db") -> Root | Tombstone:
    """`decode_record`, once for each record: an actor that is run again decodes the same ones again."""
    return decode_record(data, name)


@cache
def _record(data: bytes) -> Record:
    return Record(data, Generation(blake2b(data, digest_size=6).hexdigest()))


def _read(registers: Registers, key: str | None) -> Record | Absent:
    assert key is not None, "protocols of branches name their registers"
    return next((_record(data) for name, data in registers if name == key), Absent())


def _is_at(registers: Registers, key: str, base: Generation | None) -> bool:
    seen = _read(registers, key)
    return (seen.generation if isinstance(seen, Record) else None) == base


def _placed(registers: Registers, key: str, data: bytes | None) -> Registers:
    others = frozenset(each for each in registers if each[0] != key)
    return others if data is None else others | {(key, data)}


def needs(found: object, contents: dict[str, bytes]) -> frozenset[str]:
    """All keys that a living root's newest version and its history window are read from."""
    keys = set[str]()
    if not isinstance(found, Root):
        return frozenset()
    keys |= {key for ref in found.segments for key in ref.keys}
    for version in range(max(1, found.horizon.version), found.head.version + 1):
        waiting = list(found.segments)
        while waiting:
            ref = waiting.pop()
            if ref.lo > version:
                continue
            keys |= set(ref.keys)
            if ref.hi > version and ref.has_inputs:
                waiting += _inputs(ref, contents)
    return frozenset(keys)


def _inputs(ref: Ref, contents: dict[str, bytes]) -> tuple[Ref, ...]:
    data = contents[ref.index_key][ref.index_offset : ref.index_offset + ref.index_length]
    return whole_index(data, ref).inputs
