"""Which database a command works on, opened for as long as the command runs.

The engine is imported here, when a command runs, and not before.

1. Only `virke db flush` and what needs an empty journal push pending writes: a command leaves them as it found them.
2. A database that does not exist is an error that says how to create it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virke.cli.state import State
from virke.config import Config, database_name, load, store_url
from virke.errors import NotFound

if TYPE_CHECKING:
    from virke.engine.database import Database


@contextmanager
def open_database(state: State) -> Iterator[Database]:
    """The database that the options, the environment or the nearest virke.toml name.

    Raises:
        UsageError: none of them names one.
        NotFound: there is no such database.
        Unavailable: the store does not answer.
    """
    name, store = target(state)
    from virke.connect import connect

    try:
        database = connect(name, store)
    except NotFound as error:
        raise NotFound(f"{error.message}: create it with 'virke db create {name}'") from error
    try:
        yield database
    finally:
        database.close(push=False)


def target(state: State, name: str | None = None) -> tuple[str, str]:
    """Name and store URL; `name` is the command's own argument and comes first."""
    config = load()
    return name or database_name(config, state.db), store_url(config, state.store)


def store_of(state: State) -> tuple[Config, str]:
    """The configuration and the store URL, for commands without a database."""
    config = load()
    return config, store_url(config, state.store)
