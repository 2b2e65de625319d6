"""P14: a store that forgot commits is noticed wherever that can be known, and never makes one table's rows another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine.world import NAME, Clock, make, reopen
from tests.promises.places import on
from virke.core.effects import Record, Swapped
from virke.core.pins import root_key
from virke.core.ring import RING_LENGTH
from virke.engine.database import Database
from virke.errors import Corrupt, Invalid, SqlError
from virke.opening import connect, open_store
from virke.stores.base import Consistency, Store
from virke.stores.faulty import FaultyStore
from virke.stores.memory import memory_store

KEY = root_key(NAME)
LOST = "the store lost commits"


def held(store: Store) -> bytes:
    """What the register holds now."""
    record = store.register.read(KEY)
    assert isinstance(record, Record)
    return record.data


def put_back(store: Store, data: bytes) -> None:
    """The store forgets what came after `data`, as a disk does that is restored from a copy."""
    record = store.register.read(KEY)
    assert isinstance(record, Record)
    assert isinstance(store.register.swap(KEY, data, record.generation), Swapped)


def _transaction(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (9)")


USES: dict[str, Callable[[Database], object]] = {
    "strong read": lambda database: database.query("SELECT n FROM t", consistency="strong"),
    "write": lambda database: database.execute("INSERT INTO t VALUES (9)"),
    "transaction": _transaction,
    "settings": lambda database: database.change_settings({"history_days": 1}),
}


def outcome_of(use: Callable[[Database], object], database: Database) -> str:
    with pytest.raises(Corrupt, match=LOST) as told:
        use(database)
    return told.value.kind


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("went_on", [False, True], ids=["it went back", "and others went on"])
def test_a_living_client_is_told_of_every_loss_and_changes_nothing(use: str, went_on: bool) -> None:
    """Whatever it does first; and from then on whatever it does, until it opens the database again."""
    store = replace(memory_store(), watch=None)  # only what it does shows a process that commits were lost
    database = make(store)
    database.execute("CREATE TABLE t (n)")
    before = held(store)
    for number in range(3):
        database.execute("INSERT INTO t VALUES (?)", (number,))
    put_back(store, before)
    if went_on:
        with reopen(store) as other:
            for number in range(5):
                other.execute("INSERT INTO t VALUES (?)", (100 + number,))
    shown = held(store)
    assert outcome_of(USES[use], database) == "corrupt"
    for later in (lambda one: one.query("SELECT n FROM t"), *USES.values()):
        assert outcome_of(later, database) == "corrupt"
    assert held(store) == shown
    with reopen(store) as again:
        assert again.query("SELECT count(*) FROM t").rows == [(5 if went_on else 0,)]
    database.close()


@on("local", "moto", slow=("seaweedfs", "local+seaweedfs"))
def test_a_store_that_forgot_is_noticed_wherever_it_is(place: str) -> None:
    """A living client is told by its next read and write; its bookmark is, too, where a new client shows it."""
    store = open_store(place, create=True)
    with connect(NAME, place, create=True, background=False) as database:
        database.execute("CREATE TABLE t (n)")
        before = held(store)
        bookmark = database.run("INSERT INTO t VALUES (1)").bookmark
        put_back(store, before)
        assert outcome_of(USES["strong read"], database) == "corrupt"
        assert outcome_of(USES["write"], database) == "corrupt"
        with connect(NAME, place, background=False) as new:
            assert new.query("SELECT n FROM t").rows == []
            with pytest.raises(Corrupt, match="bookmark"):
                new.query("SELECT n FROM t", bookmark=bookmark)
            new.execute("INSERT INTO t VALUES (2)")
            with pytest.raises(Invalid, match="another commit"):
                new.query("SELECT n FROM t", bookmark=bookmark)
            assert new.query("SELECT n FROM t").rows == [(2,)]
        assert outcome_of(lambda one: one.query("SELECT n FROM t"), database) == "corrupt"


def test_after_more_commits_than_the_ring_remembers_the_schema_is_read_again() -> None:
    """No loss can be proved then; but a table of the history that is gone never shows another's rows.

    Both tables have the same root page, and both schemas the same cookie.
    """
    store = memory_store()
    database = make(store)
    database.execute("CREATE TABLE t (n)")
    before = held(store)
    database.execute("CREATE TABLE a (x INTEGER PRIMARY KEY, secret TEXT)")
    database.execute("INSERT INTO a VALUES (1, 'A1')")
    assert database.query("SELECT * FROM a").rows == [(1, "A1")]
    put_back(store, before)
    with reopen(store) as other:
        other.execute("CREATE TABLE b (y TEXT, z TEXT)")
        for number in range(RING_LENGTH + 2):
            other.execute("INSERT INTO b VALUES (?, 'z')", (f"b{number}",))
    with pytest.raises(SqlError, match="no such table: a"):
        database.query("SELECT * FROM a", consistency="strong")
    with pytest.raises(SqlError, match="no such table: a"):
        database.execute("INSERT INTO a VALUES (2, 'A2')")
    assert database.query("SELECT count(*) FROM b").rows == [(RING_LENGTH + 2,)]


def test_a_result_of_another_history_never_has_the_columns_of_the_one_that_is_gone() -> None:
    """Both have a table of that name, with the same root page and the same schema cookie, and the statement was known."""
    store = memory_store()
    database = make(store)
    before = held(store)
    database.execute("CREATE TABLE a (x INTEGER, secret TEXT)")
    for _ in range(3):
        assert database.query("SELECT * FROM a").columns == ["x", "secret"]
    put_back(store, before)
    with reopen(store) as other:
        other.execute("CREATE TABLE a (y TEXT, z INTEGER, more)")
        for number in range(RING_LENGTH + 2):
            other.execute("INSERT INTO a VALUES (?, 2, 3)", (f"y{number}",))
    found = database.query("SELECT * FROM a", consistency="strong")
    assert (found.columns, found.decltypes, found.rows[0]) == (
        ["y", "z", "more"],
        ["TEXT", "INTEGER", None],
        ("y0", 2, 3),
    )
    again = database.query("SELECT * FROM a")
    assert (again.columns, again.rows) == (found.columns, found.rows)


def test_on_an_eventual_store_an_older_root_is_a_stale_read() -> None:
    """What is known stays; another commit under a known version is a loss there, too."""
    inner, clock = memory_store(), Clock()
    store = FaultyStore(inner, eventual=True).store
    assert store.register.consistency is Consistency.EVENTUAL
    database = make(store, clock=clock)
    database.execute("CREATE TABLE t (n)")
    before = held(inner)
    database.execute("INSERT INTO t VALUES (1)")
    put_back(inner, before)
    clock.pass_s(60)
    assert database.query("SELECT n FROM t").rows == [(1,)]
    with reopen(inner) as other:
        other.execute("INSERT INTO t VALUES (2)")
    clock.pass_s(60)
    assert outcome_of(lambda one: one.query("SELECT n FROM t"), database) == "corrupt"


def test_a_read_that_a_commit_of_ours_overtook_is_not_a_loss() -> None:
    """Its answer shows an older root than is known by then: the store is healthy."""
    inner = memory_store()
    database = make(inner)
    database.execute("CREATE TABLE t (n)")
    branch, register = database._branch, inner.register
    real = register.read

    def overtaken(*args: object) -> object:
        answer = real(KEY)
        register.read = real  # type: ignore[method-assign]
        database.execute("INSERT INTO t VALUES (1)")
        return answer

    register.read = overtaken  # type: ignore[assignment, method-assign]
    assert branch.refresh().root.head.version == database.version == 3
    assert database.query("SELECT n FROM t", consistency="strong").rows == [(1,)]
