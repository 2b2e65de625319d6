"""The newest root of one named branch, as this process knows it.

Knows the register and how roots are decoded; knows neither segments nor pages, and no SQL. Shared by everything that
reads or commits this branch in one process.

1. `latest` only moves forward; `checked_at` says when the store last confirmed it.
2. A root whose generation the store did not report is the newest all the same: reads show it, and the next commit asks.
3. Every root that is shown is held against the one that is known (core/lineage, P14). A store that forgot commits is
   `Corrupt` until the database is opened again. A root that can't be tied to the known one begins another `lineage`:
   what was cached of the schema means nothing there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from virke.core.branching import World
from virke.core.effects import Absent, Record, Unchanged
from virke.core.ids import MAIN_BRANCH, DatabaseId, Epoch, Version
from virke.core.lineage import (
    AskAgain,
    Forgot,
    Keep,
    Mark,
    Newer,
    NewerEpoch,
    NewLineage,
    Replaced,
    Same,
    Seen,
    judge_root,
)
from virke.core.pins import Tombstone, root_key
from virke.core.root import NOT_TOLD, Root, RootAt, check_place, decode_record
from virke.engine.driver import Driver
from virke.engine.environment import Environment
from virke.engine.pacing import Pacing
from virke.errors import Corrupt, Deleted, NotFound, Unavailable
from virke.stores.base import Consistency, Store, Watch

BASE_TRIES: Final = 12
KNOWN_HERE_MAX: Final = 1024
ABSENT_TRIES_KNOWN: Final = 8
ABSENT_TRIES_NEW: Final = 5
_Life = tuple[DatabaseId, str, Epoch]
_known_here: Final[OrderedDict[_Life, tuple[Epoch, Version]]] = OrderedDict()
"""The newest state of each branch that this process ever knew, through whatever database object."""
_known_here_lock: Final = threading.Lock()


class Branch:
    """One branch of one database in one store."""

    def __init__(
        self,
        store: Store,
        name: str,
        environment: Environment,
        *,
        branch: str = MAIN_BRANCH,
        database_id: DatabaseId | None = None,
    ) -> None:
        self.store = store
        self.name = name
        self.branch = branch
        self.environment = environment
        self.key = root_key(name, branch)
        self.driver = Driver(store, self.key, environment)
        self.pacing = Pacing(environment, self.refresh)
        self.driver.await_refused = self.pacing.await_refused
        self.checked_at = float("-inf")
        self.is_watched = store.watch is not None
        """Whether it costs next to nothing to see if any process committed: then `look` differs from `stamp`."""
        self.look: Watch = store.watch(self.key) if store.watch else lambda: None
        self._look_ended: Watch = store.watch_ended(self.key) if store.watch_ended else lambda: None
        self.replacing: Root | None = None
        """The root that a swap of this process is replacing at this moment."""
        self.stamp = b""
        """What `look` (L2) showed just before the newest root was confirmed, or what the swap left that made it."""
        self._lock = threading.Lock()
        self._latest: RootAt | None = None
        self._database_id = database_id
        self._lineage_from = Version(0)
        """The version at which the newest lineage begins."""
        self.is_gone = False
        """Whether the store showed that this life of the branch is over."""
        self._forgot = ""
        """What proved that the store lost commits (P14)."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a newer root is known, or that the store lost commits; before `stamp` says so."""

    @property
    def world(self) -> World:
        """What the protocols of creation and deletion know of the world."""
        environment = self.environment
        return World(
            self.name,
            tuple(self.store.blobs),
            environment.commit_id,
            environment.now_ms,
            linearizable=self.is_linearizable,
        )

    @property
    def is_busy(self) -> bool:
        """Whether a thread takes over a root at this moment."""
        return self._lock.locked()

    @property
    def is_linearizable(self) -> bool:
        """Whether a read of the register shows its newest root."""
        return self.store.register.consistency is Consistency.LINEARIZABLE

    def refresh(self) -> RootAt:
        """The newest root that the store shows, or the newest known if that is newer (one conditional read).

        Raises:
            NotFound: there is no such database. Unavailable: the store does not answer.
            Corrupt: the root is damaged, or the store lost commits.
        """
        self._check_not_forgotten()
        patient = ABSENT_TRIES_KNOWN if self._latest or self._database_id else ABSENT_TRIES_NEW
        tries = 2 if self.is_linearizable else patient  # 2: the first may have shown what was there before this one
        for attempt in range(tries):
            if attempt:  # it may only be too new to be shown everywhere, or still hidden by one of its name before it
                self.environment.pause(attempt)
            knew = self._latest
            asked_at, stamp = self.environment.monotonic(), self.look()
            match self.driver.read((knew.generation or None) if knew else None):
                case Record(data, generation):
                    record = decode_record(data, self.name)
                    if isinstance(record, Tombstone):
                        self._meet_tombstone(record, is_last=attempt + 1 == tries)
                        continue
                    at = RootAt(check_place(record, self.name, self.branch), generation)
                    seen = self._take_over(at, asked_at, knew)
                    if isinstance(seen, AskAgain) and attempt + 1 < tries:
                        continue
                    newest, self.stamp = self._root_taken_over(seen), stamp or b""
                    return newest
                case Unchanged() if knew:
                    newest, self.stamp = self._root_taken_over(self._take_over(knew, asked_at, knew)), stamp or b""
                    return newest
                case Absent() if self.is_linearizable:
                    break
        if self._latest is not None:
            raise self.gone(f"database {self.name!r} was deleted")
        raise NotFound(f"database {self.name!r} does not exist (create it with: virke db create {self.name})")

    def _meet_tombstone(self, tombstone: Tombstone, *, is_last: bool) -> None:
        """The register shows that the branch was deleted. An older one may be a stale read: it is asked for again."""
        known = self._latest
        is_older = known is not None and tombstone.epoch < known.root.birth_epoch
        if not is_older or is_last:
            raise self.gone(f"branch {self.branch!r} of {self.name!r} was deleted")

    def has_moved(self) -> bool:
        """Whether a commit of any process may have been answered since the newest root was confirmed."""
        return self.is_watched and self.look() != self.stamp

    def is_being_replaced(self, root: Root, stamp: bytes) -> bool:
        """Whether nothing came since `root` was confirmed but a swap of this process that has not ended (L2)."""
        return self.replacing is root and self._look_ended() == stamp

    def is_latest(self, root: Root) -> bool:
        """Whether `root` is the newest known, and nothing says that the store lost commits."""
        return not self._forgot and self._latest is not None and self._latest.root is root

    def latest(self) -> RootAt:
        """The newest root known, asked of the store only if none is known. Raises `Corrupt`: the store lost commits."""
        if self._forgot:
            self._check_not_forgotten()
        return self._latest or self.refresh()

    def base(self) -> RootAt:
        """The newest root known, with the generation to swap against.

        Raises:
            Unavailable: an eventual store does not show that root yet; nothing was changed.
        """
        for attempt in range(BASE_TRIES):
            at = self.latest()
            if at.generation != NOT_TOLD:
                return at
            if attempt:
                self.environment.pause(attempt)
            self.refresh()
        raise Unavailable("the store does not show its newest state yet, nothing was changed; repeat the call")

    def offer_root(self, at: RootAt, asked_at: float) -> RootAt:
        """Take over a root that a call begun at `asked_at` brought, a commit of ours perhaps; returns the newest known.

        Raises:
            NotFound: it is another database's root. Corrupt: it proves that the store lost commits.
        """
        newest = self._root_taken_over(self._take_over(at, asked_at, None))
        if newest.root is at.root and at.generation != NOT_TOLD and self.store.stamp_of:
            self.stamp = self.store.stamp_of(at.generation)  # who swapped need not read to know that it was the last
        return newest

    def _take_over(self, at: RootAt, asked_at: float, knew: RootAt | None) -> Seen:
        """Hold a root against the one that is known, and take it over if it is newer.

        `knew` was known when the read that shows it began: only if it still is did the read begin after it (rule 3).
        """
        with self._lock:
            known = self._latest
            if known is None:
                if self._database_id not in (None, at.root.database_id):
                    return AskAgain()
                seen: Seen = Newer()
            elif known.root is at.root:
                seen = Same()
            else:
                began_after = knew is not None and knew.root is known.root
                seen = judge_root(known.root, at.root, began_after=began_after, linearizable=self.is_linearizable)
            match seen:
                case Forgot() | Replaced() | AskAgain():
                    return seen
                case Same() if known is not None:
                    if at.generation != NOT_TOLD:
                        self._latest = RootAt(known.root, at.generation)
                case Keep():
                    pass
                case _:
                    self._latest = at
                    if isinstance(seen, NewLineage):
                        self._lineage_from = at.root.head.version
                    _note_known(at.root)
            self.checked_at = max(self.checked_at, asked_at)
            return seen

    def _root_taken_over(self, seen: Seen) -> RootAt:
        match seen:
            case Forgot(reason):
                raise self.forgot(reason)
            case Replaced() | AskAgain():
                raise self.gone(f"database {self.name!r} was deleted and created again; connect again")
            case Newer() | NewerEpoch() | NewLineage():
                self.on_change()
        assert self._latest is not None, "what was taken over is known"
        return self._latest

    def gone(self, message: str) -> Deleted:
        """The branch that was opened is not there any more: the error that says so."""
        self.is_gone = True
        return Deleted(message)

    # One history

    def forgot(self, reason: str) -> Corrupt:
        """The store lost commits: from now on everything is refused with the error that is returned."""
        if not self._forgot:
            self._forgot = reason
            self.on_change()
        return Corrupt(
            f"the store lost commits: {self._forgot}; bring back its newest copy, "
            "or open the database again to go on with what it has now"
        )

    def _check_not_forgotten(self) -> None:
        if self._forgot:
            raise self.forgot(self._forgot)

    def lineage_of(self, root: Root) -> object:
        """Equal for two roots only if one history leads from one to the other, and schema counters mean the same in both."""
        if root.head.version < self._lineage_from:
            return object()
        return root.database_id, root.epoch, self._lineage_from

    def was_known_here(self, mark: Mark) -> bool:
        """Whether this process knew the state that a bookmark names, or a later one, whatever the store shows now."""
        with _known_here_lock:
            newest = _known_here.get(_life_of(self.latest().root))
        return newest is not None and (mark.epoch, mark.version) <= newest


def _life_of(root: Root) -> _Life:
    return root.database_id, root.branch, root.birth_epoch


def _note_known(root: Root) -> None:
    """Remember that this process knew `root`."""
    life, state = _life_of(root), (root.epoch, root.head.version)
    with _known_here_lock:
        if _known_here.get(life, state) <= state:
            _known_here[life] = state
        _known_here.move_to_end(life)
        if len(_known_here) > KNOWN_HERE_MAX:
            _known_here.popitem(last=False)
