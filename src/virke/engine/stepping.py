"""Upkeep in steps of bounded size, for where a request may cost only so much (`Environment.allowance`).

Knows chains (core/chain), the branch and its indexes; knows no SQL. Each step commits, or leaves what the next step goes on
from, or garbage that a collection finds.

1. One step at a time, and only when it is asked for: after an answer was sent, or by a call of its own.
2. A step reads at most `step_lookups` times, whatever the database's size, and says nothing of a request's own allowance.
   To name what was merged is a step of its own: to commit costs as much as to merge.
3. How far chains have come is in the store: their links, and **hints** next to the root, in a register of its own, that name
   a chain each and how many links it has. A hint is written after the links that it counts; it may be behind, or lost: then a
   step only finds out that another one was taken already.
   A merge of all segments takes many steps, and commits go on: what came after it is merged meanwhile, and first.
4. Merges are made in the KV tier, which refuses to overwrite (chain, rule 2). Where the database is in object storage the
   merged segment is then moved there.
5. What roots carry inline is spilled here too (core/change, rule 7), before anything else: requests read it each time.
6. Collection is not done here: it walks through history, as far as that reaches. It is due until a node or a command does it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from virke.core import chain as chains
from virke.core import merge, moving
from virke.core.carried import Carried, carried_in
from virke.core.chain import BEGIN, UPPER, Chain, Link
from virke.core.chain_step import Bounds, take_step
from virke.core.change import change_without_pages, is_spill_worth, plan_spill
from virke.core.commit import Committed, Plan
from virke.core.effects import Absent, Effect, Generation, Outcome, Record, Swapped, Tier
from virke.core.ids import ID_BYTES, CommitId, DatabaseId
from virke.core.index import Away, Stub, decode_index
from virke.core.merge import Run
from virke.core.recent import key_of
from virke.core.root import Root
from virke.core.segment import Ref
from virke.core.wire import Reader, Writer
from virke.engine.allowance import Allowance
from virke.engine.committing import Committing
from virke.engine.repeating import repeated
from virke.engine.volume import Volume
from virke.errors import Corrupt, Exists, Unavailable
from virke.lazy_dataclasses import dataclass

MAGIC: Final = b"VirkeHnt"
FORMAT: Final = 1
HINTS_MAX: Final = 4
SPILL_SEGMENTS_MAX: Final = 8
"""Of so many segments merges come first: a spill adds one."""
HOT_PARTS: Final = 2
"""In so many of the last parts of what was merged its hot pages are looked for: each is a lookup."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hint:
    """A chain that is worked at, and how many links of it (or parts of a copy) are there."""

    chain: CommitId
    inputs: int
    tier: Tier
    copies: bool
    links: int


def hint_key(name: str, branch: str) -> str:
    """The register of a branch's hints."""
    return f"work/{name}/{branch}"


def encode_hints(database_id: DatabaseId, hints: tuple[Hint, ...]) -> bytes:
    """The bytes of hints; layout: docs/format.md."""
    out = Writer()
    out.raw(MAGIC)
    out.u16(FORMAT)
    out.raw(database_id)
    out.varint(len(hints))
    for hint in hints:
        out.raw(hint.chain)
        out.varint(hint.inputs)
        out.flag(hint.tier is Tier.OBJECT)
        out.flag(hint.copies)
        out.varint(hint.links)
    return out.sealed()


def decode_hints(data: bytes) -> tuple[DatabaseId, tuple[Hint, ...]]:
    """The hints that a register holds, and of which database. Raises `Corrupt`: there are none, or of a newer form."""
    source = Reader.unsealed(data, "hints of upkeep")
    if source.raw(len(MAGIC)) != MAGIC or source.u16() != FORMAT:
        raise source.fail("they are not known to this Virke")
    database_id = DatabaseId(source.raw(ID_BYTES))
    return database_id, tuple(_read_hint(source) for _ in range(source.count(ID_BYTES + 4)))


def _read_hint(source: Reader) -> Hint:
    name, inputs = CommitId(source.raw(ID_BYTES)), source.varint()
    tier = Tier.OBJECT if source.flag() else Tier.KV
    return Hint(name, inputs, tier, source.flag(), source.varint())


class Stepping:
    """The steps of one branch, as far as this process has seen them."""

    def __init__(self, volume: Volume, committing: Committing) -> None:
        self._volume = volume
        self._branch = volume.branch
        self._committing = committing
        self._key = hint_key(self._branch.name, self._branch.branch)
        self._hints: tuple[Hint, ...] = ()
        self._generation: Generation | None = None
        self._link = BEGIN
        """The link that this process put or read last."""
        self._inputs = 0
        """How many segments its chain merges."""

    def take(self, root: Root, allowance: Allowance) -> bool:
        """Take the next step of what is due on `root`; False if there is none, or another process was faster.

        Raises:
            Unavailable, Corrupt: from the store. TooLarge, TimedOut: it can't be done within the bounds.
        """
        if self._next_of(root) is None:
            return False
        with allowance.stepping():
            if (made := self._made(root)) is not None:
                return self._name_in_root(*made)
            self._read_hints(root)
            chain = self._chosen_chain(root)
            return self._copy_step(chain, allowance) if chain.copies else self._merge_step(chain, allowance)

    def is_spill_due(self, root: Root) -> bool:
        """Whether `root` carries enough inline to be spilled, and names few enough segments."""
        return len(root.segments) < SPILL_SEGMENTS_MAX and is_spill_worth(root)

    def spill(self, root: Root, allowance: Allowance) -> bool:
        """Put what `root` carries inline into a segment; False if another commit came first. Raises as `take`."""
        volume = self._volume
        change = replace(
            change_without_pages(root, volume.environment.now_ms()),
            part_bytes=volume.part_bytes,
            whole=volume.whole,
            recent_bytes=volume.recent_bytes,
        )
        made = plan_spill(root, volume.environment.commit_id(), change)
        with allowance.stepping():
            if not isinstance(self._committing.commit_newest(lambda now: made if now is root else None), Committed):
                return False
        volume.cache_committed(made, {})
        return True

    def _next_of(self, root: Root) -> Chain | None:
        """What to begin on `root`."""
        if root.tier is Tier.OBJECT and Tier.OBJECT in self._branch.store.blobs:
            for at, ref in enumerate(root.segments):
                if ref.tier is Tier.KV:
                    return Chain(root, Run(at, at + 1), Tier.OBJECT, copies=True)
        run = merge.choose_in(root)
        return Chain(root, chains.run_for(root.segments, run), Tier.KV) if run else None

    def _chosen_chain(self, root: Root) -> Chain:
        """What to do on `root`: what was begun, the newest segments first; but first what came after all of that."""
        begun = [chain for hint in self._hints if (chain := _hinted_chain(root, hint))]
        begun.sort(key=lambda chain: chain.run.start)
        if not begun:
            chain = self._next_of(root)
            assert chain is not None, "something is due"
            return chain
        run = merge.like_sized_run(root.segments, begun[-1].run.stop)
        return Chain(root, chains.run_for(root.segments, run), Tier.KV) if run else begun[-1]

    def _made(self, root: Root) -> tuple[Chain, Ref, bytes] | None:
        """What this process has merged to its end, if `root` may still name it."""
        link, count = self._link, self._inputs
        if link.ref is None or link.identity is None:
            return None
        chain = chains.find_chain(root, link.identity.commit_id, count, link.ref.tier, copies=False)
        return None if chain is None else (chain, link.ref, link.index)

    # Hints

    def _read_hints(self, root: Root) -> None:
        """Read the hints that mean something for `root`; what can't be read, or is another program's, is none."""
        self._hints, self._generation = (), None
        outcome = repeated(self._branch.environment, lambda: self._branch.store.register.read(self._key))
        if not isinstance(outcome, Record):
            return
        self._generation = outcome.generation
        try:
            database_id, hints = decode_hints(outcome.data)
        except Corrupt:
            return
        if database_id == root.database_id:
            self._hints = tuple(hint for hint in hints if _hinted_chain(root, hint))

    def _write_hint(self, chain: Chain, links: int) -> None:
        """Write how far `chain` has come, best effort (rule 3)."""
        name = chain.identity.commit_id
        hint = Hint(name, len(chain.inputs), chain.tier, chain.copies, links)
        hints = (hint, *(other for other in self._hints if other.chain != name))[:HINTS_MAX]
        try:
            data = encode_hints(chain.root.database_id, hints)
            outcome = self._branch.store.register.swap(self._key, data, self._generation)
        except Unavailable:
            return
        if isinstance(outcome, Swapped):
            self._hints, self._generation = hints, outcome.generation

    def _links_done(self, chain: Chain) -> int:
        """How many links of `chain` are there, as far as is known."""
        here = self._link.links if self._link.identity == chain.identity else 0
        return max(here, 0, *(hint.links for hint in self._hints if hint.chain == chain.identity.commit_id))

    # Merging

    def _merge_step(self, chain: Chain, allowance: Allowance) -> bool:
        link = self._last_link(chain)
        if link is None:
            return False
        if link.ref is not None:
            return self._name_in_root(chain, link.ref, link.index)
        indexes = self._volume.indexes(chain.inputs)
        try:
            known, bounds = partial(self._known_piece, chain), self._step_bounds(chain, allowance)
            link = self._run_protocol(take_step(chain, indexes, link, bounds, known=known))
        except Exists:  # another process took it: the next step begins behind it
            self._write_hint(chain, link.links + 1)
            return False
        self._link, self._inputs = link, len(chain.inputs)
        self._write_hint(chain, link.links)
        return True

    def _known_piece(self, chain: Chain, number: int, part: int) -> tuple[int, bytes] | None:
        return self._volume.piece(chain.inputs[number], part)

    def _last_link(self, chain: Chain) -> Link | None:
        """The last link that is known to be there; None if the store does not show it yet."""
        if not (links := self._links_done(chain)):
            return BEGIN
        if self._link.identity != chain.identity or self._link.links != links:
            link = self._run_protocol(chains.read_link(chain, links - 1))
            if link is None:
                return None
            self._link, self._inputs = link, len(chain.inputs)
        return self._link

    def _step_bounds(self, chain: Chain, allowance: Allowance) -> Bounds:
        limits = allowance.limits
        return Bounds(
            min(allowance.left_in(tier) for tier in {ref.tier for ref in chain.inputs}),
            limits.step_decoded_bytes,
            limits.step_encoded_bytes,
            self._volume.part_bytes[Tier.KV],
        )

    # Moving

    def _copy_step(self, chain: Chain, allowance: Allowance) -> bool:
        [index] = self._volume.indexes(chain.inputs)
        done, count = self._links_done(chain), allowance.limits.step_copies
        moved = self._run_protocol(moving.copy_parts(chain, index, done, count))
        if moved.ref is None:
            self._write_hint(chain, moved.parts)
            return True
        places = moving.layout_of(index).places()

        def where(one: Carried) -> Carried:
            part, start = places[one.place[0]]
            return one._replace(place=(part, start + one.place[1]))

        return self._name_in_root(chain, moved.ref, moved.index, where)

    def _name_in_root(
        self, chain: Chain, ref: Ref, index: bytes, where: Callable[[Carried], Carried] | None = None
    ) -> bool:
        """Let the root name what was made, with a copy of its index; False if other commits made that impossible. Nothing is deleted then.

        `where`: the place of a frame in a copy, if it is one.
        """
        environment = self._volume.environment
        is_recent = self._volume.recent_bytes > 0 and chain.run.start > 0 and not chain.copies
        frames = self._hot_frames(ref, index) if is_recent else []

        def plan(now: Root) -> Plan | None:
            carried = carried_in(now.extensions).get(key_of(chain.inputs[0]), []) if where else []
            return chains.plan_replacement(
                now,
                chain,
                ref,
                commit_id=environment.commit_id(),
                time_ms=environment.now_ms(),
                index=index,
                recent_bytes=self._volume.recent_bytes,
                frames=[where(one) for one in carried] if where else frames,
            )

        self._link = BEGIN
        return isinstance(self._committing.commit_newest(plan), Committed)

    def _hot_frames(self, ref: Ref, encoded: bytes) -> list[Carried]:
        """The frames of a merged segment that have its hot pages, of those that are in its last parts (core/carried)."""
        index = decode_index(encoded, ref)
        found: list[Carried] = []
        if isinstance(index, Stub) or len(index.groups) < UPPER:
            return found
        try:
            frames = [one for group in range(len(index.groups) - 1, 0, -1) for one in index.frames(group)]
        except Away:  # entries of hot pages are in the index, but for a chain that an earlier Virke began
            return found
        frames = [one for one in frames if one.part > ref.parts - 1 - HOT_PARTS and one.pages != (1,)]
        places = [(ref.identity.part_key(one.part), one.offset, one.length) for one in frames]
        for one, data in zip(
            frames, self._run_protocol(chains.get_fresh(ref.tier, *places)) if places else (), strict=True
        ):
            if not isinstance(data, Absent):
                found.append(Carried((one.part, one.offset), tuple(page for page in one.pages if page > 1), data))
        return found

    def _run_protocol(self, protocol: Generator[Effect, Outcome, T]) -> T:
        return self._volume.driver.run(protocol)


def _hinted_chain(root: Root, hint: Hint) -> Chain | None:
    """The chain that a hint names, if it may still be gone on with."""
    return chains.find_chain(root, hint.chain, hint.inputs, hint.tier, copies=hint.copies)
