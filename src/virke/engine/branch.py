"""The newest root of one named branch, as this process knows it.

Knows the register and how roots are decoded; knows neither segments nor pages, and no SQL. Shared by everything that
reads or commits this branch in one process.

1. `latest` only moves forward; `checked_at` says when the store last confirmed it.
2. A root whose generation the store did not report is the newest all the same: reads show it, and the next commit asks.
"""

from __future__ import annotations

import threading
from typing import Final

from virke.core.branching import World
from virke.core.effects import Record, Unchanged
from virke.core.ids import MAIN_BRANCH, DatabaseId
from virke.core.pins import root_key
from virke.core.root import NOT_TOLD, RootAt, check_place, decode_root
from virke.engine.driver import Driver
from virke.engine.environment import Environment
from virke.errors import NotFound, Unavailable
from virke.stores.base import Consistency, Store, Watch

BASE_TRIES: Final = 12
ABSENT_TRIES_KNOWN: Final = 8
ABSENT_TRIES_NEW: Final = 5


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
        self.checked_at = float("-inf")
        self.is_watched = store.watch is not None
        """Whether it costs next to nothing to see if any process committed: then `look` differs from `stamp`."""
        self.look: Watch = store.watch(self.key) if store.watch else lambda: None
        self.stamp = b""
        """What `look` (L2) showed just before the newest root was confirmed; empty where it showed nothing."""
        self._lock = threading.Lock()
        self._latest: RootAt | None = None
        self._database_id = database_id

    @property
    def world(self) -> World:
        """What the protocols of creation and deletion are told."""
        environment = self.environment
        return World(
            self.name,
            tuple(self.store.blobs),
            environment.commit_id,
            environment.now_ms,
            linearizable=self.is_linearizable,
        )

    @property
    def is_linearizable(self) -> bool:
        """Whether a read of the register shows its newest root."""
        return self.store.register.consistency is Consistency.LINEARIZABLE

    def refresh(self) -> RootAt:
        """The newest root that the store shows, or the newest known if that is newer (one conditional read).

        Raises:
            NotFound: there is no such database. Unavailable: the store does not answer. Corrupt: the root is damaged.
        """
        known = self._latest
        mine = known.root.database_id if known else self._database_id
        tries = 1 if self.is_linearizable else ABSENT_TRIES_KNOWN if mine else ABSENT_TRIES_NEW
        for attempt in range(tries):
            if attempt:  # it may only be too new to be shown everywhere, or still hidden by one of its name before it
                self.environment.pause(attempt)
            asked_at, stamp = self.environment.monotonic(), self.look()
            match self.store.register.read(self.key, (known.generation or None) if known else None):
                case Record(data, generation):
                    root = check_place(decode_root(data, self.name), self.name, self.branch)
                    if mine not in (None, root.database_id) and attempt + 1 < tries:
                        continue
                    return self._confirmed(RootAt(root, generation), asked_at, stamp)
                case Unchanged() if known:
                    return self._confirmed(known, asked_at, stamp)
        raise NotFound(f"database {self.name!r} does not exist (create it with: virke db create {self.name})")

    def has_moved(self) -> bool:
        """Whether a commit of any process may have been answered since the newest root was confirmed."""
        return self.is_watched and self.look() != self.stamp

    def _confirmed(self, at: RootAt, asked_at: float, stamp: bytes | None) -> RootAt:
        newest = self.offer_root(at, asked_at)
        self.stamp = stamp or b""
        return newest

    def latest(self) -> RootAt:
        """The newest root known, asked of the store only if none is known."""
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
        """Take over a root that a call begun at `asked_at` brought; returns the newest known.

        Raises:
            NotFound: it is another database's root.
        """
        with self._lock:
            known = self._latest
            mine = known.root.database_id if known else self._database_id
            if mine not in (None, at.root.database_id):
                raise NotFound(f"database {self.name!r} was deleted and created anew; connect again")
            if known and known.root.head == at.root.head:
                if at.generation != NOT_TOLD:
                    self._latest = known = RootAt(known.root, at.generation)
            elif known is None or at.root.head.version >= known.root.head.version:
                self._latest = known = at
            self.checked_at = max(self.checked_at, asked_at)
            return known
