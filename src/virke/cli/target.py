"""Which database a command works on, opened for as long as the command runs.

The engine is imported here, when a command runs, and not before.

1. Pending writes are pushed by `virke db flush`, and by what must come after them (a migration, an import, an export,
   a promotion); any other command leaves them as it found them.
2. A command that committed does one step of the upkeep that is due, after its output (`State.after_output`): it may fail
   or take its time without a change to what the command said (P13).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from virke.cli.state import State
from virke.config import StoreChoice, database_name, is_node, load_config, memory_mb_of, store_choice
from virke.errors import NotFound, UsageError
from virke.nearest import meant_hint

if TYPE_CHECKING:
    from virke.engine.database import Database


@contextmanager
def open_database(state: State, *, read_only: bool = False) -> Iterator[Database]:
    """The database that the options, the environment or the nearest virke.toml name.

    Raises:
        UsageError: none of them names one.
        NotFound: there is no such database.
        Unavailable: the store does not answer.
    """
    name, store = target_of(state)
    from virke.opening import connect, list_databases

    try:
        database = connect(name, store, read_only=read_only, background=False, memory_mb=memory_mb_of(load_config()))
    except NotFound as error:
        if store.url.startswith(("local:", "file:")):  # elsewhere a list is one more request, or several
            error.context.update(meant_hint(name, list_databases(store)))
        raise
    try:
        yield database
    except BaseException:
        database.close(push=False)
        raise
    close_after_output(state, database)


def close_after_output(state: State, database: Database) -> None:
    """Close a database that did what was asked; a step of upkeep that is due comes first, after the output."""
    if database.upkeep_due:
        state.after_output = partial(_take_upkeep_step, database)
    else:
        database.close(push=False)


def _take_upkeep_step(database: Database) -> None:
    try:
        database.upkeep()
    finally:
        database.close(push=False)


def target_of(state: State, name: str | None = None) -> tuple[str, StoreChoice]:
    """Name and store; `name` is the command's own argument and comes first."""
    config = load_config()
    return name or database_name(config, state.db), store_choice(config, state.store, token=state.token)


def store_of(state: State) -> StoreChoice:
    """The store or node, for commands without a database."""
    return store_choice(load_config(), state.store, token=state.token)


def own_store_of(state: State, what: str, hint: str) -> StoreChoice:
    """The store, for commands that no node can carry out: `what` says why, `hint` what to do. Raises `UsageError`."""
    store = store_of(state)
    if is_node(store.url):
        raise UsageError(f"{what}, and {store.url} is a node", hint=hint)
    return store
