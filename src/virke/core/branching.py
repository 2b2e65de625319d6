"""Branches: created, deleted, and what becomes of the pins that hold their parents' segments (decision 0013).

Pure: generators of effects that name their registers, so that they run on a bare store. Ids and times come in.

1. Creating: the pin is swapped into the source's root first, then the branch's root is placed in its register, where
   there was nothing or a tombstone. So whatever the branch reads is held before anything reads it.
2. Deleting: the root is replaced by a tombstone, then the objects of that life and of earlier ones are deleted, then
   the pin is dropped. Killed in between, `settle` goes on wherever it is called. A branch with pins is not deleted.
3. A pin may be dropped once nothing can come that reads what it holds: its branch's register shows a tombstone of that
   life or a later one, a later life, or a branch of another parent. An absent register proves nothing until a tombstone
   was *added* to it: then a creation that is late loses. No time that passed proves anything.
4. What an eventual store shows may be old: an older life, or absence, keeps the pin unless a swap over it succeeds.
5. Dropping a pin makes the next walk of collection look everywhere again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final

from virke.core.change import change_without_pages, next_root
from virke.core.commit import Committed, Conflicted, Failed, Gone, Plan, TooSoon, Unknown, commit_plan, store_objects
from virke.core.effects import (
    Absent,
    AwaitSlot,
    Delete,
    Effect,
    Keys,
    ListKeys,
    Outcome,
    Paced,
    PutNew,
    Record,
    SwapRoot,
    Tier,
)
from virke.core.ids import MAIN_BRANCH, CommitId, DatabaseId, Epoch, Version
from virke.core.inherit import inherited_root
from virke.core.lineage import Forgot
from virke.core.pins import Parent, Pin, PinKind, Tombstone, encode_tombstone, root_key, sorted_pins
from virke.core.placing import Beaten, Placed, Unproved, place_record, read_record
from virke.core.root import Root, RootAt, check_place, decode_record, encode_root
from virke.errors import Conflict, Corrupt, Exists, Invalid, NotFound, OutcomeUnknown, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

ATTEMPTS: Final = 16
_EPOCH = pattern(r"[0-9a-f]{8}-")


@dataclass(frozen=True, slots=True)
class World:
    """What these protocols know of the world: the database's name, the store's tiers, ids and the time."""

    name: str
    tiers: Sequence[Tier]
    new_id: Callable[[], CommitId]
    now_ms: Callable[[], int]
    linearizable: bool = True


class Hold(Enum):
    """What is known of a pin: something reads what it holds, or may; nothing can; or not yet known, too new to judge."""

    LIVES = "lives"
    DEAD = "dead"
    OPEN = "open"


# Creating


def create_branch(
    world: World, source: str, branch: str, *, version: int | None = None
) -> Generator[Effect, Outcome, Root]:
    """Make `branch` from `source`, as of its newest version or an earlier one; returns the branch's first root.

    Raises:
        Exists: the name is taken. NotFound: there is no such source, or its history does not reach that version.
        Conflict: other commits won every race, or the branch was deleted meanwhile: it was not created.
        Unavailable: the store did not answer, it was not created. OutcomeUnknown: that is not known.
    """
    for _ in range(ATTEMPTS):
        register = yield from read_record(root_key(world.name, branch))
        base = yield from read_root(world, source)
        birth_epoch = _birth_epoch(register, base.root, world.name, branch)
        if held := _pin_of(base.root, branch):
            hold = yield from settle_pin(world, base.root, held)
            if hold is Hold.OPEN:
                raise Unavailable(f"the store does not show whether branch {branch!r} exists; it was not created")
            if hold is Hold.LIVES:
                raise Exists(f"branch {branch!r} of {world.name!r} exists already")
            yield from drop_pin(world, source, held)
            continue
        pin = _new_pin(base.root, branch, birth_epoch, version)
        pinned = yield from _commit_pins(world, base, plan_pin(base.root, pin, world.new_id(), world.now_ms()))
        if pinned is not None:
            return (yield from _place_root(world, base.root, pin, register))
    raise Conflict(f"other commits to {source!r} won every race; branch {branch!r} was not created, run it again")


def plan_pin(root: Root, pin: Pin, commit_id: CommitId, time_ms: int) -> Plan:
    """The commit that sets `pin`, whose `pinned_at` is its version."""
    return Plan(
        replace(next_root(root, commit_id, change_without_pages(root, time_ms)), pins=sorted_pins((*root.pins, pin)))
    )


def plan_unpin(root: Root, pin: Pin, commit_id: CommitId, time_ms: int) -> Plan | None:
    """The commit that drops `pin` (rule 5); None if it is not there any more."""
    if pin not in root.pins:
        return None
    kept = tuple(each for each in root.pins if each != pin)
    horizon = replace(root.horizon, swept_version=Version(0), swept_watermark=Version(0))
    return Plan(replace(next_root(root, commit_id, change_without_pages(root, time_ms)), pins=kept, horizon=horizon))


def _birth_epoch(register: Record | Absent, source: Root, name: str, branch: str) -> Epoch:
    """The epoch of a new life of `branch`. Raises `Exists`: it is alive."""
    if isinstance(register, Absent):
        return Epoch(1)
    found = decode_record(register.data, name)
    if isinstance(found, Root) and found.database_id == source.database_id:
        raise Exists(f"branch {branch!r} of {name!r} exists already")
    return Epoch(found.epoch + 1)  # over a tombstone, or what a database of this name left behind that no longer exists


def _pin_of(root: Root, branch: str) -> Pin | None:
    return next((pin for pin in root.pins if (pin.kind, pin.name) == (PinKind.BRANCH, branch)), None)


def _new_pin(source: Root, branch: str, birth_epoch: Epoch, version: int | None) -> Pin:
    pinned = Version(source.head.version if version is None else version)
    if not max(1, source.horizon.version) <= pinned <= source.head.version:
        raise NotFound(
            f"version {pinned} of {source.branch!r} is not kept: history goes from "
            f"{max(1, source.horizon.version)} to {source.head.version}"
        )
    return Pin(PinKind.BRANCH, branch, birth_epoch, pinned, Version(source.head.version + 1))


def _place_root(world: World, source: Root, pin: Pin, register: Record | Absent) -> Generator[Effect, Outcome, Root]:
    """The second half of a creation: the branch's root, from the root that the pin was set on."""
    puts: tuple[PutNew, ...] = ()
    try:
        root, puts = yield from inherited_root(source, pin, world.new_id(), world.now_ms())
        found = yield from _place_first_root(world, root, puts, register)
    except VirkeError as error:
        yield from _clean_up_creation(world, source, pin, puts)
        if isinstance(error, Corrupt) and (yield from _is_fenced(world, source, pin)):
            raise _was_deleted(pin) from error
        raise
    match found:
        case Placed():
            return root
        case Unproved(reason, is_surely_not=False):
            raise OutcomeUnknown(f"it is not known whether branch {pin.name!r} was created: {reason}")
    yield from _clean_up_creation(world, source, pin, puts)
    match found:
        case Unproved(reason):
            raise Unavailable(f"the store did not take it, branch {pin.name!r} was not created: {reason}")
        case Beaten(Record(data)) if isinstance(decode_record(data, world.name), Root):
            raise Exists(f"branch {pin.name!r} of {world.name!r} exists already")
    raise _was_deleted(pin)


def _was_deleted(pin: Pin) -> Conflict:
    return Conflict(f"branch {pin.name!r} was deleted while it was created; run it again")


def _is_fenced(world: World, source: Root, pin: Pin) -> Generator[Effect, Outcome, bool]:
    """Whether the branch of `pin` was kept from coming: what the pin held may be gone then, and that is not damage."""
    seen = yield from read_record(root_key(world.name, pin.name))
    return _hold_of_pin(source, pin, seen, world.name) is Hold.DEAD


def _place_first_root(
    world: World, root: Root, puts: tuple[PutNew, ...], register: Record | Absent
) -> Generator[Effect, Outcome, Placed | Beaten | Unproved]:
    if puts and (failed := (yield from store_objects(puts))):
        return Unproved(failed, is_surely_not=True)

    def look(seen: Record | Absent) -> Placed | Beaten | None:
        return _look_for(root, seen, world.name)

    generation = register.generation if isinstance(register, Record) else None
    return (yield from place_record(SwapRoot(encode_root(root), generation, root_key(world.name, root.branch)), look))


def _look_for(root: Root, seen: Record | Absent, name: str) -> Placed | Beaten | None:
    """What a branch's register says of its first root; None: nothing yet, or an old state."""
    if isinstance(seen, Absent):
        return None
    found = decode_record(seen.data, name)
    if found.database_id != root.database_id:
        return None
    if isinstance(found, Tombstone):
        return Beaten(seen) if found.epoch >= root.birth_epoch else None
    if found.birth_epoch < root.birth_epoch:
        return None
    entry = found.commit_at(root.head.version)
    is_ours = (found.birth_epoch, found.parent) == (root.birth_epoch, root.parent)
    return Placed() if is_ours and (entry is None or entry.commit_id == root.head.commit_id) else Beaten(seen)


def _clean_up_creation(
    world: World, source: Root, pin: Pin, puts: tuple[PutNew, ...]
) -> Generator[Effect, Outcome, None]:
    """Clean up after a creation whose root is not there and can't come any more, best effort."""
    for put in puts:
        yield Delete(put.tier, (put.key,))
    with suppress(VirkeError):
        yield from drop_pin(world, source.branch, pin)


# Pins


def settle_pin(world: World, source: Root, pin: Pin, *, may_fence: bool = True) -> Generator[Effect, Outcome, Hold]:
    """What is true of `pin` in `source` (rules 3 and 4). Without `may_fence`, a pin without a branch stays open.

    Raises:
        Unavailable: the store does not answer. Corrupt: what the register holds is damaged.
    """
    if pin.kind is PinKind.TAG:
        return Hold.LIVES
    key = root_key(world.name, pin.name)
    seen = yield from read_record(key)
    hold = _hold_of_pin(source, pin, seen, world.name)
    if hold is Hold.OPEN and may_fence:
        fence = Tombstone(source.database_id, world.name, pin.name, pin.birth_epoch, _as_parent(source))
        base = seen.generation if isinstance(seen, Record) else None

        def look(now: Record | Absent) -> Placed | Beaten | None:
            found = _hold_of_pin(source, pin, now, world.name)
            return None if found is Hold.OPEN else Placed() if found is Hold.DEAD else Beaten(now)

        placed = yield from place_record(SwapRoot(encode_tombstone(fence), base, key), look)
        hold = Hold.DEAD if isinstance(placed, Placed) else Hold.LIVES if isinstance(placed, Beaten) else Hold.OPEN
    if hold is Hold.DEAD:
        yield from delete_dead_objects(world, source.database_id, pin.name, pin.birth_epoch)
    return hold


def _hold_of_pin(source: Root, pin: Pin, seen: Record | Absent, name: str) -> Hold:
    if isinstance(seen, Absent):
        return Hold.OPEN
    found = decode_record(seen.data, name)
    if found.database_id != source.database_id:
        return Hold.OPEN
    if isinstance(found, Tombstone):
        return Hold.DEAD if found.epoch >= pin.birth_epoch else Hold.OPEN
    if found.birth_epoch == pin.birth_epoch:
        return Hold.LIVES if found.parent == _as_parent(source) else Hold.DEAD
    return Hold.DEAD if found.birth_epoch > pin.birth_epoch else Hold.LIVES


def _as_parent(root: Root) -> Parent:
    return Parent(root.branch, root.birth_epoch)


def drop_pin(world: World, source: str, pin: Pin) -> Generator[Effect, Outcome, bool]:
    """Drop `pin`, which must be dead; False if other commits won every race. Raises as `read_root` and `commit`."""
    for _ in range(ATTEMPTS):
        base = yield from read_root(world, source)
        plan = plan_unpin(base.root, pin, world.new_id(), world.now_ms())
        if plan is None or (yield from _commit_pins(world, base, plan)) is not None:
            return True
    return False


def delete_dead_objects(
    world: World, database_id: DatabaseId, branch: str, epoch: Epoch
) -> Generator[Effect, Outcome, None]:
    """Delete the objects of dead lives of a branch, those up to `epoch`, best effort: `settle` and `db gc` go on."""
    prefix = f"seg/{database_id.hex()}/{branch}/"
    for tier in world.tiers:
        with suppress(VirkeError):
            listed = yield ListKeys(tier, prefix)
            assert isinstance(listed, Keys), listed
            dead = tuple(key for key in listed.keys if epoch_of(key.removeprefix(prefix)) <= epoch)
            if dead:
                yield Delete(tier, dead)


def dead_keys(world: World, database_id: DatabaseId, keys: Iterable[str]) -> Generator[Effect, Outcome, frozenset[str]]:
    """Of the listed `keys` of a database, what dead lives of its branches left behind: uploads that came after `wipe`.

    Raises:
        Unavailable: the store does not answer. Corrupt: a register is damaged.
    """
    prefix = f"seg/{database_id.hex()}/"
    last: dict[str, int] = {}
    dead: set[str] = set()
    for key in keys:
        branch, _, rest = key.removeprefix(prefix).partition("/")
        if branch not in last:
            last[branch] = yield from _last_dead(world, database_id, branch)
        if epoch_of(rest) <= last[branch]:
            dead.add(key)
    return frozenset(dead)


def _last_dead(world: World, database_id: DatabaseId, branch: str) -> Generator[Effect, Outcome, int]:
    """The last epoch of `branch` that is over for good; -1 if none is known to be. Absence proves nothing."""
    seen = yield from read_record(root_key(world.name, branch))
    if isinstance(seen, Absent):
        return -1
    found = decode_record(seen.data, world.name)
    if found.database_id != database_id:
        return -1
    return found.epoch if isinstance(found, Tombstone) else found.birth_epoch - 1


def epoch_of(rest: str) -> int:
    """The epoch in what follows the branch in an object's key; a huge one if it is none of ours."""
    return int(rest[:8], 16) if _EPOCH.match(rest) else 1 << 63


# Deleting


def delete_branch(world: World, branch: str) -> Generator[Effect, Outcome, None]:
    """Delete `branch` and its history.

    Raises:
        NotFound: there is no such branch. Invalid: it is `main`, or holds branches or tags. Conflict: other commits won
            every race. Unavailable: the store does not answer. After these nothing was deleted.
        OutcomeUnknown: it is not known whether it was deleted.
    """
    if branch == MAIN_BRANCH:
        raise Invalid(f"{branch!r} can't be deleted alone; delete the database")
    for _ in range(ATTEMPTS):
        base = yield from read_root(world, branch)
        root = base.root
        assert root.parent is not None, "a branch other than main has a parent"
        yield from refuse_if_pinned(world, root, f"branch {branch!r}", PinKind)
        tombstone = Tombstone(root.database_id, world.name, branch, root.epoch, root.parent)
        swap = SwapRoot(encode_tombstone(tombstone), base.generation, root_key(world.name, branch))
        match (yield from place_record(swap, partial(_look_after, root, world.name))):
            case Placed():
                yield from delete_dead_objects(world, root.database_id, branch, root.epoch)
                with suppress(VirkeError):  # the parent's collection drops it as well
                    yield from _unpin_child(world, root)
                return
            case Unproved(reason, is_surely_not=False):
                raise OutcomeUnknown(f"it is not known whether branch {branch!r} was deleted: {reason}")
            case Unproved(reason):
                raise Unavailable(f"the store did not take it, nothing was deleted: {reason}")
    raise Conflict(f"other commits to {branch!r} won every race; nothing was deleted, run it again")


def _look_after(root: Root, name: str, seen: Record | Absent) -> Placed | Beaten | None:
    """What a register says of the tombstone over `root`."""
    if isinstance(seen, Absent):
        return None
    found = decode_record(seen.data, name)
    if found.database_id != root.database_id:
        return None
    if isinstance(found, Tombstone):
        return Placed() if found.epoch >= root.epoch else None
    if found.birth_epoch > root.birth_epoch:
        return Placed()
    return Beaten(seen) if found.head.version > root.head.version else None


def _unpin_child(world: World, root: Root) -> Generator[Effect, Outcome, None]:
    assert root.parent is not None
    base = yield from read_root(world, root.parent.branch)
    pin = _pin_of(base.root, root.branch)
    if pin and _as_parent(base.root) == root.parent and pin.birth_epoch == root.birth_epoch:
        yield from drop_pin(world, root.parent.branch, pin)


def refuse_if_pinned(world: World, root: Root, what: str, kinds: Iterable[PinKind]) -> Generator[Effect, Outcome, None]:
    """Raise `Invalid` if something that lives hangs on `root`; what never came to be is kept from coming."""
    living = []
    for pin in root.pins:
        if pin.kind in kinds and (yield from settle_pin(world, root, pin)) is not Hold.DEAD:
            living.append(f"{pin.kind.value} {pin.name!r}")
    if living:
        raise Invalid(f"{what} holds {', '.join(living)}; nothing was deleted, delete these first")


# Registers


def read_root(world: World, branch: str) -> Generator[Effect, Outcome, RootAt]:
    """The root of a branch. Raises `NotFound`, `Unavailable`, `Corrupt`."""
    seen = yield from read_record(root_key(world.name, branch), expects=not world.linearizable)
    if isinstance(seen, Record):
        found = decode_record(seen.data, world.name)
        if isinstance(found, Root):
            return RootAt(check_place(found, world.name, branch), seen.generation)
    if branch == MAIN_BRANCH:
        raise NotFound(f"database {world.name!r} does not exist")
    raise NotFound(f"database {world.name!r} has no branch {branch!r}")


def _commit_pins(world: World, base: RootAt, plan: Plan) -> Generator[Effect, Outcome, Root | None]:
    """Commit an upkeep of pins; None if the race was lost. Raises: it is not in history, or not known to be."""
    key = root_key(world.name, base.root.branch)
    match (yield from commit_plan(base, plan, world.name, linearizable=world.linearizable, key=key)):
        case Committed(root):
            return root
        case Conflicted():
            return None
        case TooSoon(_, retry_after_s):
            yield AwaitSlot(Paced(retry_after_s))
            return None
        case Gone():
            raise NotFound(f"branch {base.root.branch!r} of {world.name!r} was deleted")
        case Forgot(reason):
            raise Corrupt(f"root of {world.name}: the store forgot commits: {reason}")
        case Unknown(reason) | Failed(reason):
            raise Unavailable(f"the store did not answer, nothing was created or deleted: {reason}")
