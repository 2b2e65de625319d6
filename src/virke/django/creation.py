"""The databases of Django's test runner: throw-away ones in this process's memory, and no others.

Knows stores in memory; knows no store that outlives the process, so nothing here can delete what a user has.

1. A test database has the URL of its store as its name (`memory://django-test-ALIAS`), which is how it is recognised: what has
   another name is neither created, nor cloned, nor deleted.
2. A clone begins as a copy and shares nothing with what it is a copy of.
"""

from __future__ import annotations

import multiprocessing
import re
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError
from django.db.backends.base.creation import BaseDatabaseCreation

from virke.opening import create, list_databases
from virke.stores.memory import copy_store, forget_store, memory_store

PREFIX: Final = "memory://django-test-"
DATABASE: Final = "test"
"""The name of the database in such a store."""
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")


def is_throw_away(name: object) -> bool:
    """Whether a database's name is one of a test runner's (rule 1)."""
    return isinstance(name, str) and name.startswith(PREFIX)


class DatabaseCreation(BaseDatabaseCreation):
    """See `django.db.backends.base.creation`."""

    @staticmethod
    def is_in_memory_db(database_name: object) -> bool:
        """Whether it is gone with its connection. Test databases are not: each connection of the process opens the same one."""
        return database_name == ":memory:"

    def _get_test_db_name(self) -> str:
        name = self.connection.settings_dict["TEST"]["NAME"] or PREFIX + _ODD.sub(
            _spelt_character, self.connection.alias
        )
        _check_throw_away(name)
        return str(name)

    def test_db_signature(self) -> tuple[str, ...]:
        """What two aliases have in common if they are one test database: its name."""
        return (self.connection.settings_dict["ENGINE"], self._get_test_db_name())

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name = self._get_test_db_name()
        if not (keepdb and _is_there(name)):
            forget_store(name)
            create(DATABASE, name).close()
        return name

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        _check_throw_away(test_database_name)
        forget_store(test_database_name)

    def get_test_db_clone_settings(self, suffix: object) -> dict[str, Any]:
        """The settings of a clone. Raises `NotSupportedError`: other processes would not have it."""
        settings = self.connection.settings_dict
        _check_throw_away(settings["NAME"])
        if (method := multiprocessing.get_start_method()) != "fork":
            raise NotSupportedError(
                f"test databases are in this process's memory, which processes started by {method!r} do not share; "
                "run the tests without --parallel"
            )
        return {**settings, "NAME": f"{settings['NAME']}-{suffix}"}

    def _clone_test_db(self, suffix: object, verbosity: int, keepdb: bool = False) -> None:
        name = self.get_test_db_clone_settings(suffix)["NAME"]
        if not (keepdb and _is_there(name)):
            forget_store(name)
            copy_store(memory_store(self.connection.settings_dict["NAME"]), name)


def _spelt_character(odd: re.Match[str]) -> str:
    """What no name of a store may have in it, so that two aliases never become one name."""
    return f".{ord(odd[0]):x}."


def _check_throw_away(name: object) -> None:
    if not is_throw_away(name):
        raise ImproperlyConfigured(
            f"{name!r} is not a throw-away database, and tests run on nothing else; leave TEST['NAME'] out, "
            f"or give it a name that begins with {PREFIX}"
        )


def _is_there(name: str) -> bool:
    return DATABASE in list_databases(name)
