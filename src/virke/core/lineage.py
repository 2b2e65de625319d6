"""One history: what a root that the store shows proves against the root that is known, and against a bookmark (P14).

Pure. Knows versions, epochs and the rings of two roots; knows no store and keeps nothing. Decision 0015.

A store may forget: a disk restored from last night's copy, a replica promoted before it had everything. Its root then goes
back, and later commits take the same version numbers again. A version number therefore proves nothing by itself.
The rules, in the order in which they are applied:

1. Another database's root is never taken over. It proves a deletion only where reads are linearizable. So does the root
   of another branch of the same name; but their birth epochs ascend, so a later one proves it everywhere.
2. Where both rings reach the lower of the two versions, the commit ids there must be equal.
3. In one history the epoch never goes down while the version goes up, nor up at a version that is not higher.
4. A higher version whose ring reaches the known version continues it; a higher epoch means other schema counters.
5. A higher version whose ring does not reach it may continue it or not. It is taken over as if it did not.
6. A lower version is a stale read, or a read that was overtaken by what is known. Only on a linearizable store, and
   only if the read began after the known root had been taken over, is it proof that the store went back.

A read "began after" if it was started once the known root was the known one, not merely while it was being asked for:
the answer to a slow read may arrive after a commit of our own that it does not contain yet.
"""

from __future__ import annotations

from typing import Final

from virke.core.ids import Epoch, Version
from virke.core.root import Root
from virke.lazy_dataclasses import dataclass

PREFIX_BYTES: Final = 4
"""How much of a commit id a bookmark carries."""


@dataclass(frozen=True, slots=True)
class Same:
    """The root that is known. Its generation may be taken over if none was known."""


@dataclass(frozen=True, slots=True)
class Newer:
    """The history that is known, and more. What is cached of pages and schema is valid for what it was read from."""


@dataclass(frozen=True, slots=True)
class NewerEpoch:
    """The history that is known, and a restore: SQLite's schema counters may repeat, so the schema is read again."""


@dataclass(frozen=True, slots=True)
class NewLineage:
    """A higher version that can't be tied to the known one: read the schema again, drop pinned connections."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing new: an older root, which a stale or overtaken read may show. What is known stays."""


@dataclass(frozen=True, slots=True)
class Forgot:
    """Proof that the store lost commits: `Corrupt`, until the database is opened again. Nothing may be deleted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The database or branch was deleted, and another one has its name: `NotFound`."""


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Another database's root, which may be what the register held before this one: read again, then `NotFound`."""


Seen = Same | Newer | NewerEpoch | NewLineage | Keep | Forgot | Replaced | AskAgain


def judge_root(known: Root, shown: Root, *, began_after: bool, linearizable: bool) -> Seen:
    """What `shown` proves once `known` is known.

    `began_after`: the read that shows it was started after `known` was taken over. `linearizable`: as the store declares.
    """
    if shown.database_id != known.database_id:
        return Replaced() if linearizable and began_after else AskAgain()
    if shown.birth_epoch > known.birth_epoch:
        return Replaced()
    if shown.birth_epoch < known.birth_epoch:
        is_loss = linearizable and began_after
        return Forgot("it shows a branch that was deleted before the one known was created") if is_loss else Keep()
    old, new = known.head.version, shown.head.version
    if reason := _contradiction_between(known, shown):
        return Forgot(reason)
    if new == old:
        return Same()
    if new > old:
        if shown.commit_at(old) is None:
            return NewLineage()
        return NewerEpoch() if shown.epoch > known.epoch else Newer()
    if linearizable and began_after:
        return Forgot(f"it shows version {new} after version {old} was committed")
    return Keep()


def _contradiction_between(known: Root, shown: Root) -> str:
    """Why both roots can't be of one history (rules 2 and 3); "" if they can."""
    old, new = known.head.version, shown.head.version
    lower = min(old, new)
    before, now = known.commit_at(lower), shown.commit_at(lower)
    if before is not None and now is not None and before.commit_id != now.commit_id:
        return f"its version {lower} is another commit than the one known"
    if (shown.epoch > known.epoch and new <= old) or (shown.epoch < known.epoch and new >= old):
        return f"version {new} of epoch {shown.epoch} contradicts version {old} of epoch {known.epoch}"
    return ""


# Bookmarks


@dataclass(frozen=True, slots=True)
class Mark:
    """What a bookmark names: a version of an epoch, and the first bytes of its commit id."""

    epoch: Epoch
    version: Version
    prefix: bytes


@dataclass(frozen=True, slots=True)
class Satisfied:
    """The root has what the bookmark names, as far as can be known."""


@dataclass(frozen=True, slots=True)
class Behind:
    """The root is older than the bookmark: read a newer one."""


@dataclass(frozen=True, slots=True)
class Contradicts:
    """The bookmark is of a history that this root is not a part of: an error of the request, never of the database."""

    reason: str


def mark_of(root: Root) -> Mark:
    """What a bookmark of `root` names."""
    return Mark(root.epoch, root.head.version, root.head.commit_id[:PREFIX_BYTES])


def held_against(mark: Mark, root: Root) -> Satisfied | Behind | Contradicts:
    """What `root` says of a bookmark of its branch. The bookmark may come from anywhere, so it proves nothing of the store."""
    newest = root.head.version
    if mark.epoch < root.birth_epoch:
        return Contradicts("it is of a branch of this name that was deleted")
    if (mark.epoch < root.epoch and mark.version >= newest) or (mark.epoch > root.epoch and mark.version <= newest):
        return Contradicts(f"its epoch {mark.epoch} does not go with version {mark.version}")
    if mark.version > newest:
        return Behind()
    entry = root.commit_at(mark.version)
    if entry is not None and entry.commit_id[: len(mark.prefix)] != mark.prefix:
        return Contradicts(f"version {mark.version} is another commit than the one it names")
    return Satisfied()
