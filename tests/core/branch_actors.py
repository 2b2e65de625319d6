"""The actors of the explored worlds of branches: the real protocols, and around them what an engine does.

Wrong variants of what is an actor here are passed in as arguments; those of what is in `virke.core` are patched in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import count

from tests.core.actors import TIME_MS, PlanMerge, empty, id_of, real_plan_merge, small_segment, with_segment
from tests.core.branch_explorer import Program, Registers
from virke.core import branching, collect
from virke.core.branching import Hold, World, read_root
from virke.core.commit import Conflicted, Plan, commit_plan, store_objects
from virke.core.effects import Delete, Effect, Keys, ListKeys, Outcome, Tier
from virke.core.ids import MAIN_BRANCH, CommitId, Epoch, Version
from virke.core.merge import Merge, Run, removal_of
from virke.core.pins import root_key
from virke.core.root import Horizon, Root, RootAt, encode_root
from virke.errors import VirkeError

NAME = "db"


Actor = Generator[Effect, Outcome, None]


def beginning() -> tuple[Registers, dict[str, bytes]]:
    """`main` with two segments, that keeps no history."""
    root, objects = empty(NAME), dict[str, bytes]()
    for number in range(2):
        plan = with_segment(root, id_of(f"history {number}"))
        root = plan.root
        objects |= {put.key: put.data for put in plan.puts}
    return frozenset({(root_key(NAME), encode_root(root))}), objects


def world_of(who: str, *, eventual: bool = False) -> World:
    """What a protocol is told; the ids of one actor are the same in every run of it."""
    numbers = count()

    def new_id() -> CommitId:
        return id_of(f"{who} {next(numbers)}")

    return World(NAME, (Tier.KV,), new_id, lambda: TIME_MS, linearizable=not eventual)


def _sent(world: World, base: RootAt, plan: Plan) -> Generator[Effect, Outcome, RootAt | None]:
    """Commit once; the newer root if the race was lost, else None."""
    key = root_key(NAME, base.root.branch)
    verdict = yield from commit_plan(base, plan, NAME, linearizable=world.linearizable, key=key)
    if isinstance(verdict, Conflicted):
        return verdict.at
    return None


def writer(branch: str, who: str = "w", *, epochs: int = 0) -> Program:
    """One commit with a segment; with `epochs`, as a restore would make it."""

    def program() -> Actor:
        world = world_of(f"{who} {branch}")
        at = yield from read_root(world, branch)
        plan = with_segment(at.root, world.new_id())
        if epochs:
            plan = replace(plan, root=replace(plan.root, epoch=Epoch(at.root.epoch + epochs)))
        yield from _sent(world, at, plan)

    return quietly(program)


def merger(branch: str, who: str = "m", *, plan: PlanMerge = real_plan_merge, tries: int = 2) -> Program:
    """Merges all segments into one, rebased when it loses."""

    def program() -> Actor:
        world = world_of(f"{who} {branch}")
        at: RootAt | None = yield from read_root(world, branch)
        assert at is not None
        if len(at.root.segments) < 2:
            return
        commit_id = world.new_id()
        job = Merge(at.root, Run(0, len(at.root.segments)), (), commit_id, Tier.KV)
        ref, puts = small_segment(at.root, commit_id, job.inputs)
        yield from store_objects(puts)
        for _ in range(tries):
            made = plan(at.root, job, ref, world.new_id())
            if made is None:
                break
            at = yield from _sent(world, at, made)
            if at is None:
                return
        yield removal_of(ref)

    return quietly(program)


Create = Callable[[World, str, str, int | None], Actor]


def real_create(world: World, source: str, branch: str, version: int | None) -> Actor:
    """`create_branch` as it is."""
    yield from branching.create_branch(world, source, branch, version=version)


def creator(
    source: str,
    branch: str,
    who: str = "c",
    *,
    version: int | None = None,
    create: Create = real_create,
    eventual: bool = False,
) -> Program:
    """Makes a branch."""

    def program() -> Actor:
        yield from create(world_of(f"{who} {branch}", eventual=eventual), source, branch, version)

    return quietly(program)


def deleter(branch: str, delete: Callable[[World, str], Actor] | None = None, *, eventual: bool = False) -> Program:
    """Deletes a branch."""

    def program() -> Actor:
        yield from (delete or branching.delete_branch)(world_of(f"d {branch}", eventual=eventual), branch)

    return quietly(program)


def collector(branch: str, who: str = "gc", *, lists: bool = True, eventual: bool = False) -> Program:
    """Settles pins, advances the horizon, sweeps; the grace period has always passed. Without `lists`, as upkeep does."""

    def program() -> Actor:
        world = world_of(f"{who} {branch}", eventual=eventual)
        at = yield from read_root(world, branch)
        for pin in at.root.pins:
            if (yield from branching.settle_pin(world, at.root, pin)) is Hold.DEAD:
                yield from branching.drop_pin(world, branch, pin)
                at = yield from read_root(world, branch)
        if not at.root.horizon.is_pending:
            marked = yield from collect.mark_needed(at.root)
            horizon = collect.advanced_horizon(at.root, marked, TIME_MS)
            if horizon is None and lists:
                watermark = Version(at.root.head.version + 1)
                horizon = replace(at.root.horizon, watermark=watermark, since_ms=TIME_MS)
            if horizon is None:
                return
            yield from _sent(world, at, _horizon(at.root, horizon, world))
            at = yield from read_root(world, branch)
        if collect.may_sweep(at.root, TIME_MS, 0):
            yield from _sweep(world, at, lists=lists)

    return quietly(program)


def janitor(branch: str, *, lists: bool = True) -> Program:
    """What `db gc` does: a collection, and on `main` what dead lives of all branches left behind."""

    def program() -> Actor:
        yield from collector(branch, "janitor", lists=lists)()
        if lists and branch == MAIN_BRANCH:
            at = yield from read_root(world_of("janitor"), branch)
            listed = yield ListKeys(Tier.KV, f"seg/{at.root.database_id.hex()}/")
            assert isinstance(listed, Keys)
            dead = yield from branching.dead_keys(world_of("janitor"), at.root.database_id, listed.keys)
            yield Delete(Tier.KV, tuple(sorted(dead)))

    return quietly(program)


def _sweep(world: World, at: RootAt, *, lists: bool) -> Generator[Effect, Outcome, None]:
    marked = yield from collect.mark_needed(at.root)
    dead = [key for ref in marked.garbage for key in ref.keys]
    if lists:
        listed = yield ListKeys(Tier.KV, f"seg/{at.root.database_id.hex()}/")
        assert isinstance(listed, Keys)
        dead += collect.leftover_keys(at.root, marked, listed.keys)
    if dead:
        yield Delete(Tier.KV, tuple(dead))
    yield from _sent(world, at, _horizon(at.root, collect.swept_horizon(at.root.horizon), world))


def _horizon(root: Root, horizon: Horizon, world: World) -> Plan:
    return collect.plan_horizon(root, horizon, commit_id=world.new_id(), time_ms=TIME_MS)


def quietly(program: Program) -> Program:
    """An actor that ends with every error of a user's kind; `Corrupt` is for the explorer to judge."""

    def quiet() -> Actor:
        try:
            yield from program()
        except VirkeError as error:
            if error.kind == "corrupt":
                raise

    return quiet
