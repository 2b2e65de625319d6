"""Creating and deleting branches and databases, with every fault at every store operation: the answer is true, and the
same call, made again, finishes what was begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, environment, insert
from virke.core.branching import create_branch, delete_branch
from virke.core.creating import delete_database
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.errors import Conflict, Exists, NotFound, OutcomeUnknown, Unavailable, VirkeError
from virke.opening import connect, delete, list_databases
from virke.stores.base import Store
from virke.stores.faulty import (
    At,
    Crash,
    CrashAfter,
    CrashBefore,
    DeliverLate,
    Fault,
    FaultyStore,
    LoseAnswer,
    LoseRequest,
    Refuse,
)
from virke.stores.memory import memory_store

FAULTS: Final = (
    CrashBefore(),
    CrashAfter(),
    Refuse(),
    LoseAnswer(),
    LoseRequest(),
    DeliverLate(2),
    DeliverLate(10_000),
)
ENV: Final = environment()


def create(store: Store) -> None:
    """The branch `dev`, as of a version in the middle of a segment: with an object of its own."""
    at = Branch(store, NAME, ENV)
    at.driver.run(create_branch(at.world, "main", "dev", version=at.refresh().root.head.version - 3))


def remove(store: Store) -> None:
    """The branch `dev` again."""
    at = Branch(store, NAME, ENV)
    at.driver.run(delete_branch(at.world, "dev"))


def remove_all(store: Store) -> None:
    """The whole database."""
    at = Branch(store, NAME, ENV)
    at.driver.run(delete_database(at.world, store.url))


def begun() -> Store:
    """A database with large and small commits, the last ones spilled together."""
    store = memory_store()
    with connect(NAME, store, create=True, environment=ENV, background=False) as database:
        database.execute(TABLE)
        for size in (LARGE, LARGE, *[4000] * 12, LARGE):
            insert(database, "old", size)
    return store


def branched() -> Store:
    """The same with a branch that has written."""
    store = begun()
    create(store)
    with Database(store, NAME, environment=ENV, branch="dev") as dev:
        insert(dev, "new", LARGE)
    return store


def reads(store: Store, branch: str) -> bool:
    """Whether a branch is there; if so it is whole."""
    try:
        with Database(store, NAME, environment=ENV, branch=branch) as database:
            assert database.query("PRAGMA integrity_check").rows == [("ok",)]
    except NotFound:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Task:
    """What is done, on what, whether it is there before and after, and what says that it was done already."""

    begin: Callable[[], Store]
    act: Callable[[Store], None]
    branch: str
    makes: bool
    done_already: type[VirkeError]


TASKS: Final = {
    "create a branch": Task(begun, create, "dev", True, Exists),
    "delete a branch": Task(branched, remove, "dev", False, NotFound),
    "delete a database": Task(begun, remove_all, "main", False, NotFound),
}


def faults(task: Task) -> Iterator[tuple[int, Fault]]:
    """Each fault at each operation of a run without faults."""
    faulty = FaultyStore(task.begin())
    task.act(faulty.store)
    yield from ((operation.n, fault) for operation in faulty.log for fault in FAULTS)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_answered_is_true_and_repeating_it_finishes_it(name: str) -> None:
    """P3, P6, P8: with one fault at any operation."""
    task = TASKS[name]
    for n, fault in faults(task):
        store, what = task.begin(), f"{fault} at {n}"
        is_crash = isinstance(fault, CrashAfter | CrashBefore)
        dead = [At(later, CrashBefore()) for later in range(n + 1, n + 300)] if is_crash else []
        answer = answered(task, FaultyStore(store, [At(n, fault), *dead]).store)
        if answer is not None:
            assert reads(store, task.branch) is answer, what
        with suppress(task.done_already):
            task.act(store)
        assert reads(store, task.branch) is task.makes, what
        if task.branch != "main" or answer is not None:  # else the answer, if any, says where objects may be left
            finished(store, what)


def answered(task: Task, store: Store) -> bool | None:
    """Whether the branch is there afterwards, by what the caller is told; None: not known, or nobody was told."""
    try:
        task.act(store)
    except (Conflict, Unavailable):
        return not task.makes
    except (OutcomeUnknown, Crash):
        return None
    return task.makes


def finished(store: Store, what: str) -> None:
    """After collection nothing is left but what is read; main is whole, if it is there."""
    if list_databases(store) == [NAME]:
        with connect(NAME, store, environment=ENV, background=False) as main:
            for _ in range(4):
                main.collect(grace_ms=0)
            assert main.query("PRAGMA integrity_check").rows == [("ok",)], what
            pins = [pin.name for pin in main._volume.branch.latest().root.pins]
        assert pins == (["dev"] if reads(store, "dev") else []), what
        if pins:
            remove(store)
        delete(NAME, store)
    assert [item.key for blobs in store.blobs.values() for item in blobs.list("")] == [], what
