"""Reads of one process only move forward, whatever call it was that learned of a newer state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from tests.engine.world import make, reopen
from virke.engine.database import Database
from virke.stores.memory import memory_store

pytestmark = pytest.mark.edge

READ: Final = "SELECT n FROM t"


def _failing(database: Database) -> object:
    with pytest.raises(Exception, match="no such table"):
        database.execute("INSERT INTO nowhere VALUES (1)")
    return None


LEARN: Final[dict[str, Callable[[Database], object]]] = {
    "a transaction that begins": lambda database: database.transaction(),
    "settings": lambda database: database.settings(),
    "status": lambda database: database.status(),
    "a snapshot": lambda database: database.snapshot(),
    "a write that fails": _failing,
    "a write of no rows": lambda database: database.execute("DELETE FROM t WHERE n < 0"),
    "an earlier version": lambda database: database.query("SELECT 1", at=1),
}


@pytest.fixture(params=[True, False], ids=["watched", "far away"])
def two(request: pytest.FixtureRequest) -> Iterator[tuple[Database, Database]]:
    """A database as two processes have it open."""
    store = memory_store()
    if not request.param:
        store = replace(store, watch=None)
    elsewhere = make(store)
    elsewhere.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    here = reopen(store)
    yield here, elsewhere
    here.close()
    elsewhere.close()


@pytest.mark.parametrize("learns", LEARN)
def test_p5_a_read_is_not_older_than_what_any_call_before_it_learned(
    two: tuple[Database, Database], learns: str
) -> None:
    """The call confirms the newest root for itself; the read after it has no reason to ask, and must show it."""
    here, elsewhere = two
    assert here.query(READ).rows == [(0,)]
    elsewhere.execute("UPDATE t SET n = 1")
    kept = LEARN[learns](here)
    assert here.version == elsewhere.version
    assert here.query(READ).rows == [(1,)]
    assert here.query_here(READ).rows == [(1,)]
    del kept


def test_p15_a_transaction_that_writes_first_begins_on_what_others_wrote_before_it_was_in_line() -> None:
    """Where a look shows that another process committed, a transaction that has read nothing yet does not have to lose."""
    store = memory_store()
    elsewhere = make(store)
    elsewhere.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    here = reopen(store)
    with here.transaction() as transaction:
        elsewhere.execute("UPDATE t SET n = n + 1")
        transaction.execute("UPDATE t SET n = n + 1")
    assert here.query(READ).rows == [(2,)]
