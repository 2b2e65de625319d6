"""The databases of the service that are open in this sandbox: what `api.performing` calls a place.

Knows one store; knows no request.

1. A database stays open, and warm, for the requests that come after. Beyond `OPEN_MAX` the one unused for longest is closed.
2. What was deleted elsewhere, and perhaps created again, is opened again by the first request after that showed.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

from virke.core.ids import check_name
from virke.core.page import PAGE_SIZE_DEFAULT, PAGE_SIZES
from virke.engine.catalog import database_names, make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.errors import Denied, Invalid, VirkeError
from virke.stores.base import Store

OPEN_MAX: Final = 8


class Databases:
    """Open databases, by name."""

    def __init__(self, store: Store, environment: Environment) -> None:
        self.store = store
        self.environment = environment
        self._open: OrderedDict[str, Database] = OrderedDict()
        self._every: WeakSet[Database] = WeakSet()

    def known(self, name: str) -> Database | None:
        """An open database, or None; asks the store nothing."""
        database = self._open.get(name)
        return None if database is not None and database.serving.is_gone else database

    def database(self, name: str) -> Database:
        """An open database; opens it. Raises `NotFound`, `Invalid`, `Unavailable`, `Corrupt`."""
        database = self.known(name)
        if database is None:
            self.forget(name)
            database = self._open[name] = self.opened(name)
            while len(self._open) > OPEN_MAX:
                self.forget(next(iter(self._open)))
        self._open.move_to_end(name)
        return database

    def opened(self, name: str) -> Database:
        """One that is its caller's to close; `tend` knows of it. Raises as `database`."""
        database = Database(self.store, check_name(name), environment=self.environment)
        self._every.add(database)
        return database

    def tend(self) -> bool:
        """One step of upkeep of the first database where some is due, if any; what becomes of it is not part of an answer."""
        for database in list(self._every):
            if database.upkeep_due:
                try:
                    database.serving.upkeep_step()
                except VirkeError as error:
                    print(f"upkeep of {database.name}: {error.kind}: {error.message}", file=sys.stderr)
                return True
        return False

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Meanwhile it stays open: one request runs at a time, so nothing has to be kept for that."""
        del name
        yield

    def names(self) -> list[str]:
        """The names of all databases. Raises `Unavailable`."""
        return database_names(self.store, self.environment)

    def create(self, name: str, *, if_not_exists: bool, page_size: int | None) -> bool:
        """Create a database; False if it was there. Raises `Exists`, `Invalid`, `Unavailable`, `OutcomeUnknown`."""
        if page_size is not None and page_size not in PAGE_SIZES:
            raise Invalid(f"page size must be one of {', '.join(map(str, PAGE_SIZES))}, not {page_size}")
        made = make_database(
            self.store,
            check_name(name),
            self.environment,
            if_not_exists=if_not_exists,
            page_size=page_size or PAGE_SIZE_DEFAULT,
        )
        return made is not None

    def delete(self, name: str) -> None:
        """Never done here: the edge has no conditional delete. Raises `Denied`."""
        raise Denied(f"database {name!r} can't be deleted at the edge", hint="use the CLI: virke db delete")

    def forget(self, name: str) -> None:
        """Close it; the next request opens what is there by then."""
        database = self._open.pop(name, None)
        if database is not None:
            self._every.discard(database)
            database.close(push=False)

    def forget_all(self) -> None:
        """Close all: memory is short, or something is not as it should be."""
        for name in list(self._open):
            self.forget(name)
