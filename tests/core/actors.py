"""The actors of the explored worlds: writers, upkeep and collection around the real protocols of `virke.core`.

Each is a program for `explorer.py`: a generator of effects that reports every verdict with `Told`. Wrong variants
are passed in as arguments; the defaults are the real functions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from typing import Final

from tests.core.explorer import Actor, GivenUp, ListKeys, Program, RemoveRoot, Step, Told
from virke.core import chain as chains
from virke.core.chain import Chain
from virke.core.change import change_without_pages, identity_of, next_root
from virke.core.collect import (
    Marked,
    advanced_horizon,
    are_inputs_held,
    are_inputs_swept,
    leftover_keys,
    mark_needed,
    may_sweep,
    plan_horizon,
    swept_horizon,
)
from virke.core.commit import Conflicted, Failed, Plan, Protocol, TooSoon, Verdict, commit_plan, store_objects
from virke.core.effects import Absent, Delete, Effect, Get, Outcome, PutNew, ReadRoot, Record, SwapRoot, Tier
from virke.core.ids import CommitId, DatabaseId, PageCount, PageNo, Version
from virke.core.index import decode_index
from virke.core.merge import Merge, Run, plan_merge, removal_of
from virke.core.packing import SegmentWriter
from virke.core.ring import Answer
from virke.core.root import Horizon, Root, RootAt, decode_root, encode_root, first_root
from virke.core.segment import Head, Identity, Ref
from virke.core.settings import Settings
from virke.errors import Corrupt

PAGE: Final = bytes(range(256)) * 2
TIME_MS: Final = 1_000_000
READS_MAX: Final = 4
CHAIN_PART_BYTES: Final = 400
"""More than the index of a merge of these worlds, less than that and its page."""
Commit = Callable[[RootAt, Plan, str], Protocol]
MakePlan = Callable[[Root, CommitId], Plan]


def id_of(name: str, base: Root | None = None) -> CommitId:
    """A commit id that looks random and is not: another one for another name, and on another base."""
    salt = base.head.commit_id if base else b""
    return CommitId(blake2b(name.encode(), digest_size=16, salt=salt).digest())


def empty(name: str = "db") -> Root:
    """A new database that keeps no history."""
    root = first_root(
        name=name,
        database_id=DatabaseId(id_of(name)),
        commit_id=id_of(f"{name} 1"),
        time_ms=TIME_MS,
        page_size=512,
        tier=Tier.KV,
    )
    return replace(root, settings=Settings().changed({"history_days": 0}))


@cache
def small_segment(
    root: Root, commit_id: CommitId, inputs: tuple[Ref, ...] = (), *, part_bytes: int = 1 << 20
) -> tuple[Ref, tuple[PutNew, ...]]:
    """A segment of one page, as the next commit on `root` would bring it, or as the merge of `inputs`."""
    writer = SegmentWriter(identity_of(root, commit_id), Tier.KV, part_bytes)
    assert not list(writer.frame((PageNo(1),), PAGE))
    head = Head(Version(root.head.version + 1), commit_id, TIME_MS, 512, PageCount(1), 0)
    if inputs:
        head = replace(head, version=inputs[-1].hi)
    writer.end_group(head)
    parts, ref = writer.finish(inputs, lo=inputs[0].lo if inputs else None)
    return ref, tuple(PutNew(Tier.KV, key, data) for key, data in parts)


# Plans of commits


def in_root(root: Root, commit_id: CommitId) -> Plan:
    """A commit that needs no object."""
    return Plan(next_root(root, commit_id, change_without_pages(root, TIME_MS)))


def with_segment(root: Root, commit_id: CommitId) -> Plan:
    """A commit that names a segment of its own."""
    ref, puts = small_segment(root, commit_id)
    new = next_root(root, commit_id, change_without_pages(root, TIME_MS))
    return Plan(replace(new, segments=(*root.segments, ref)), puts)


def with_two_parts(root: Root, commit_id: CommitId) -> Plan:
    """A commit that names a segment of two parts, stored in one round."""
    ref, puts = small_segment(root, commit_id, part_bytes=200)  # its frame in one, its index in the other
    assert len(puts) == 2
    new = next_root(root, commit_id, change_without_pages(root, TIME_MS))
    return Plan(replace(new, segments=(*root.segments, ref)), puts)


def short_ring(make: MakePlan, length: int) -> MakePlan:
    """The same plans with a ring of `length`."""

    def made(root: Root, commit_id: CommitId) -> Plan:
        plan = make(root, commit_id)
        return replace(plan, root=replace(plan.root, ring=plan.root.ring[-length:]))

    return made


def history(*commits: MakePlan, root: Root | None = None) -> tuple[tuple[Root, ...], dict[str, bytes]]:
    """The roots of a database from its creation on, and the objects that they brought."""
    roots, objects = [root or empty()], dict[str, bytes]()
    for number, make in enumerate(commits):
        plan = make(roots[-1], id_of(f"history {number}"))
        roots.append(plan.root)
        objects |= {put.key: put.data for put in plan.puts}
    return tuple(roots), objects


def merged(root: Root, commit_id: CommitId) -> Plan:
    """The merge of all segments of `root`."""
    ref, puts = small_segment(root, commit_id, root.segments)
    return Plan(replace(next_root(root, commit_id, change_without_pages(root, TIME_MS)), segments=(ref,)), puts)


def registers(roots: Iterable[Root]) -> tuple[bytes | None, ...]:
    """What the register held: nothing, then each root."""
    return (None, *(encode_root(root) for root in roots))


# Actors


def read_root() -> Generator[Step, Outcome, RootAt]:
    for _ in range(READS_MAX):
        seen = yield ReadRoot()
        if isinstance(seen, Record):
            return RootAt(decode_root(seen.data, "world"), seen.generation)
    raise GivenUp


def writer(
    name: str, make: MakePlan = in_root, *, writes: int = 1, tries: int = 2, protocol: Commit = commit_plan
) -> Program:
    """Makes `writes` logical writes, each executed anew on the root that it lost to, at most `tries` times."""

    def program(life: int) -> Actor:
        at: RootAt | None = None
        for number in range(writes if life == 0 else 1):
            attempt = sends = 0
            while attempt < tries:
                at = at or (yield from read_root())
                write = f"{name}.{life}.{number}"
                commit_id = id_of(f"{write}.{attempt}.{sends}", at.root)
                verdict = yield from protocol(at, make(at.root, commit_id), "world")
                yield Told(write, commit_id, verdict, at)
                at = getattr(verdict, "at", None)
                sends += 1
                attempt += isinstance(verdict, Conflicted)
                if not isinstance(verdict, Conflicted | TooSoon):
                    break

    return program


Restore = Callable[[Root, Root, CommitId], Plan]
KEY: Final = Answer(id_of("key"), 1)
"""The answer to a request that carries an idempotency key."""


def forward(base: Root, then: Root, commit_id: CommitId) -> Plan:
    """A restore as it is: the page of then in a segment of its own, on the newest root, in a new epoch."""
    ref, puts = small_segment(base, commit_id)
    change = replace(change_without_pages(base, TIME_MS), restores=then.head.version)
    return Plan(replace(next_root(base, commit_id, change), segments=(*base.segments, ref)), puts)


def restorer(name: str, then: Root, make: Restore = forward, *, tries: int = 2) -> Program:
    """Brings the state of `then` back, again on the root that it lost to."""

    def program(life: int) -> Actor:
        at = yield from read_root()
        for attempt in range(tries):
            commit_id = id_of(f"{name}.{life}.{attempt}", at.root)
            verdict = yield from commit_plan(at, make(at.root, then, commit_id), "world")
            yield Told(f"{name}.{life}", commit_id, verdict, at)
            if not isinstance(verdict, Conflicted):
                return
            at = verdict.at

    return program


def keyed(root: Root, commit_id: CommitId) -> Plan:
    """The commit of a request that carries a key; whoever sees its answer does not run it again."""
    change = replace(change_without_pages(root, TIME_MS), answers=(KEY,))
    return Plan(next_root(root, commit_id, change))


def repeater(name: str, *, tries: int = 2) -> Program:
    """A client that sends one keyed request twice: it is run only if no root says that it was answered."""

    def program(life: int) -> Actor:
        for request in range(2):
            at = yield from read_root()
            for attempt in range(tries):
                if at.root.answer_to(KEY.key):
                    break
                commit_id = id_of(f"{name}.{life}.{request}.{attempt}", at.root)  # ids are drawn anew for each
                verdict = yield from commit_plan(at, keyed(at.root, commit_id), "world")
                yield Told("the keyed request", commit_id, verdict, at)
                if not isinstance(verdict, Conflicted):
                    break
                at = verdict.at

    return program


def deleter(create_anew: bool) -> Program:
    """Deletes the database, and perhaps creates another one of the same name."""

    def program(life: int) -> Actor:
        yield RemoveRoot()
        if create_anew:
            yield SwapRoot(encode_root(empty("another")), None)

    return program


PlanMerge = Callable[[Root, Merge, Ref, CommitId], Plan | None]


def real_plan_merge(root: Root, job: Merge, ref: Ref, commit_id: CommitId) -> Plan | None:
    """`plan_merge` as it is."""
    return plan_merge(root, job, ref, commit_id=commit_id, time_ms=TIME_MS)


def merger(*, tries: int = 3, plan: PlanMerge = real_plan_merge) -> Program:
    """Merges all segments that it finds into one, rebased when it loses."""

    def program(life: int) -> Actor:
        at = yield from read_root()
        if len(at.root.segments) < 2:
            return
        commit_id = id_of(f"merge.{life}", at.root)
        job = Merge(at.root, Run(0, len(at.root.segments)), (), commit_id, Tier.KV)
        ref, puts = small_segment(at.root, commit_id, job.inputs)
        failed = yield from store_objects(puts)
        verdict: Verdict | None = Failed(failed) if failed else None
        for attempt in range(0 if verdict else tries):
            next_id = id_of(f"merge.{life}.{attempt} {commit_id.hex()}", at.root)
            made = plan(at.root, job, ref, next_id)
            if made is None:
                break
            verdict = yield from commit_plan(at, made, "world")
            yield Told(f"merge.{life}.{attempt}", next_id, verdict)
            if not isinstance(verdict, Conflicted):
                break
            at = verdict.at
        if isinstance(verdict, Failed | Conflicted):
            yield removal_of(ref)

    return program


PlanChain = Callable[[Root, Chain, Ref, CommitId], Plan | None]


def real_plan_chain(root: Root, chain: Chain, ref: Ref, commit_id: CommitId) -> Plan | None:
    """`chain.plan` as it is."""
    return chains.plan_replacement(root, chain, ref, commit_id=commit_id, time_ms=TIME_MS)


@cache
def links_of(identity: Identity, inputs: tuple[Ref, ...]) -> tuple[Ref, tuple[PutNew, ...]]:
    """A chain of two links: the page, and the index. Whoever takes a step puts the same."""
    writer = SegmentWriter(identity, Tier.KV, CHAIN_PART_BYTES)
    first = list(writer.frame((PageNo(1),), PAGE))
    writer.end_group(Head(inputs[-1].hi, identity.commit_id, TIME_MS, 512, PageCount(1), 0))
    last, ref = writer.finish(inputs, lo=inputs[0].lo)
    puts = tuple(PutNew(Tier.KV, key, data) for key, data in (*first, *last))
    assert len(puts) == 2, [len(put.data) for put in puts]
    return ref, puts


def stepper(
    name: str = "steps",
    *,
    tries: int = 2,
    plan: PlanChain = real_plan_chain,
    deletes: bool = False,
    ahead: bool = False,
) -> Program:
    """Merges all segments that it finds in steps: takes those that nobody took, then lets the root name the segment.

    Wrong variants: `deletes` what it could not let a root name; lets it be named `ahead` of the last step.
    """

    def program(life: int) -> Actor:
        at = yield from read_root()
        if len(at.root.segments) < 2:
            return
        chain = Chain(at.root, Run(0, len(at.root.segments)), Tier.KV)
        ref, puts = links_of(chain.identity, chain.inputs)
        for put in puts[:-1] if ahead else puts:
            seen = yield Get(put.tier, ((put.key, 0, None),))
            if seen == [Absent()] and (yield from store_objects((put,))):
                return
        for attempt in range(tries):
            commit_id = id_of(f"{name}.{life}.{attempt}", at.root)
            if (made := plan(at.root, chain, ref, commit_id)) is None:
                break
            verdict = yield from commit_plan(at, made, "world")
            yield Told(f"{name}.{life}.{attempt}", commit_id, verdict)
            if not isinstance(verdict, Conflicted):
                return
            at = verdict.at
        if deletes:
            yield removal_of(ref)

    return program


@dataclass(frozen=True, slots=True)
class Collecting:
    """The parts of a collection that a wrong variant replaces."""

    leftover_keys: Callable[[Root, Marked, Iterable[str]], list[str]] = leftover_keys
    mark_needed: Callable[[Root], Generator[Effect, Outcome, Marked]] = mark_needed


def collector(name: str = "collect", rules: Collecting | None = None) -> Program:
    """Advances the horizon, then sweeps, leftovers included; the grace period has always passed."""
    parts = rules or Collecting()

    def program(life: int) -> Actor:
        try:
            yield from _collect(parts, f"{name}.{life}")
        except Corrupt:
            return  # the root that it read was too old: an engine would read it again

    return program


def _collect(parts: Collecting, name: str) -> Actor:
    at = yield from read_root()
    marked = yield from parts.mark_needed(at.root)
    for attempt in range(2):  # what was marked is good for newer roots too
        horizon = advanced_horizon(at.root, marked, TIME_MS)
        verdict = (yield from _write(at, horizon, f"{name} advance {attempt}")) if horizon else None
        if not isinstance(verdict, Conflicted):
            break
        at = verdict.at
    at = yield from read_root()
    if not may_sweep(at.root, TIME_MS, 0):
        return
    marked = yield from parts.mark_needed(at.root)
    for ref in marked.garbage:
        yield Delete(ref.tier, ref.keys)
    listed = yield ListKeys()
    assert isinstance(listed, list)
    keys = [key.decode() for key in listed if isinstance(key, bytes)]
    for key in parts.leftover_keys(at.root, marked, keys):
        yield Delete(Tier.KV, (key,))
    yield from _write(at, swept_horizon(at.root.horizon), f"{name} swept")


def _write(at: RootAt, horizon: Horizon, name: str) -> Generator[Step, Outcome, Verdict]:
    commit_id = id_of(name, at.root)
    verdict = yield from commit_plan(at, plan_horizon(at.root, horizon, commit_id=commit_id, time_ms=TIME_MS), "world")
    yield Told(name, commit_id, verdict)
    return verdict


# What a root needs, told once more and independently of `mark`


def needs(root: Root, contents: dict[str, bytes]) -> frozenset[str]:
    """All keys that the snapshot and the history window of `root` need."""
    found, waiting = set[str](), list(root.segments)
    while waiting:
        ref = waiting.pop()
        found |= set(ref.keys)
        if (
            ref.has_inputs
            and are_inputs_held(ref, root.horizon)
            and not are_inputs_swept(ref, root.horizon)
            and ref.index_key in contents
        ):
            data = contents[ref.index_key][ref.index_offset : ref.index_offset + ref.index_length]
            waiting.extend(decode_index(data, ref).inputs)
    return frozenset(found)
