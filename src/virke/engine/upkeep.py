"""Upkeep when work asks for it: compaction, settings, promotion and collection, each a commit of references.

Knows the pure plans of core/ and drives them; knows no SQL. Never makes a commit fail.

1. No request does upkeep (P13): a thread does what a commit made due, where `spawn` is given; else it is left to whoever
   calls `run`.
2. Upkeep loses races gladly: it is rebased or given up, and tried again when a later commit asks.
3. What it uploaded and could not name it deletes, best effort.
4. One thread at a time does a step. What becomes due meanwhile is done by the same thread.
5. Its swaps and those of this process's writers never race each other (`committing`), and one swap is all that either
   waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from virke.core import branching, collect, merge
from virke.core.change import change_without_pages, next_root, plan_change, tier_for
from virke.core.collect import Marked
from virke.core.commit import Committed, Plan
from virke.core.effects import Delete, Effect, Outcome, Tier
from virke.core.ids import MAIN_BRANCH, Version
from virke.core.pins import Pin
from virke.core.root import Horizon, Root
from virke.core.settings import Settings
from virke.engine.allowance import Allowance
from virke.engine.committing import Committing
from virke.engine.results import Collected
from virke.engine.stepping import Stepping
from virke.engine.volume import Volume
from virke.errors import Conflict, OutcomeUnknown, VirkeError

ATTEMPTS: Final = 16
T = TypeVar("T")


class Upkeep:
    """The upkeep of one database."""

    def __init__(
        self, volume: Volume, committing: Committing, spawn: Callable[[Callable[[], object]], None] | None = None
    ) -> None:
        self._volume = volume
        self._committing = committing
        self._spawn = spawn
        self.error: str | None = None
        self._kept: tuple[object, Marked] | None = None
        self.has_work = False
        """Whether this process committed anything."""
        self._seen = (-1, False)
        self._looked_at: Root | None = None
        self._lock = threading.Lock()
        self._stepping = threading.Lock()
        self._steps = Stepping(volume, committing)
        self._is_wanted = self._is_busy = False
        self._idle = threading.Event()
        self._idle.set()

    def after_commit(self) -> None:
        """Let a thread see to what the newest commit made due, if there is one; never raises, and never does it here."""
        self.has_work = True
        root = self._volume.branch.latest().root
        if self._spawn is None or root is self._looked_at:  # all the callers whose writes rode in one commit come here
            return
        self._looked_at = root
        if self._root_shape() == self._seen:
            return
        with self._lock:
            self._is_wanted = True
            if self._is_busy:
                return
            self._is_busy = True
            self._idle.clear()
        try:
            self._spawn(self._fulfil_wishes)
        except RuntimeError:  # the interpreter is about to end: no more threads, and what is due is left
            with self._lock:
                self._is_wanted = self._is_busy = False
            self._idle.set()

    def finish(self) -> None:
        """Wait until nothing is due any more."""
        self._idle.wait()

    def _fulfil_wishes(self) -> None:
        try:
            while self._is_still_wanted():
                self._attempt_upkeep()
        except BaseException:
            with self._lock:
                self._is_busy = False
            self._idle.set()
            raise

    def _is_still_wanted(self) -> bool:
        """Take one wish; without one, the work ends at this moment, so that no wish is overlooked."""
        with self._lock:
            wanted, self._is_wanted = self._is_wanted, False
            if not wanted:
                self._is_busy = False
                self._idle.set()
            return wanted

    def _attempt_upkeep(self) -> None:
        try:
            self.run(None)
            self.error = None
        except VirkeError as error:
            self.error = f"{error.kind}: {error.message}"
        self._seen = self._root_shape()

    def _root_shape(self) -> tuple[int, bool]:
        """What decides whether anything can be due."""
        root = self._volume.branch.latest().root
        return len(root.segments), promotes_itself(root)

    def due(self) -> tuple[str, ...]:
        """What there is to do by the newest root known: `promote`, `spill`, `compact`, `collect`; asks the store nothing."""
        root = self._volume.branch.latest().root
        found = {
            "spill": self._has_to_spill(root),
            "promote": self._has_to_promote(root),
            "compact": merge.choose_in(root) is not None,
            "collect": collect.may_sweep(root, self._volume.environment.now_ms(), collect.GRACE_MS),
        }
        return tuple(name for name, is_due in found.items() if is_due)

    @property
    def is_asked_for(self) -> bool:
        """Whether users see to it: they committed something, or each request may cost only so much (`stepping`)."""
        return self.has_work or self._volume.environment.allowance is not None

    def kept(self, root: Root) -> Marked:
        """What `root` and its history keep in the store; by the indexes of its merges, without a LIST.

        Raises:
            Unavailable, Corrupt: an index can't be read.
        """
        asked = root.segments, root.horizon, root.pins
        if self._kept is None or self._kept[0] != asked:
            self._kept = asked, self._run_protocol(collect.mark_needed(root))
        return self._kept[1]

    def run(self, limit: int | None) -> int:
        """Do what is due, in at most `limit` steps; how many were done.

        A step moves or merges one run of segments, or deletes what a merge before let go: memory is bounded, and so is
        the time by the size of what it merges. Where a request may cost only so much it is one step of bounded size.

        Raises:
            Unavailable, Corrupt: from the store; what was done stays done, and the rest stays due.
        """
        if (allowance := self._volume.environment.allowance) is not None:
            return int(limit != 0 and self._take_step(allowance))
        done = 0
        while (limit is None or done < limit) and self._step_once():
            done += 1
        return done

    def _step_once(self) -> bool:
        """Do the most urgent thing; False if nothing is due, or other commits were faster."""
        with self._stepping:
            root = self._volume.branch.latest().root
            if self._has_to_promote(root):
                return self._promote_step(root)
            if run := merge.choose_in(root):
                if done := self.compact(run, root=root):
                    self.collect_step()
                return done
            if "collect" in self.due():
                self.collect_step()
                return self._volume.branch.latest().root.horizon != root.horizon
            return False

    def _take_step(self, allowance: Allowance) -> bool:
        """One step of bounded size (`stepping`); False if none is due, or others were faster."""
        root = self._volume.branch.latest().root
        if self._has_to_promote(root) and root.tier is Tier.KV:
            with allowance.stepping():
                self._switch_tier(Tier.OBJECT)
            return True
        return (self._steps.spill if self._has_to_spill(root) else self._steps.take)(root, allowance)

    def _has_to_spill(self, root: Root) -> bool:
        """Whether to is for this process: one that commits, so that not all who read do it at once."""
        return self._volume.environment.allowance is not None and self.has_work and self._steps.is_spill_due(root)

    def _has_to_promote(self, root: Root) -> bool:
        return promotes_itself(root) and Tier.OBJECT in self._volume.branch.store.blobs

    def _promote_step(self, root: Root) -> bool:
        """Let new segments go to object storage, then move the segments that are there, run by run."""
        if root.tier is Tier.KV:
            self._switch_tier(Tier.OBJECT)
            return True
        run = _first_in_kv(root)
        return run is not None and self.compact(run, Tier.OBJECT, root)

    def compact(self, run: merge.Run, tier: Tier | None = None, root: Root | None = None) -> bool:
        """Merge one run of segments, of the newest root if not of `root`; False if another commit made that impossible."""
        volume = self._volume
        root = root or volume.branch.latest().root
        refs = root.segments[run.start : run.stop]
        commit_id = volume.environment.commit_id()
        volume.driver.blobs(tier or root.tier)  # or the error that says which store is missing
        job = merge.Merge(root, run, volume.indexes(refs), commit_id, tier or root.tier)
        plain, whole = volume.branch.store.plain, volume.whole
        ref = self._run_protocol(merge.merge_segments(job, volume.part_bytes, plain=plain, whole=whole))

        def plan(now: Root) -> Plan | None:
            made = merge.plan_merge(
                now, job, ref, commit_id=volume.environment.commit_id(), time_ms=volume.environment.now_ms()
            )
            return made and replace(made, root=replace(made.root, tier=tier or made.root.tier))

        try:
            if isinstance(self._committing.commit_newest(plan), Committed):
                return True
        except OutcomeUnknown:  # the root may name it
            raise
        except VirkeError:
            volume.driver.remove([merge.removal_of(ref)])
            raise
        volume.driver.remove([merge.removal_of(ref)])
        return False

    def promote(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Move every segment to object storage, one commit of references each; readers and writers go on.

        Raises:
            Conflict: other commits won every race. NotFound: the store has no object tier.
        """
        self._volume.driver.blobs(Tier.OBJECT)
        self._switch_tier(Tier.OBJECT)
        root = self._volume.branch.refresh().root
        total = sum(ref.tier is Tier.KV for ref in root.segments)
        for _ in range(ATTEMPTS * (total + 1)):
            root = self._volume.branch.refresh().root
            if progress:
                progress(max(0, total - sum(ref.tier is Tier.KV for ref in root.segments)), total)
            run = _first_in_kv(root)
            if run is None:
                return
            self.compact(run, Tier.OBJECT)
        raise Conflict("other commits won every race while promoting; run it again to go on")

    def _switch_tier(self, tier: Tier) -> None:
        """From now on new segments go to `tier`."""

        def plan(root: Root) -> Plan:
            new = next_root(
                root,
                self._volume.environment.commit_id(),
                change_without_pages(root, self._volume.environment.now_ms()),
            )
            return Plan(replace(new, tier=tier))

        if self._volume.branch.refresh().root.tier is tier:
            return
        if not isinstance(self._committing.commit_newest(plan), Committed):
            raise Conflict("other commits won every race; run it again")

    def change_settings(self, change: Callable[[Settings], Settings]) -> Settings:
        """Commit changed settings.

        Raises:
            Invalid: from `change`. Conflict: other commits won every race.
        """
        self._volume.branch.refresh()

        def plan(root: Root) -> Plan:
            changed = change_without_pages(root, self._volume.environment.now_ms(), settings=change(root.settings))
            return plan_change(root, self._volume.environment.commit_id(), changed)

        if not isinstance(self._committing.commit_newest(plan), Committed):
            raise Conflict("other commits won every race; run it again")
        return self._volume.branch.latest().root.settings

    # Collection

    def collect_step(self, grace_ms: int = collect.GRACE_MS) -> None:
        """Drop dead pins, sweep what is due, then advance the horizon; each at most once, without a LIST.

        (Objects of a branch whose deletion was interrupted are found by one.)
        """
        volume = self._volume
        now_ms = volume.environment.now_ms()
        if not collect.may_be_due(volume.branch.latest().root, now_ms, grace_ms):
            return
        self._settle_pins(now_ms, grace_ms)
        root = volume.branch.latest().root
        marked = self._run_protocol(collect.mark_needed(root))
        if collect.may_sweep(root, now_ms, grace_ms):
            volume.driver.sweep(merge.removal_of(ref) for ref in marked.garbage)
            self._write_horizon(
                lambda now: collect.swept_horizon(root.horizon) if now.horizon == root.horizon else None
            )
        self._write_horizon(lambda now: collect.advanced_horizon(now, marked, now_ms))

    def collect(self, *, dry_run: bool, grace_ms: int = collect.GRACE_MS) -> Collected:
        """What `db gc` does: `collect_step`, and leftovers of killed writers and of dead branches, found by a LIST.

        Raises:
            Unavailable, Corrupt: from the store; repeat it, nothing needed was deleted.
        """
        volume = self._volume
        volume.branch.refresh()
        now_ms = volume.environment.now_ms()
        has_open_pins = not dry_run and self._settle_pins(now_ms, grace_ms)
        root = volume.branch.latest().root
        marked = self._run_protocol(collect.mark_needed(root))
        due = collect.may_sweep(root, now_ms, grace_ms)
        prefix = f"seg/{root.database_id.hex()}/"
        mine = f"{prefix}{root.branch}/"
        looks_at_all = root.branch == MAIN_BRANCH
        listed = {
            tier: volume.driver.listed(tier, prefix if looks_at_all else mine) for tier in volume.branch.store.blobs
        }
        sizes = {item.key: item.size_bytes for items in listed.values() for item in items}
        others = [key for key in sizes if not key.startswith(mine)]
        dead = self._run_protocol(branching.dead_keys(volume.branch.world, root.database_id, others))
        first = {key for ref in marked.garbage for key in ref.keys if key in sizes}
        rest = set(collect.leftover_keys(root, marked, sizes)) - first if due or not root.horizon.is_pending else set()
        garbage = first | rest if due else (rest if now_ms - root.horizon.since_ms >= grace_ms else set())
        waiting = len(sizes.keys() - marked.needed_keys - garbage - {*others})
        garbage |= dead
        if not dry_run:
            volume.driver.sweep(
                Delete(tier, tuple(item.key for item in items if item.key in (rest & garbage) | dead))
                for tier, items in listed.items()
            )
            self.collect_step(grace_ms)
            if (waiting or has_open_pins) and not volume.branch.latest().root.horizon.is_pending:
                self._write_horizon(lambda now: _new_watermark(now, now_ms))
            if volume.branch.store.tidy is not None:
                volume.branch.store.tidy()
        return Collected(
            tuple(sorted(garbage)), sum(sizes[key] for key in garbage), len(sizes) - len(garbage), waiting, dry_run
        )

    def _settle_pins(self, now_ms: int, grace_ms: int) -> bool:
        """Drop the pins of branches that are no more; True if one is left whose branch may still come.

        Such a one is only kept from coming once it had a grace period: since a watermark that is newer than the pin.
        """
        volume, root = self._volume, self._volume.branch.latest().root
        world, has_open = volume.branch.world, False
        for pin in root.pins:
            is_old = pin.pinned_at <= root.horizon.watermark and now_ms - root.horizon.since_ms >= grace_ms
            hold = self._run_protocol(branching.settle_pin(world, root, pin, may_fence=is_old))
            has_open |= hold is branching.Hold.OPEN
            if hold is branching.Hold.DEAD:
                self._committing.commit_newest(partial(self._plan_without_pin, pin))
        return has_open

    def _plan_without_pin(self, pin: Pin, root: Root) -> Plan | None:
        environment = self._volume.environment
        return branching.plan_unpin(root, pin, environment.commit_id(), environment.now_ms())

    def _write_horizon(self, horizon: Callable[[Root], Horizon | None]) -> None:
        environment = self._volume.environment

        def plan(root: Root) -> Plan | None:
            new = horizon(root)
            if new is None:
                return None
            return collect.plan_horizon(root, new, commit_id=environment.commit_id(), time_ms=environment.now_ms())

        self._committing.commit_newest(plan)

    def _run_protocol(self, protocol: Generator[Effect, Outcome, T]) -> T:
        return self._volume.driver.run(protocol)


def promotes_itself(root: Root) -> bool:
    """True if the database, or a part of it, is not yet where it belongs."""
    if tier_for(root, root.head.page_count * root.head.page_size) is Tier.KV:
        return False
    return root.tier is Tier.KV or any(ref.tier is Tier.KV for ref in root.segments)


def _first_in_kv(root: Root) -> merge.Run | None:
    """The first segments in the KV tier that stand together."""
    in_kv = [ref.tier is Tier.KV for ref in root.segments]
    if True not in in_kv:
        return None
    first = in_kv.index(True)
    stop = in_kv.index(False, first) if False in in_kv[first:] else len(in_kv)
    return merge.Run(first, stop)


def _new_watermark(root: Root, now_ms: int) -> Horizon:
    """A watermark without a new horizon: dooms uploads in flight, so that leftovers can be distinguished from them."""
    return replace(root.horizon, watermark=Version(root.head.version + 1), since_ms=now_ms)
