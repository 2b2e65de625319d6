"""The databases of a node that are open, by name.

Knows one store and how databases are opened in it; knows no request.

1. A database is opened by the first request for it and stays open; the one unused for longest is closed beyond `OPEN_MAX`,
   never one that a request has at this moment.
2. A name that does not exist is asked for in the store each time: another node may just have created it.
3. What was deleted elsewhere, and perhaps created again, is opened again by the first request after that showed.
4. What another worker owns is only read here: the engine itself refuses to write it.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from virke.collector import outside
from virke.config import StoreChoice
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.engine.database import Database
from virke.errors import Exists
from virke.node.workers.crew import ALONE, Crew
from virke.opening import connect, create, delete, list_databases, open_store
from virke.stores.base import Consistency, Store
from virke.stores.breaker import Breaker
from virke.stores.counted import CountingStore
from virke.stores.watched import watched_store

OPEN_MAX: Final = 1000


class Databases:
    """What `api.performing` calls a place."""

    def __init__(
        self,
        store: Store,
        *,
        journals: Path | None = None,
        open_max: int = OPEN_MAX,
        timeout_ms: int | None = None,
        crew: Crew = ALONE,
    ) -> None:
        """No request may take longer than `timeout_ms`, or what the database's settings say if that is less."""
        self.calls = CountingStore(store)
        self.breaker = Breaker(self.calls.store)
        self.store = self.breaker.store
        self.crew = crew
        self._journals = journals
        self.has_journals = journals is not None
        """Whether any reads may need what a database's owner alone has (`check_reads_here`)."""
        self._open_max = open_max
        self._timeout_ms = timeout_ms
        self._open: OrderedDict[str, Database] = OrderedDict()
        self._in_use: dict[str, int] = {}
        self._past: tuple[Counter[int], int] = (Counter(), 0)
        """What databases that were closed have committed."""
        self._closing: list[Database] = []
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}

    def known(self, name: str) -> Database | None:
        """An open database, or None; never waits for the store."""
        database = self._open.get(name)
        return None if database is not None and database.serving.is_gone else database

    def database(self, name: str) -> Database:
        """An open database; opens it. Raises `NotFound`, `Invalid`, `Unavailable`, `Corrupt`."""
        if name in self._open and self.known(name) is None:
            self.forget(name)
        with self._lock:
            if database := self._open.get(name):
                self._open.move_to_end(name)
                return database
            one_at_a_time = self._opening.setdefault(name, threading.Lock())
        try:
            with one_at_a_time:
                if database := self._open.get(name):
                    return database
                owns = self.crew.owns(name)
                journals = self._journals if owns else None
                database = connect(name, self.store, state_dir=journals, read_only=not owns)
                database.serving.take_over(self._timeout_ms)
                with self._lock:
                    self._open[name] = database
                self._close_unused()
                return database
        finally:
            with self._lock:
                self._opening.pop(name, None)

    def check_reads_here(self, database: Database) -> None:
        """Raise `Elsewhere` if reads of it need what its owner alone has: a journal of deferred writes."""
        if self._journals and not self.crew.owns(database.name) and database.serving.is_deferred:
            self.crew.check_owns(database.name)

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Meanwhile the database of this name is not closed for want of room."""
        let_go = self.hold(name)
        try:
            yield
        finally:
            let_go()

    def hold(self, name: str) -> Callable[[], None]:
        """From now on the database of this name is not closed for want of room, until what is returned is called."""
        with self._lock:
            self._in_use[name] = self._in_use.get(name, 0) + 1
        return partial(outside, partial(self._let_go, name))

    def _let_go(self, name: str) -> None:
        with self._lock:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]

    def names(self) -> list[str]:
        """The names of all databases. Raises `Unavailable`."""
        return list_databases(self.store)

    def create(self, name: str, *, if_not_exists: bool, page_size: int | None) -> bool:
        """Create a database; False if it was there. Raises `Exists`, `Invalid`, `Unavailable`, `OutcomeUnknown`."""
        try:
            create(name, self.store, page_size=page_size or PAGE_SIZE_DEFAULT).close()
        except Exists:
            if if_not_exists:
                return False
            raise
        return True

    def delete(self, name: str) -> None:
        """Delete a database. Raises `NotFound`, `Conflict`, `Unavailable`, `OutcomeUnknown`."""
        delete(name, self.store)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Close a database that was deleted or replaced; the next request opens what is there by then."""
        with self._lock:
            database = self._open.pop(name, None)
            if database is not None:
                self._closing.append(database)
        if database is not None:
            self._close_database(database, push=False)

    def close(self) -> None:
        """Push what is pending, and close all."""
        with self._lock:
            databases = list(self._open.values())
            self._closing += databases
            self._open.clear()
        for database in databases:
            self._close_database(database)

    @property
    def open_count(self) -> int:
        """How many databases are open."""
        return len(self._open)

    def commits(self) -> tuple[Counter[int], int]:
        """Commits by how many writes each had, and races that were lost, since this node began."""
        with self._lock:
            groups, conflicts = self._past
            databases = [*self._open.values(), *self._closing]
        found = Counter(groups)
        for database in databases:
            found.update(database.serving.groups)
            conflicts += database.serving.conflicts
        return found, conflicts

    def _close_unused(self) -> None:
        with self._lock:
            unused = [name for name in self._open if name not in self._in_use]
            closed = [self._open.pop(name) for name in unused[: max(0, len(self._open) - self._open_max)]]
            self._closing += closed
        for database in closed:
            self._close_database(database)

    def _close_database(self, database: Database, *, push: bool = True) -> None:
        try:
            database.close(push=push)
        finally:
            with self._lock:
                self._closing.remove(database)
                groups, conflicts = self._past
                self._past = groups + database.serving.groups, conflicts + database.serving.conflicts


def of_store(
    choice: StoreChoice, *, journals: Path | None, timeout_ms: int | None = None, crew: Crew = ALONE
) -> Databases:
    """The databases of a store. Raises `UsageError`."""
    store = open_store(choice, create=True)
    if not crew.is_alone:
        store = watched_store(store, crew.folder, crew.owns_key)
        crew = replace(crew, reads_here=store.register.consistency is Consistency.LINEARIZABLE)
    return Databases(store, journals=journals, timeout_ms=timeout_ms, crew=crew)
