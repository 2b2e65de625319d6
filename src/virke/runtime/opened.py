"""The databases that one program has open in this process, by name.

Knows the place that opens them; knows no request.

1. A database is opened by the first call that needs it. Beyond `OPEN_MAX` the one unused for longest is closed, never one
   that a call uses at this moment.
2. One that was deleted meanwhile is opened again by the call after the one that noticed.
3. A forked process has none of its parent's: it opens its own, and closes none of theirs.
4. Calls that wait while another opens a database get what that one gets, also its error: a store that is down is asked
   once for all of them.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from typing import Final

from virke.aio import AsyncDatabase
from virke.collector import outside
from virke.processes import at_fork
from virke.runtime.place import Source, current_place

OPEN_MAX: Final = 100


class Opened:
    """Open databases; a program with a database per tenant has many."""

    def __init__(self, source: Source, *, open_max: int = OPEN_MAX) -> None:
        self._source = source
        self._open_max = open_max
        self._parents: list[object] = []
        """What a parent process had open: kept, so that nothing of it is closed here."""
        self._begin_empty()
        _ALL.add(self)

    def _begin_empty(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str | None, AsyncDatabase] = OrderedDict()
        self._users: dict[AsyncDatabase, int] = {}
        self._opening: dict[str | None, Future[None]] = {}

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's."""
        self._parents.append((self._open, self._users))
        self._begin_empty()

    def is_open(self, name: str | None) -> bool:
        """Whether `take` would not have to open it."""
        return name in self._open

    @property
    def in_use(self) -> int:
        """How many databases a call uses at this moment."""
        return len(self._users)

    def take(self, name: str | None) -> AsyncDatabase:
        """An open database, which stays open until it is given back. Raises as `virke.connect`."""
        while True:
            with self._lock:
                if (database := self._use_open(name)) is not None:
                    return database
                opening = self._opening.get(name)
                if opening is None:
                    mine = self._opening[name] = Future()
            if opening is None:
                return self._open_first(name, mine)
            opening.result()

    def _open_first(self, name: str | None, opening: Future[None]) -> AsyncDatabase:
        """Open it for the call that came first; those that wait meanwhile get it, or the same error (rule 4)."""
        try:
            place = current_place()
            database = AsyncDatabase(place.open(name, self._source), threads=place.threads())
        except BaseException as error:
            with self._lock:
                self._opening.pop(name, None)
            opening.set_exception(error)
            raise
        with self._lock:
            self._open[name] = database
            self._users[database] = 1
            self._opening.pop(name, None)
        opening.set_result(None)
        self._close_unused()
        return database

    def _use_open(self, name: str | None) -> AsyncDatabase | None:
        database = self._open.get(name)
        if database is not None:
            self._open.move_to_end(name)
            self._users[database] = self._users.get(database, 0) + 1
        return database

    def give_back(self, database: AsyncDatabase) -> None:
        """The call that took it has ended."""
        outside(partial(self._give_back, database))

    def _give_back(self, database: AsyncDatabase) -> None:
        with self._lock:
            left = self._users[database] = self._users[database] - 1
            if not left:
                del self._users[database]

    def _close_unused(self) -> None:
        with self._lock:
            spare = len(self._open) - self._open_max
            idle = [name for name, database in self._open.items() if database not in self._users][: max(0, spare)]
            closing = [self._open.pop(name) for name in idle]
        for database in closing:
            database.sync.close()

    def forget(self, name: str | None, database: AsyncDatabase) -> None:
        """It was deleted: the next call opens what is there by then."""
        with self._lock:
            if self._open.get(name) is not database:
                return
            del self._open[name]
        database.sync.close(push=False)

    def close(self) -> None:
        """Push what is pending, and close all; the next call opens again what it needs."""
        with self._lock:
            closing = list(self._open.values())
            self._open.clear()
        for database in closing:
            database.sync.close()


_ALL: Final[weakref.WeakSet[Opened]] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_ALL):
        one.after_fork()


at_fork(in_child=_after_fork)
