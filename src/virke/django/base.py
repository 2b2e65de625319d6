"""The connection of Django's ORM to a database of Virke: what `ENGINE` names.

Knows `virke.dbapi` and Django's backend for SQLite, from which it takes all that is SQL; knows no store.

1. `OPTIONS` has the words of `virke.dbapi.connect`; a word that means nothing is `ImproperlyConfigured`, before anything is opened.
2. A connection begins with foreign keys checked, whatever the database's setting says. While a schema changes they are not, so that a
   table can be rebuilt under the rows that refer to it; then all of them are checked before it is committed.
3. Django's functions are Python and run in this process. On a node they are missing; a statement that needs one is `NotSupportedError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from types import SimpleNamespace
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3 import base
from django.db.backends.sqlite3._functions import register
from django.utils.asyncio import async_unsafe

from virke import dbapi
from virke.client import RemoteDatabase
from virke.django.client import DatabaseClient
from virke.django.creation import DATABASE, DatabaseCreation, is_throw_away
from virke.django.features import DatabaseFeatures
from virke.django.introspection import DatabaseIntrospection

OPTIONS: Final = frozenset(
    "check_same_thread consistency create init_command read_only store timeout token transaction_mode".split()
)
ELSEWHERE: Final = ("HOST", "PORT", "USER", "PASSWORD")
_PLACE: Final = re.compile(r"(?<!%)%s")
_NO_FUNCTION: Final = re.compile(r"no such function: (\w+)", re.IGNORECASE)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection: see Django's documentation of its SQLite backend, and docs/django.md for what is different."""

    Database = dbapi
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection

    def get_connection_params(self) -> dict[str, Any]:
        """The arguments of `virke.dbapi.connect`. Raises `ImproperlyConfigured`."""
        where = f"settings.DATABASES[{self.alias!r}]"
        if unknown := self.settings_dict["OPTIONS"].keys() - OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            raise ImproperlyConfigured(f"{where}['OPTIONS'] has no {', '.join(sorted(unknown))}; it has {known}")
        if used := [key for key in ELSEWHERE if self.settings_dict.get(key)]:
            raise ImproperlyConfigured(
                f"{where} has {' and '.join(used)}: which store or node it is says OPTIONS['store'], its token OPTIONS['token']"
            )
        params: dict[str, Any] = super().get_connection_params()
        params.pop("uri")
        name = str(params.pop("database"))
        if is_throw_away(name):
            for key in ("store", "token", "read_only", "consistency", "create"):
                params.pop(key, None)
            return {"name": DATABASE, "store": name, **params}
        return {"name": name, **params}

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> dbapi.Connection:
        """A new connection, with Django's functions where they can be."""
        connection = dbapi.connect(**conn_params)
        if not is_on_a_node(connection):
            register(connection)
        if not connection.session.database.foreign_keys:  # setting them is a turn in the line of writers
            connection.execute("PRAGMA foreign_keys = ON")
        for command in filter(None, map(str.strip, self.init_commands)):
            connection.execute(command)
        return connection

    def is_usable(self) -> bool:
        """Whether it is open. While the store is down it is: another connection would reach no more."""
        try:
            self.connection.check()
        except dbapi.ProgrammingError:
            return False
        return True

    def create_cursor(self, name: str | None = None) -> Cursor:
        """A cursor that takes Django's placeholders."""
        made = self.connection.cursor(factory=Cursor)
        assert isinstance(made, Cursor)
        return made


class Cursor(dbapi.Cursor):
    """A cursor whose statements have `%s` and `%(name)s` for their parameters, and `%%` for `%` then."""

    def execute(self, sql: str, parameters: Any = None, /) -> Cursor:
        """Run one statement; without parameters as it is."""
        with _missing_functions_explained(self.connection):
            if parameters is None:
                return super().execute(sql)
            names = parameters if isinstance(parameters, Mapping) else None
            return super().execute(_converted_sql(sql, names), parameters)

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> Cursor:
        """Run one statement with each row of parameters, all of the same kind."""
        rows = iter(seq_of_parameters)
        first = list(islice(rows, 1))
        names = first[0] if first and isinstance(first[0], Mapping) else None
        with _missing_functions_explained(self.connection):
            return super().executemany(_converted_sql(sql, names), chain(first, rows))


def is_on_a_node(connection: dbapi.Connection) -> bool:
    """Whether SQLite runs elsewhere."""
    return isinstance(connection.session.database, RemoteDatabase)


def _converted_sql(sql: str, names: Mapping[str, Any] | None) -> str:
    if names is not None:
        return sql % {name: f":{name}" for name in names}
    return _PLACE.sub("?", sql).replace("%%", "%")


@contextmanager
def _missing_functions_explained(connection: dbapi.Connection) -> Iterator[None]:
    """Say what it means that a node does not know a function of Django's (rule 3)."""
    try:
        yield
    except dbapi.OperationalError as error:
        found = _NO_FUNCTION.search(str(error))
        if found is None or not is_on_a_node(connection) or found[1].lower() not in _names_of_functions():
            raise
        raise dbapi.NotSupportedError(
            f"this query needs {found[1]}(), which is Python code of Django's, and SQLite runs on a node here; "
            "use the node's store itself, or do this part in Python (docs/django.md, Against a node)"
        ) from error


def _names_of_functions() -> frozenset[str]:
    """What `register` adds, in small letters."""
    names: set[str] = set()

    def add(name: str, *_: object, **__: object) -> None:
        names.add(name.lower())

    answered = SimpleNamespace(fetchone=lambda: (1,))
    register(SimpleNamespace(create_function=add, create_aggregate=add, execute=lambda sql: answered))
    return frozenset(names)
