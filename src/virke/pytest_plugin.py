"""The pytest plugin: a fresh database for each test, migrated or empty. pytest loads it where Virke is installed.

Knows stores in memory and the folder of migrations; docs/testing.md is its page.

1. A test's database is its own: no row, setting or history of another test is in it.
2. A folder of migrations runs once in a process; each test begins with a copy of what it made.
3. Nothing of Virke is imported before a test asks for a database.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.stores.base import Store

OPTION: Final = "virke_migrations"
NAME: Final = "virke_database"
_templates: Final = pytest.StashKey[dict[tuple[str, Path | None], "Store"]]()
_numbers: Final = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--virke-migrations`, and the keys of the configuration file."""
    group = parser.getgroup("virke")
    group.addoption("--virke-migrations", metavar="FOLDER", help="migrations that each test's database begins with")
    parser.addini(OPTION, "folder of migrations that each test's database begins with, from this file's folder")
    parser.addini(NAME, "the name of each test's database", default="test")


@pytest.fixture(scope="session")
def virke_migrations(pytestconfig: pytest.Config) -> Path | None:
    """The folder of migrations that databases begin with; None for none. Replace it with a fixture of your own."""
    if given := pytestconfig.getoption(OPTION):
        return Path(pytestconfig.invocation_params.dir, str(given))
    written = str(pytestconfig.getini(OPTION))
    base = pytestconfig.inipath.parent if pytestconfig.inipath else pytestconfig.rootpath
    return base / written if written else None


@pytest.fixture
def virke_store(
    pytestconfig: pytest.Config, virke_migrations: Path | str | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a store in memory that holds one fresh database; VIRKE_STORE and VIRKE_DB name them meanwhile."""
    from virke.stores.memory import copy_store, forget_store

    name = str(pytestconfig.getini(NAME))
    url = f"memory://pytest-{next(_numbers)}"
    copy_store(_template(pytestconfig, name, virke_migrations), url)
    monkeypatch.setenv("VIRKE_STORE", url)
    monkeypatch.setenv("VIRKE_DB", name)
    yield url
    forget_store(url)


@pytest.fixture
def virke_db(pytestconfig: pytest.Config, virke_store: str) -> Iterator[Database]:
    """A fresh database, open."""
    from virke.opening import connect

    with connect(str(pytestconfig.getini(NAME)), virke_store) as database:
        yield database


def _template(config: pytest.Config, name: str, migrations: Path | str | None) -> Store:
    """The store that databases with these migrations begin as."""
    folder = None if migrations is None else Path(migrations).resolve()
    made = config.stash.setdefault(_templates, {})
    if (name, folder) not in made:
        made[name, folder] = _migrated(name, folder)
    return made[name, folder]


def _migrated(name: str, folder: Path | None) -> Store:
    from virke.migrations import migrate
    from virke.opening import create
    from virke.stores.memory import memory_store

    store = memory_store()
    with create(name, store) as database:
        if folder is not None:
            migrate(database, folder)
    return store
