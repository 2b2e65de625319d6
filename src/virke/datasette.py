"""A plugin for Datasette: databases of Virke among those that it shows, read page by page from their stores.

Knows `virke.dbapi` and the classes of Datasette; docs/datasette.md is its page. Datasette imports it where both are installed, and it does
nothing until the configuration names a database.

1. It only reads: Datasette's calls that write are `NotSupportedError`.
2. Nothing that Datasette does by itself reads a table from end to end: rows are counted up to `COUNT_MAX`, and facets are not suggested.
   What a visitor asks for (a facet, their own SQL) runs within Datasette's time limits.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from datasette import hookimpl
from datasette.database import Database, QueryInterrupted
from datasette.utils import StartupError

from virke import dbapi
from virke.client import RemoteDatabase
from virke.errors import TimedOut
from virke.opening import Where

NAME: Final = "virke"
FORM: Final = 'the plugin virke is configured as {"databases": {NAME: {"store": URL}}}'
KEYS: Final = frozenset({"database", "store", "token", "consistency"})
COUNT_MAX: Final = 10_000
LOOK_S: Final = 0.002
"""How often a running statement's time limit is looked at."""
_COUNT: Final = re.compile(r"\s*select count\(\*\) from (.+)", re.IGNORECASE | re.DOTALL)
_SIZE: Final = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def startup(datasette: Any) -> Callable[[], Awaitable[None]]:
    """Add the databases that the configuration names. Raises `StartupError`: it says something else, or one can't be opened."""

    async def add() -> None:
        config = datasette.plugin_config(NAME) or {}
        databases = config.get("databases") if isinstance(config, Mapping) else None
        if not config:
            return
        if config.keys() - {"databases"} or not isinstance(databases, Mapping):
            raise StartupError(FORM)
        for name, how in databases.items():
            if not isinstance(how, Mapping):
                raise StartupError(FORM)
            if unknown := how.keys() - KEYS:
                has = ", ".join(sorted(KEYS))
                raise StartupError(
                    f"plugin virke, database {name!r}: it has {has}, and no {', '.join(sorted(unknown))}"
                )
            database = VirkeDatabase(
                datasette, how.get("database", name), **{k: how.get(k) for k in KEYS - {"database"}}
            )
            datasette.add_database(database, name=name)
            try:
                await database.execute_fn(lambda connection: None)
            except dbapi.Error as error:
                raise StartupError(f"plugin virke, database {name!r}: {error}") from error

    return add


class VirkeDatabase(Database):  # type: ignore[misc]
    """A database of a store or of a node, as Datasette sees one: `datasette.add_database(VirkeDatabase(datasette, "shop", "s3://…"))`."""

    def __init__(
        self, ds: Any, database: str, store: Where = None, *, token: str | None = None, consistency: str | None = None
    ) -> None:
        super().__init__(ds)
        self._where = (database, store, token)
        self._consistency = consistency
        self._opened: list[dbapi.Connection] = []

    def suggest_name(self) -> str:
        """Its name where Datasette is not given one."""
        return self._where[0]

    @property
    def size(self) -> int:
        """Bytes, when it was opened last; 0 before."""
        return self.cached_size or 0

    @property
    def mtime_ns(self) -> None:
        """Not known: it is not a file."""

    def connect(self, write: bool = False) -> dbapi.Connection:
        """A new connection that reads. Raises `NotSupportedError`: it was asked to write."""
        if write:
            raise dbapi.NotSupportedError("Datasette only reads databases of Virke")
        name, store, token = self._where
        connection = dbapi.connect(
            name, store, token, factory=_Reading, read_only=True, consistency=self._consistency, check_same_thread=False
        )
        self._opened.append(connection)
        [self.cached_size] = connection.execute(_SIZE).fetchone()
        return connection

    def close(self) -> None:
        """Close its connections."""
        super().close()
        while self._opened:
            self._opened.pop().close()

    async def execute(
        self, sql: str, params: Any = None, truncate: bool = False, custom_time_limit: int | None = None, **how: Any
    ) -> Any:
        """See Datasette; what it asks by itself is bounded (rule 2). Raises `QueryInterrupted` as for a time limit."""
        suggesting, faceting = (self.ds.setting(f"facet_{kind}time_limit_ms") for kind in ("suggest_", ""))
        if custom_time_limit == suggesting != faceting:
            raise QueryInterrupted(sqlite3.OperationalError("interrupted"), sql, params)
        counted = None if truncate else _COUNT.fullmatch(sql)  # what a visitor wrote is run with `truncate`
        if counted:
            limit = (
                0 if counted[1].startswith("(") else COUNT_MAX + 1
            )  # a query's rows are counted to suggest facets alone
            sql = f"select count(*) from (select 1 from {counted[1]} limit {limit})"
        results = await super().execute(sql, params, truncate, custom_time_limit, **how)
        if counted and results.rows[0][0] > COUNT_MAX:
            raise QueryInterrupted(sqlite3.OperationalError("interrupted"), sql, params)
        return results


class _Cursor(dbapi.Cursor):
    """A cursor that says `interrupted`, which is how Datasette recognises its time limit."""

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        with _said_as_sqlite_does():
            return super().execute(sql, parameters)

    def fetchall(self) -> list[Any]:
        with _said_as_sqlite_does():
            return super().fetchall()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        with _said_as_sqlite_does():
            return super().fetchmany(size)


class _Reading(dbapi.Connection):
    """A connection whose progress handler is asked by a thread: SQLite's own is the engine's."""

    _over: threading.Event | None = None

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self._one_at_a_time = threading.Lock()
        """Held while the statement is interrupted, so that it is never the next one."""

    def cursor(self, factory: Callable[[dbapi.Connection], dbapi.Cursor] = _Cursor) -> dbapi.Cursor:
        return super().cursor(factory)

    def create_function(self, *given: Any, **how: Any) -> None:
        """As ever; on a node, where it can't be, a query that needs the function is the error, not every page."""
        if not isinstance(self.session.database, RemoteDatabase):
            super().create_function(*given, **how)

    def set_progress_handler(  # type: ignore[override]  # what the DB-API refuses is made up for here
        self, progress_handler: Callable[[], object] | None, n: int
    ) -> None:
        """Ask it every `LOOK_S` until it is taken away; what runs is interrupted when it says so."""
        if self._over is not None:
            with self._one_at_a_time:
                self._over.set()
            self._over = None
        if progress_handler is not None:
            self._over = over = threading.Event()
            threading.Thread(target=self._interrupt_if_asked, args=(progress_handler, over), daemon=True).start()

    def _interrupt_if_asked(self, asked: Callable[[], object], over: threading.Event) -> None:
        while not over.wait(LOOK_S):
            with self._one_at_a_time:
                if not over.is_set() and asked():
                    self.interrupt()


@contextmanager
def _said_as_sqlite_does() -> Iterator[None]:
    try:
        yield
    except dbapi.OperationalError as error:
        if isinstance(error.__cause__, TimedOut):
            raise dbapi.OperationalError("interrupted") from error
        raise
