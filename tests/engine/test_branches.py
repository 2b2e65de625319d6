"""Branches on the engine: what a branch reads survives whatever happens to the branch that it was made from."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from virke.core.branching import create_branch, delete_branch
from virke.core.effects import Effect, Outcome, Record, SwapRoot
from virke.core.pins import Tombstone, root_key
from virke.core.root import Root, decode_record
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.errors import Conflict, Exists, Invalid, NotFound
from virke.opening import connect, delete, list_databases, open_store
from virke.stores.base import Store
from virke.stores.memory import memory_store

NAME = "db"
BLOB = 3000
LARGE = 70_000
"""More than a commit may have that rides in the root."""
ROWS = 8
DAYS_MS = 40 * 86_400_000


class Later:
    """An environment whose clock can be moved on."""

    def __init__(self) -> None:
        self.ms = 0
        real = Environment()
        self.environment = Environment(now_ms=lambda: real.now_ms() + self.ms)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store in memory, or where a test asks for it a local one."""
    kind = getattr(request, "param", "memory")
    return memory_store() if kind == "memory" else open_store(f"local:{tmp_path}", create=True)


on_each_store = pytest.mark.parametrize(
    "store", ["memory", pytest.param("local", marks=pytest.mark.native)], indirect=True
)


@pytest.fixture
def later() -> Later:
    """The clock of everything in a test."""
    return Later()


def made(store: Store, later: Later, branch: str, *, source: str = "main", version: int | None = None) -> Database:
    """A branch that was just created, opened."""
    at = Branch(store, NAME, later.environment)
    at.driver.run(create_branch(at.world, source, branch, version=version))
    return Database(store, NAME, environment=later.environment, branch=branch)


def dropped(store: Store, later: Later, branch: str) -> None:
    """Delete a branch."""
    at = Branch(store, NAME, later.environment)
    at.driver.run(delete_branch(at.world, branch))


def begun(store: Store, later: Later) -> Database:
    """A database with a table and rows of some size."""
    database = connect(NAME, store, create=True, environment=later.environment, background=False)
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, v)")
    for number in range(6):
        grow(database, number)
    return database


def grow(database: Database, number: int) -> None:
    """A row with a segment of its own."""
    database.execute("INSERT INTO t VALUES (?, randomblob(?))", (number, LARGE))


def rows(database: Database) -> list[int]:
    """The numbers of all rows; every page is read and checked."""
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]
    return [int(str(number)) for (number,) in database.query("SELECT n FROM t WHERE length(v) > 0").rows]


def churn(database: Database, later: Later) -> None:
    """Rewrite everything, compact it, and collect whatever may go, several times over."""
    database.change_settings({"history_days": 0})
    for turn in range(3):
        for number in range(ROWS):
            database.execute("REPLACE INTO t VALUES (?, randomblob(?))", (100 * turn + number, LARGE))
            database.upkeep()
        database.execute("DELETE FROM t WHERE n < ?", (100 * turn,))
        for _ in range(3):
            later.ms += DAYS_MS
            database.collect()


def objects(store: Store, branch: str = "") -> set[str]:
    """The keys of all objects, or those of a branch."""
    keys = {item.key for blobs in store.blobs.values() for item in blobs.list("seg/")}
    return {key for key in keys if f"/{branch}/" in key} if branch else keys


def record(store: Store, branch: str) -> Root | Tombstone:
    """What a register holds."""
    found = store.register.read(root_key(NAME, branch))
    assert isinstance(found, Record)
    return decode_record(found.data, NAME)


def reopened(store: Store, later: Later, branch: str) -> Database:
    """Opened by another process, as it were: nothing is in memory."""
    return Database(store, NAME, environment=later.environment, branch=branch)


@on_each_store
def test_a_branch_reads_what_its_source_had_whatever_becomes_of_the_source(store: Store, later: Later) -> None:
    """P8: compaction, trimmed history, collection and promotion of the source, again and again."""
    with begun(store, later) as main:
        made(store, later, "dev").close()
        churn(main, later)
        main.promote()
        churn(main, later)
        assert rows(main) == [200 + number for number in range(ROWS)]
        with reopened(store, later, "dev") as dev:
            assert rows(dev) == list(range(6))


def test_a_branch_and_its_source_go_their_own_ways(store: Store, later: Later) -> None:
    """Writes, compaction and collection of a branch change nothing for its source, and the other way round."""
    with begun(store, later) as main, made(store, later, "dev") as dev:
        grow(main, 100)
        churn(dev, later)
        assert rows(main) == [*range(6), 100]
        assert rows(dev) == [200 + number for number in range(ROWS)]
        assert dev.version > main.version
    with reopened(store, later, "main") as main, reopened(store, later, "dev") as dev:
        assert rows(main) == [*range(6), 100]
        assert rows(dev) == [200 + number for number in range(ROWS)]


@pytest.mark.parametrize("back", range(6))
def test_a_branch_of_an_earlier_version_shows_that_version(store: Store, later: Later, back: int) -> None:
    """Also where the version is in the middle of a segment, or of a merge, or still in the root."""
    with begun(store, later) as main:
        for number in range(20, 60):  # small commits, spilled several at once
            main.execute("INSERT INTO t VALUES (?, randomblob(?))", (number, BLOB))
        version = main.version - 7 * back
        expected = [number for (number,) in snapshot_rows(main, version)]
        with made(store, later, "dev", version=version) as dev:
            assert rows(dev) == expected
            grow(dev, 1000)
            churn(main, later)
        with reopened(store, later, "dev") as dev:
            assert rows(dev) == [*expected, 1000]


def snapshot_rows(database: Database, version: int) -> list[tuple[int]]:
    """What `t` held as of a version, read by another SQLite."""
    snapshot = database._volume.snapshot_at(version)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(b"".join(data for _, data in snapshot.pages()))
        return connection.execute("SELECT n FROM t").fetchall()


def test_a_version_that_history_does_not_keep_can_not_be_branched_from(store: Store, later: Later) -> None:
    """Its segments may be gone already."""
    with begun(store, later) as main:
        churn(main, later)
        for version in (1, main.version + 1):
            with pytest.raises(NotFound, match=f"version {version} of 'main' is not kept"):
                made(store, later, "dev", version=version)


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(store: Store, later: Later) -> None:
    with begun(store, later) as main:
        made(store, later, "dev").close()
        before = main.status().version
        with pytest.raises(Exists, match="branch 'dev' of 'db' exists already"):
            made(store, later, "dev")
        assert main.status().version == before


@on_each_store
def test_a_deleted_branch_leaves_a_tombstone_and_frees_what_it_held(store: Store, later: Later) -> None:
    """Its own objects go at once, what it held of its source with the source's next collections."""
    with begun(store, later) as main:
        with made(store, later, "dev") as dev:
            grow(dev, 7)
        churn(main, later)
        held = objects(store)
        dropped(store, later, "dev")
        assert objects(store, "dev") == set()
        assert isinstance(record(store, "dev"), Tombstone)
        root = record(store, "main")
        assert isinstance(root, Root)
        assert root.pins == ()
        for _ in range(3):
            later.ms += DAYS_MS
            main.collect()
        assert len(objects(store)) < len(held)
        assert rows(main) == [200 + number for number in range(ROWS)]
        with pytest.raises(NotFound, match="branch 'dev' of 'db' was deleted"):
            reopened(store, later, "dev")


def test_who_has_a_branch_open_while_it_is_deleted_is_told(store: Store, later: Later) -> None:
    """Nothing is written into a later life of the name either."""
    with begun(store, later), made(store, later, "dev") as dev:
        dropped(store, later, "dev")
        with pytest.raises(NotFound):
            dev.execute("INSERT INTO t VALUES (7, 7)")
        with made(store, later, "dev") as again:
            with pytest.raises((NotFound, Conflict)):
                dev.execute("INSERT INTO t VALUES (7, 7)")
            assert rows(again) == list(range(6))


def test_a_branch_that_holds_others_is_not_deleted(store: Store, later: Later) -> None:
    """Children first; and the same for the whole database."""
    with begun(store, later), made(store, later, "dev"), made(store, later, "kid", source="dev") as kid:
        with pytest.raises(Invalid, match="branch 'dev' holds branch 'kid'; nothing was deleted"):
            dropped(store, later, "dev")
        with pytest.raises(Invalid, match="database 'db' holds branch 'dev'; nothing was deleted"):
            delete(NAME, store)
        with pytest.raises(Invalid, match="delete the database"):
            dropped(store, later, "main")
        assert rows(kid) == list(range(6))
    dropped(store, later, "kid")
    dropped(store, later, "dev")
    delete(NAME, store)
    assert (list_databases(store), objects(store)) == ([], set())


def test_a_name_can_be_used_again_also_in_another_database(store: Store, later: Later) -> None:
    """A new life has a higher epoch than all before it; a tombstone of a deleted database is in nothing's way."""
    with begun(store, later):
        made(store, later, "dev").close()
        dropped(store, later, "dev")
        made(store, later, "dev").close()
        root = record(store, "dev")
        assert isinstance(root, Root)
        assert (root.epoch, root.birth_epoch) == (2, 2)
    dropped(store, later, "dev")
    delete(NAME, store)
    with begun(store, later), made(store, later, "dev") as dev:
        assert rows(dev) == list(range(6))


def killed(protocol: Generator[Effect, Outcome, object], key: str) -> Generator[Effect, Outcome, None]:
    """A protocol that ends before its first swap of the register under `key`."""
    step = next(protocol)
    while not isinstance(step, SwapRoot) or step.key != key:
        step = protocol.send((yield step))


def test_a_creation_that_was_killed_between_its_two_writes_is_in_nothings_way(store: Store, later: Later) -> None:
    """The pin alone holds nothing for ever: collection drops it, and so does the next creation of that name."""
    with begun(store, later) as main:
        at = Branch(store, NAME, later.environment)
        for names in ("dev", "tmp"):
            at.driver.run(killed(create_branch(at.world, "main", names), root_key(NAME, names)))
        root = main._volume.branch.refresh().root
        assert [pin.name for pin in root.pins] == ["dev", "tmp"]
        made(store, later, "dev").close()
        for _ in range(3):
            later.ms += DAYS_MS
            main.collect()
        root = main._volume.branch.refresh().root
        assert [(pin.name, pin.birth_epoch) for pin in root.pins] == [("dev", 2)]
        assert isinstance(record(store, "tmp"), Tombstone)


def test_segments_that_a_branch_holds_are_not_merged_once_more(store: Store, later: Later) -> None:
    """They are kept anyway: a merge of them would be kept beside them."""
    with begun(store, later) as main:
        held = main._volume.branch.latest().root.segments
        made(store, later, "dev").close()
        churn(main, later)
        assert main._volume.branch.latest().root.segments[: len(held)] == held
