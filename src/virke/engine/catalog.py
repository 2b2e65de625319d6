"""The databases of a store: made, deleted, listed.

Knows the store and the protocols of core/creating; opens no database. Everything that has a `Store` uses it: a program
on its machine, a node, a function at the edge.
"""

from __future__ import annotations

from virke.core.creating import create_database, delete_database
from virke.core.effects import Tier
from virke.core.ids import DatabaseId
from virke.core.pins import root_key
from virke.core.root import first_root
from virke.engine.branch import Branch
from virke.engine.environment import Environment
from virke.engine.repeating import repeated
from virke.errors import Exists
from virke.stores.base import Store


def make_database(
    store: Store, name: str, environment: Environment, *, if_not_exists: bool, page_size: int
) -> DatabaseId | None:
    """Create an empty database; its id, or None if it was there already.

    Raises:
        Exists: the name is taken, unless `if_not_exists`. Unavailable, OutcomeUnknown: the store did not answer.
    """
    root = first_root(
        name=name,
        database_id=DatabaseId(environment.random_bytes(16)),
        commit_id=environment.commit_id(),
        time_ms=environment.now_ms(),
        page_size=page_size,
        tier=Tier.KV if Tier.KV in store.blobs else Tier.OBJECT,
    )
    try:
        branch = Branch(store, name, environment)
        branch.driver.run(create_database(root, is_read_enough=if_not_exists or branch.is_linearizable))
    except Exists:
        if if_not_exists:
            return None
        raise
    return root.database_id


def remove_database(store: Store, name: str, environment: Environment) -> None:
    """Delete a database and all of its history. Raises as `virke.delete`."""
    branch = Branch(store, name, environment)
    branch.driver.run(delete_database(branch.world, store.url))


def database_names(store: Store, environment: Environment) -> list[str]:
    """The names of all databases, sorted (a LIST). Raises `Unavailable`, `Corrupt` if it is not a store."""
    register = store.register
    keys = repeated(environment, lambda: list(register.keys("root/")))
    names = [key.split("/")[1] for key in keys if key.endswith("/main")]
    if not names:  # any web page reads as a listing of nothing, but not as a register that is absent
        repeated(environment, lambda: register.read(root_key("-")))
    return names
