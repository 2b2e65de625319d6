"""Databases: created and deleted.

Pure: generators of effects that name their registers, so that they run on a bare store.

1. Where that is enough, what exists is found by reading: nothing is written then. A read of an eventual store may show a
   database that was deleted a moment ago: that is enough for "if it does not exist", and no proof for `Exists`.
2. Creating is one create-only swap: of two who create the same name at once, one gets `Exists`.
3. Deleting removes the root of `main` first, if it is still the one that was read, and whole, and everything that it
   names is within reach; then the objects, in every tier. After the first step, whatever fails, it is deleted.
4. A database with living branches is not deleted. Tombstones of dead ones stay; a later database's branches go over them.
"""

from __future__ import annotations

from collections.abc import Generator

from virke.core.branching import World, read_root, refuse_if_pinned
from virke.core.effects import Absent, Delete, Effect, Keys, ListKeys, Outcome, Record, RemoveRoot, SwapRoot
from virke.core.ids import MAIN_BRANCH
from virke.core.pins import PinKind, Tombstone, root_key
from virke.core.placing import Beaten, Placed, Unproved, place_record, read_record
from virke.core.root import Root, check_place, decode_record, decode_root, encode_root
from virke.errors import Conflict, Corrupt, Exists, NotFound, OutcomeUnknown, Unavailable, VirkeError


def create_database(root: Root, *, is_read_enough: bool = True) -> Generator[Effect, Outcome, None]:
    """Make the database whose first root is `root`; `is_read_enough` to say that its name is taken.

    Raises:
        Exists: the name is taken. Corrupt: by a damaged root. Unavailable: the store did not answer, nothing was created.
        OutcomeUnknown: it is not known whether it was created.
    """
    key, name = root_key(root.name), root.name

    def look(seen: Record | Absent) -> Placed | Beaten | None:
        if isinstance(seen, Absent):
            return None
        return Placed() if decode_record(seen.data, name).database_id == root.database_id else Beaten(seen)

    seen = (yield from read_record(key)) if is_read_enough else Absent()
    if isinstance(seen, Record):
        check_place(decode_root(seen.data, name), name)
        raise Exists(f"database {name!r} exists already")
    match (yield from place_record(SwapRoot(encode_root(root), None, key), look)):
        case Beaten():
            raise Exists(f"database {name!r} exists already")
        case Unproved(reason, is_surely_not=True):
            raise Unavailable(f"the store did not take it, nothing was created: {reason}")
        case Unproved(reason):
            raise OutcomeUnknown(f"it is not known whether {name!r} was created: {reason}")


def delete_database(world: World, where: str) -> Generator[Effect, Outcome, None]:
    """Delete a database and all of its history; `where` is the store, for messages.

    Raises:
        NotFound: it does not exist, or the store does not serve the tier of its objects. Corrupt: its root is damaged.
        Invalid: it has branches. Conflict: another client commits at this moment; repeat it. Unavailable: the store does
            not answer. After all of these nothing was deleted.
        OutcomeUnknown: that is not known, or it is deleted and objects of it may be left; the message says which.
    """
    name = world.name
    try:
        base = yield from read_root(world, MAIN_BRANCH)
    except Corrupt as error:
        raise Corrupt(f"{error.message}; nothing was deleted", **error.context) from error
    root = base.root
    for tier in {root.tier, *(ref.tier for ref in root.segments)} - {*world.tiers}:
        raise NotFound(
            f"store {where} has no {tier.value} tier, where objects of {name!r} are; nothing was deleted, "
            "name the other store too (KV_URL,OBJECT_URL)"
        )
    yield from refuse_if_pinned(world, root, f"database {name!r}", {PinKind.BRANCH})

    def look(seen: Record | Absent) -> Placed | Beaten | None:
        if isinstance(seen, Absent):
            return Placed() if world.linearizable else None
        found = decode_record(seen.data, name)
        if isinstance(found, Tombstone) or found.database_id != root.database_id:
            return Placed()
        return Beaten(seen) if found.head.version > root.head.version else None

    match (yield from place_record(RemoveRoot(root_key(name), base.generation), look)):
        case Beaten():
            raise Conflict(f"another client commits to {name!r} at this moment; nothing was deleted, repeat it")
        case Unproved(reason, is_surely_not=True):
            raise Unavailable(f"the store did not take it, nothing was deleted: {reason}")
        case Unproved(reason):
            raise OutcomeUnknown(f"it is not known whether {name!r} was deleted: {reason}")
    yield from _delete_objects(world, f"seg/{root.database_id.hex()}/", where)


def _delete_objects(world: World, prefix: str, where: str) -> Generator[Effect, Outcome, None]:
    """Delete what is left of a database whose root is gone, in every tier. Raises `OutcomeUnknown`."""
    failed: list[VirkeError] = []
    for tier in world.tiers:
        try:
            listed = yield ListKeys(tier, prefix)
            assert isinstance(listed, Keys), listed
            yield Delete(tier, listed.keys, must=True)
        except VirkeError as error:
            failed.append(error)
    if failed:
        left = f"objects below {prefix} may be left in {where}, where no collection finds them"
        raise OutcomeUnknown(f"{world.name!r} is deleted, but {left}: {failed[0].message}") from failed[0]
