"""Opening databases: a database on its store, with its journal and what works in the background; or one of a node.

`stores.by_url` knows which store a URL means; everything else is given a `Store`.

1. How a database is created and deleted is in engine/catalog.
2. A node is named by an http(s) URL wherever a store is; what is asked of it is asked by `client`, which is loaded then.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from virke.config import (
    MEMORY_MB_MAX,
    MEMORY_MB_MIN,
    TOKEN_VARIABLE,
    StoreChoice,
    is_node,
    load_config,
    local_path,
    memory_mb_of,
    scheme_of,
    store_choice,
)
from virke.core.ids import DatabaseId, check_name
from virke.core.page import PAGE_SIZE_DEFAULT, PAGE_SIZES
from virke.engine.assembly import after_fork_in_child
from virke.engine.catalog import database_names, make_database, remove_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.memory import PROCESS
from virke.engine.sqlite import OnConnect
from virke.errors import Invalid, NotFound, OutcomeUnknown, UsageError, VirkeError
from virke.journal import FileJournal, Flusher
from virke.machine import default_budget_bytes
from virke.processes import at_fork
from virke.stores.base import Store
from virke.stores.by_url import open_url, place_of
from virke.stores.parallel import run_beside
from virke.stores.receipt import metered_store

if TYPE_CHECKING:
    from virke.client import Node
    from virke.engine.alone import Alone
    from virke.engine.room import Room

UPKEEP: Final = ("beside", "leave")
at_fork(in_child=after_fork_in_child)
Where = str | StoreChoice | Store | None
"""A store's or a node's URL, what a configuration says, an open store, or None: ask the environment and the nearest `virke.toml`."""


def open_store(where: Where = None, *, create: bool = False, cached: bool = True) -> Store:
    """The store that `where` names; docs/stores has the URLs.

    None asks the environment and the nearest `virke.toml`, and falls back to the folder `.virke`. With `create` the
    folder of a local store is made; without, one that does not exist reads as an empty store. What is far away is
    read through a cache, unless `cached` is false.

    Raises:
        UsageError: the URL is not understood, or names a node.
    """
    if isinstance(where, Store):
        return metered_store(where)
    choice = _choice_of(where)
    if is_node(choice.url):
        raise UsageError(f"{choice.url} is a node, and this works on a store: name the store that the node serves")
    return open_url(choice, create=create, cached=cached)


def _choice_of(where: str | StoreChoice | None) -> StoreChoice:
    if where is None:
        return store_choice(load_config(), None)
    return StoreChoice(where) if isinstance(where, str) else where


def is_of_node(where: Where) -> bool:
    """Whether `where`, or what the configuration says, names a node. Raises `UsageError`: it is not understood."""
    return _node_choice(where) is not None


def _node_choice(where: Where) -> StoreChoice | None:
    choice = None if isinstance(where, Store) else _choice_of(where)
    return choice if choice is not None and is_node(choice.url) else None


def node_of(where: Where, token: str | None = None) -> Node | None:
    """The node that `where` names; None if it names a store.

    Its token is `token`, else what comes with `where`, else `VIRKE_TOKEN`.

    Raises:
        UsageError: the URL is not understood, or there is a token for a store.
    """
    choice = _node_choice(where)
    if choice is None:
        if token is not None:
            raise UsageError("a token is for a node (https://HOST), and this is a store")
        return None
    from virke.client import Node, address_of

    given = token or choice.options.get("token") or os.environ.get(TOKEN_VARIABLE) or None
    return Node(address_of(choice.url, given))


def connect(
    name: str,
    store: Where = None,
    *,
    token: str | None = None,
    create: bool = False,
    read_only: bool = False,
    on_connect: OnConnect | None = None,
    state_dir: Path | None = None,
    background: bool = True,
    upkeep: str | None = None,
    environment: Environment | None = None,
    memory_mb: int | None = None,
) -> Database:
    """Open a database of a store, or, by the URL of a node (`https://…`, with a `token`), one that the node serves.

    `create` makes it if it does not exist. With `read_only` every write is `Denied`, and the store is never written to:
    no upkeep, no push of pending writes. `on_connect` is called with every new connection to SQLite, to add functions,
    aggregates and collations (`Extensions`). `state_dir` is where this node keeps this store's journals of deferred writes.
    With `background`, pending writes are pushed at once and then in time by a thread; without, by `flush` alone. `upkeep`
    (compaction, promotion, collection) is done by a thread next to the writers (`beside`, the default with `background`), or
    by `Database.upkeep` alone (`leave`, the default without): no call does it before it answers. `memory_mb` is what this process holds in memory for all of its databases,
    from now on; without it, `VIRKE_MEMORY_MB`, `virke.toml` and the size of the machine say it once. All but `create` and
    `read_only` are of this process, and say nothing to a node.

    Raises:
        NotFound: it does not exist. Invalid: the name or the memory can't be one. UsageError: the store is not understood, or
            `create` and `read_only` contradict each other. Denied: the node does not take the token.
        Unavailable: the store does not answer. Corrupt: the root is damaged.
    """
    check_name(name)
    if create and read_only:
        raise UsageError("create=True and read_only=True contradict each other")
    if upkeep not in (None, *UPKEEP):
        raise UsageError(f"upkeep must be one of {', '.join(UPKEEP)}, not {upkeep!r}")
    if (node := node_of(store, token)) is not None:
        if on_connect is not None:
            raise UsageError(
                "on_connect adds functions to SQLite, which runs on the node: they can't be added from here"
            )
        return _of_node(node, name, creates=create, read_only=read_only)
    _size_memory(store, memory_mb)
    opened = open_store(store, create=create)
    env = environment or Environment(spawn=run_beside)
    made = make_database(opened, name, env, if_not_exists=True, page_size=PAGE_SIZE_DEFAULT) if create else None
    return _opened_database(
        opened,
        name,
        env,
        made=made,
        read_only=read_only,
        on_connect=on_connect,
        state_dir=state_dir,
        background=background and not read_only,
        upkeep=upkeep or ("beside" if background else "leave"),
    )


def _of_node(node: Node, name: str, *, creates: bool = False, read_only: bool = False) -> Database:
    """The database of a node; a new one only where there is none, which needs more than a token that writes."""
    from virke.client import RemoteDatabase

    try:
        try:
            return RemoteDatabase(node, name, read_only=read_only)
        except NotFound:
            if not creates:
                raise
        node.create(name, if_not_exists=True)
        return RemoteDatabase(node, name, read_only=read_only)
    except BaseException:
        node.close()
        raise


def _size_memory(where: Where, memory_mb: int | None = None) -> None:
    """Give this process the memory that is asked for, or, if nothing was yet, what is configured or usual."""
    if memory_mb is not None:
        if type(memory_mb) is not int or not MEMORY_MB_MIN <= memory_mb <= MEMORY_MB_MAX:
            raise Invalid(
                f"memory_mb must be a whole number from {MEMORY_MB_MIN} to {MEMORY_MB_MAX}, not {memory_mb!r}"
            )
    elif not PROCESS.is_sized:
        memory_mb = memory_mb_of(load_config() if where is None else None)
        if memory_mb is None:
            PROCESS.resize(default_budget_bytes())
    if memory_mb is not None:
        PROCESS.resize(memory_mb << 20)


def _opened_database(
    opened: Store,
    name: str,
    env: Environment,
    *,
    made: DatabaseId | None,
    read_only: bool = False,
    on_connect: OnConnect | None = None,
    state_dir: Path | None = None,
    background: bool = True,
    upkeep: str = "beside",
) -> Database:
    """The database with its journal and what works in the background; `made` is its id if it was just created."""
    journal = journal_of(opened, name, state_dir)
    return Database(
        opened,
        name,
        environment=env,
        journal=journal,
        flusher=Flusher() if background and journal else None,
        upkeep_beside=upkeep == "beside" and not read_only,
        database_id=made,
        read_only=read_only,
        on_connect=on_connect,
        room=_room,
    )


def _room() -> Room:
    """Room on the disk of this machine, for a program that outgrows memory."""
    from virke.transfer.room import ROOM

    return ROOM


def create(
    name: str,
    store: Where = None,
    *,
    if_not_exists: bool = False,
    page_size: int = PAGE_SIZE_DEFAULT,
    token: str | None = None,
) -> Database:
    """Create an empty database and open it.

    Raises:
        Exists: the name is taken (unless `if_not_exists`). Invalid: the name or the page size can't be one.
        Unavailable, OutcomeUnknown: the store did not answer.
    """
    if page_size not in PAGE_SIZES:
        raise Invalid(f"page size must be one of {', '.join(map(str, PAGE_SIZES))}, not {page_size}")
    check_name(name)
    if (node := node_of(store, token)) is not None:
        try:
            node.create(name, if_not_exists=if_not_exists, page_size=page_size)
        except BaseException:
            node.close()
            raise
        return _of_node(node, name)
    _size_memory(store)
    opened = open_store(store, create=True)
    env = Environment(spawn=run_beside)
    made = make_database(opened, name, env, if_not_exists=if_not_exists, page_size=page_size)
    try:
        return _opened_database(opened, name, env, made=made)
    except VirkeError as error:
        if made is None:
            raise
        raise OutcomeUnknown(f"{name!r} was created, and then it could not be opened: {error.message}") from error


def delete(name: str, store: Where = None, *, token: str | None = None) -> None:
    """Delete a database and all of its history.

    Raises:
        NotFound: it does not exist, or the store does not serve the tier of its objects. Corrupt: its root is damaged.
        Invalid: it has branches. Conflict: another client commits at this moment; repeat it. Unavailable: the store does
            not answer. After all of these nothing was deleted.
        OutcomeUnknown: that is not known, or it is deleted and objects of it may be left; the message says which.
    """
    check_name(name)
    if (node := node_of(store, token)) is not None:
        with closing(node):
            node.delete(name)
        return
    remove_database(open_store(store), name, Environment())


def list_databases(store: Where = None, *, token: str | None = None) -> list[str]:
    """The names of all databases in a store, sorted (a LIST). Raises `Unavailable`, `Corrupt` if it is not a store.

    Of a node: those that the token may see.
    """
    if (node := node_of(store, token)) is not None:
        with closing(node):
            return node.names()
    return database_names(open_store(store), Environment())


def open_alone(name: str, store: Where = None) -> Alone:
    """A database of a store to verify and to copy, also where its newest version can't be read; read past all caches.

    Raises:
        UsageError: `store` names a node. NotFound: it does not exist. Corrupt: the root is damaged. Unavailable.
    """
    check_name(name)
    _size_memory(store)
    from virke.engine.alone import Alone

    return Alone(open_store(store, cached=False), name, Environment(spawn=run_beside))


def journal_of(store: Store, name: str, state_dir: Path | None = None) -> FileJournal | None:
    """The journal of one database on this node: in the folder of a local store, else in the user's state folder.

    None for a store in memory: nothing can outlive it, so nothing is deferred. Without a home directory there is nowhere
    to put it; that is an error only if a write is deferred.
    """
    folder = state_dir
    if folder is None:
        if scheme_of(store.url)[0] == "memory":
            return None
        local = local_path(store.url) if "," not in store.url else None
        folder = local / "journal" if local else _state_folder(store)
    return FileJournal(folder / f"{name}.sqlite" if folder else None, private_folder=state_dir is None)


def _state_folder(store: Store) -> Path | None:
    """Where this user keeps what belongs to a store; None where no home directory is known, as in some containers."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ".local" / "state" / "virke" / hashlib.sha256(place_of(store.url).encode()).hexdigest()[:16]
