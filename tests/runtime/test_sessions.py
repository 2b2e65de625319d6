"""One request's session: bookmarks are met once and dropped where they can't be, writes are noted, nothing outlives it."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import virke
from tests.engine.world import Clock
from tests.runtime.asgi_client import asked, run
from virke.aio import AsyncDatabase
from virke.client import asking
from virke.engine.bookmarks import WAIT_MOST_S
from virke.engine.database import Database
from virke.errors import Invalid, NotFound, Unavailable, UsageError, WrongValue
from virke.runtime import AsyncVirkeDB, Request, SyncVirkeDB, VirkeDB
from virke.runtime import place as places
from virke.runtime import virke as runtime
from virke.runtime.answers import NoTenant
from virke.runtime.opened import Opened
from virke.runtime.place import Place, Source
from virke.runtime.session import Session
from virke.stores.base import Store
from virke.stores.faulty import FaultyStore
from virke.stores.memory import memory_store

NEWER = "main.00000001.0000000000000fff.bc82b3fb"


@pytest.fixture
def store() -> Store:
    """A store of this process."""
    return memory_store()


@pytest.fixture
def database(store: Store) -> Iterator[virke.Database]:
    """The database, as another process sees it: it asks the store only where it must."""
    with virke.connect("app", store, create=True) as database:
        database.run_script("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        database.change_settings({"read_consistency": "bounded", "max_staleness_ms": 600_000})
        yield database


@pytest.fixture
def opened(store: Store, database: virke.Database) -> Iterator[Opened]:
    """The program's databases."""
    found = Opened(Source(store))
    yield found
    found.close()


def _db(opened: Opened, bookmark: str | None = None, name: Any = "app") -> tuple[Session, VirkeDB]:
    session = Session(opened, name, bookmark)
    return session, VirkeDB(session)


def test_a_visitor_sees_what_was_written_through_another_process(opened: Opened, database: virke.Database) -> None:
    """Without the bookmark an older state is shown, because the setting allows it: so it is the bookmark that counts."""
    _, before = _db(opened)
    assert before.query("SELECT count(*) FROM item").rows == [(0,)]
    bookmark = database.run("INSERT INTO item (name) VALUES ('elsewhere')").bookmark
    assert _db(opened)[1].query("SELECT count(*) FROM item").rows == [(0,)]
    session, after = _db(opened, bookmark)
    assert after.query("SELECT count(*) FROM item").rows == [(1,)]
    assert session.wrote is None


@pytest.mark.parametrize("how", ["schema", "rows", "transaction", "async", "async rows", "async transaction"])
def test_every_way_to_read_meets_the_bookmark(how: str, opened: Opened, database: virke.Database) -> None:
    _db(opened)[1].query("SELECT 1")
    bookmark = database.run("CREATE TABLE later (id INTEGER)").bookmark
    _, db = _db(opened, bookmark)
    sql = "SELECT name FROM sqlite_schema WHERE name = 'later'"

    async def awaited() -> list[Any]:
        return list((await db.query(sql)).rows)

    async def awaited_rows() -> list[Any]:
        return [row async for row in db.query_rows(sql)]

    async def awaited_transaction() -> list[Any]:
        async with db.transaction(read_only=True) as transaction:
            return list((await transaction.query(sql)).rows)

    match how:
        case "schema":
            found: list[Any] = [(entry.name,) for entry in db.schema("later")]
        case "rows":
            found = list(db.query_rows(sql))
        case "transaction":
            with db.transaction(read_only=True) as transaction:
                found = list(transaction.query(sql).rows)
        case "async":
            found = run(awaited())
        case "async rows":
            found = run(awaited_rows())
        case _:
            found = run(awaited_transaction())
    assert found == [("later",)]


@pytest.mark.parametrize("bookmark", [NEWER, "other.00000001.0000000000000fff.bc82b3fb", "x", "", "ü", "x" * 300])
def test_a_bookmark_that_cant_be_met_is_dropped(bookmark: str, opened: Opened) -> None:
    session, db = _db(opened, bookmark)
    assert db.query("SELECT count(*) FROM item").rows == [(0,)]
    with opened_as(opened) as twin:
        assert not session.is_behind_bookmark(twin.sync)


@pytest.mark.parametrize("is_foreign", [True, False])
def test_on_an_eventual_store_a_bookmark_is_waited_for_and_dropped_if_it_is_not_shown(is_foreign: bool) -> None:
    """The wait is an eventual store's usual one, on a clock that stands still; a state that comes within it is shown."""
    inner = memory_store()
    with virke.connect("app", inner, create=True) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    clock, faulty = Clock(), FaultyStore(inner, [], eventual=True)
    places.use_place(
        Place(
            lambda name, source: Database(faulty.store, "app", environment=clock.environment),
            lambda: None,  # type: ignore[arg-type, return-value]
            lambda app, module: None,
        )
    )
    try:
        opened = Opened(Source())
        _db(opened)[1].query("SELECT 1")
        with virke.connect("app", inner) as database:
            bookmark = database.run("INSERT INTO item (name) VALUES ('elsewhere')").bookmark
        _, db = _db(opened, NEWER if is_foreign else bookmark)
        assert db.query("SELECT count(*) FROM item").rows == [(1,)]
        assert (sum(clock.slept) >= WAIT_MOST_S) == is_foreign
        opened.close()
    finally:
        places.use_place(None)


def test_a_bookmark_is_met_once_for_all_reads_at_the_same_time(opened: Opened, database: virke.Database) -> None:
    _db(opened)[1].query("SELECT 1")
    bookmark = database.run("INSERT INTO item (name) VALUES ('elsewhere')").bookmark
    _, db = _db(opened, bookmark)

    async def both() -> list[Any]:
        answers = await asyncio.gather(*(db.query("SELECT count(*) FROM item") for _ in range(10)))
        return [answer.rows for answer in answers]

    assert run(both()) == [[(1,)]] * 10


# Writes


def test_what_writes_is_noted_and_what_reads_is_not(opened: Opened, database: virke.Database) -> None:
    writes = (
        "INSERT INTO item (name) VALUES ('a')",
        "INSERT INTO item (name) VALUES ('b') RETURNING id",
        "WITH x (n) AS (SELECT 'c') INSERT INTO item (name) SELECT n FROM x",
        "CREATE TABLE other (id INTEGER)",
        "PRAGMA user_version = 7",
    )
    reads = (
        "SELECT * FROM item",
        "WITH x (n) AS (SELECT 1) SELECT n FROM x",
        "PRAGMA user_version",
        "UPDATE item SET name = 'z' WHERE id > 1000",
        "EXPLAIN SELECT 1",
    )
    for sql in writes:
        session, db = _db(opened)
        result = db.query(sql)
        assert (sql, session.wrote) == (sql, result.bookmark)
    for sql in reads:
        session, db = _db(opened)
        db.query(sql)
        assert (sql, session.wrote) == (sql, None)


def test_a_read_beside_another_programs_write_is_not_noted(opened: Opened, database: virke.Database) -> None:
    session, db = _db(opened)
    db.query("SELECT 1")
    database.execute("INSERT INTO item (name) VALUES ('elsewhere')")
    assert db.query("SELECT count(*) FROM item", consistency="strong").rows == [(1,)]
    with db.transaction() as transaction:
        transaction.query("SELECT 1")
    assert session.wrote is None


def test_the_newest_write_of_a_request_is_the_one_that_is_given(opened: Opened) -> None:
    session, db = _db(opened)

    async def many() -> None:
        await asyncio.gather(*(db.execute("INSERT INTO item (name) VALUES (?)", [str(n)]) for n in range(10)))

    run(many())
    with opened_as(opened) as twin:
        assert session.wrote == twin.sync.bookmark


@pytest.mark.parametrize(
    "sql", ["PRAGMA foreign_keys = off", "pragma Foreign_Keys(0)", "SELECT 1; PRAGMA main.foreign_keys = 1"]
)
def test_what_would_outlive_the_request_is_refused(sql: str, opened: Opened) -> None:
    """It would hold for the next visitor's writes too."""
    _, db = _db(opened)
    calls: list[Callable[[], object]] = [lambda: db.run_script(sql), lambda: db.batch(sql.split("; "))]
    if ";" not in sql:
        calls += [lambda: db.query(sql), lambda: db.execute(sql), lambda: db.executemany(sql, [()])]
    for call in calls:
        with pytest.raises(Invalid, match="would hold for other requests too"):
            call()

    async def awaited() -> None:
        await db.query(sql.split("; ")[-1])

    with pytest.raises(Invalid, match="would hold for other requests too"):
        run(awaited())
    assert db.query("PRAGMA foreign_keys").rows == [(1,)]
    assert db.query("SELECT 'PRAGMA foreign_keys = off'").rows == [("PRAGMA foreign_keys = off",)]


@pytest.mark.parametrize("value", [[1], {"a": 1}, 1 << 63, "\ud800"])
def test_a_value_that_cant_be_stored_is_told_from_a_call_that_is_wrong(value: Any, opened: Opened) -> None:
    """The first most often came from a visitor, the second never did; on a node it is told before anything is sent."""
    _, db = _db(opened)
    insert = "INSERT INTO item (name) VALUES (?)"
    with pytest.raises(WrongValue):
        db.execute(insert, [value])
    with pytest.raises(WrongValue), db.transaction() as transaction:
        transaction.execute(insert, [value])
    with pytest.raises(WrongValue):
        asking.body_of(asking.statement_json(insert, [value]))
    with pytest.raises(Invalid) as caught:
        db.execute(insert, ["a", "b"])
    assert type(caught.value) is Invalid
    assert db.query("SELECT count(*) FROM item").rows == [(0,)]


# One object, awaited or called


def test_one_object_is_awaited_on_a_loop_and_called_elsewhere(opened: Opened) -> None:
    _, db = _db(opened)
    asynchronous: AsyncVirkeDB = db
    synchronous: SyncVirkeDB = db

    async def both() -> tuple[Any, Any]:
        awaited = (await asynchronous.query("SELECT 1")).rows
        called = await asyncio.to_thread(lambda: synchronous.query("SELECT 2").rows)
        return awaited, called

    assert run(both()) == ([(1,)], [(2,)])
    assert synchronous.query("SELECT 3").rows == [(3,)]


def test_a_call_that_nobody_awaits_is_a_warning_of_python(opened: Opened) -> None:
    _, db = _db(opened)

    async def forgets() -> None:
        db.execute("INSERT INTO item (name) VALUES ('never')")

    with pytest.warns(RuntimeWarning, match="never awaited"):
        run(forgets())
    assert db.query("SELECT count(*) FROM item").rows == [(0,)]


def test_a_warm_read_needs_no_thread_and_a_cold_one_does_not_block_the_loop(opened: Opened) -> None:
    _, db = _db(opened)
    db.query("SELECT 1")
    threads: list[str] = []

    async def work() -> None:
        original = AsyncDatabase.call

        async def counted(self: AsyncDatabase, call: Any) -> Any:
            threads.append("one")
            return await original(self, call)

        AsyncDatabase.call = counted  # type: ignore[method-assign]
        try:
            await db.query("SELECT 1")
            warm = len(threads)
            await db.execute("INSERT INTO item (name) VALUES ('a')")
            assert (warm, len(threads)) == (0, 1)
        finally:
            AsyncDatabase.call = original  # type: ignore[method-assign]

    run(work())


def test_a_block_that_would_stop_the_loop_is_an_error(opened: Opened) -> None:
    _, db = _db(opened)

    async def blocks() -> None:
        with pytest.raises(UsageError, match="async with"), db.transaction():
            pass
        with pytest.raises(UsageError, match="async for row in"):
            iter(db.query_rows("SELECT 1"))

    run(blocks())


def test_a_write_past_ones_own_transaction_is_an_error_at_that_line(opened: Opened) -> None:
    _, db = _db(opened)

    async def past() -> None:
        async with db.transaction() as transaction:
            await transaction.execute("INSERT INTO item (name) VALUES ('in')")
            with pytest.raises(Invalid, match="a transaction is open here"):
                await db.execute("INSERT INTO item (name) VALUES ('past')")

    run(past())
    with db.transaction() as transaction:
        transaction.execute("INSERT INTO item (name) VALUES ('in')")
        with pytest.raises(Invalid, match="a transaction is open here"):
            db.execute("INSERT INTO item (name) VALUES ('past')")
    assert db.query("SELECT count(*) FROM item").rows == [(2,)]


def test_rows_that_are_not_read_to_their_end_are_given_up_with_their_block(opened: Opened) -> None:
    _, db = _db(opened)
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"
    with db.query_rows(numbers) as rows:
        assert next(iter(rows)) == (1,)
        assert rows.columns == ["i"]

    async def awaited() -> list[Any]:
        async with db.query_rows(numbers) as rows:
            async for row in rows:
                return [row, rows.columns]
        return []

    assert run(awaited()) == [(1,), ["i"]]
    assert opened.in_use == 0


# Databases


def opened_as(opened: Opened) -> Any:
    """The program's database itself."""
    return Session(opened, "app").borrowed()


def test_a_request_chooses_its_database(store: Store) -> None:
    for tenant in ("blue", "red"):
        with virke.connect(tenant, store, create=True) as database:
            database.run_script(f"CREATE TABLE me (name TEXT); INSERT INTO me VALUES ('{tenant}')")

    def chosen(request: Request) -> str:
        return request.headers["x-tenant"]

    _, middleware, bindings = runtime(chosen, store=store)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = str((await bindings.db.query("SELECT name FROM me")).rows[0][0]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    wrapped = middleware(app)

    async def visits() -> list[tuple[int, bytes]]:
        answers = await asyncio.gather(
            *(asked(wrapped, x_tenant=name) for name in ("blue", "red", "blue", "green", "a/b"))
        )
        return [(answer.status, answer.body) for answer in answers]

    blue, red, again, green, odd = run(visits())
    assert (blue, red, again) == ((200, b"blue"), (200, b"red"), (200, b"blue"))
    assert (green[0], b"there is no database 'green'" in green[1]) == (404, True)
    assert (odd[0], b"invalid database name" in odd[1]) == (400, True)


def test_a_database_that_the_program_names_itself_and_is_not_there_is_the_programs_error(store: Store) -> None:
    session, _ = _db(Opened(Source(store)), name="none")
    with pytest.raises(NotFound) as caught:
        session.open()
    assert not isinstance(caught.value, NoTenant)
    with pytest.raises(UsageError, match="must return the name of a database, not 7"):
        Session(Opened(Source(store)), lambda: 7).open()  # type: ignore[arg-type, return-value]


def test_the_tenants_unused_for_longest_are_closed_and_opened_again(store: Store) -> None:
    names = [f"t{number}" for number in range(5)]
    for name in names:
        virke.connect(name, store, create=True).close()
    opened = Opened(Source(store), open_max=2)
    with Session(opened, "t0").borrowed() as held:
        for name in names[1:]:
            assert VirkeDB(Session(opened, name)).query("SELECT 1").rows == [(1,)]
        assert opened.is_open("t0")  # a call uses it
        assert [opened.is_open(name) for name in names[1:]] == [False, False, False, True]
        assert held.sync.query("SELECT 1").rows == [(1,)]
    assert VirkeDB(Session(opened, "t1")).query("SELECT 1").rows == [(1,)]
    opened.close()
    assert VirkeDB(Session(opened, "t1")).query("SELECT 1").rows == [(1,)]


def test_many_first_requests_at_once_open_a_database_once(store: Store, database: virke.Database) -> None:
    opened = Opened(Source(store))
    start = threading.Barrier(8)
    found: list[object] = []

    def work() -> None:
        start.wait()
        with Session(opened, "app").borrowed() as twin:
            found.append(twin)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(map(id, found)))) == (8, 1)


def test_calls_that_wait_for_an_opening_share_its_error(store: Store) -> None:
    """A store that is down is not asked once for each of them, one after another."""
    tries: list[int] = []
    all_wait, waiting = threading.Barrier(5), threading.Semaphore(0)

    def opens(name: str | None, source: Source) -> virke.Database:
        tries.append(1)
        for _ in range(4):
            waiting.acquire()
        raise Unavailable("down")

    opened, said = Opened(Source(store)), list[str]()

    def work() -> None:
        all_wait.wait()
        try:
            Session(opened, "app").open()
        except Unavailable as error:
            said.append(error.message)

    places.use_place(Place(opens, lambda: None, lambda app, module: None))  # type: ignore[arg-type, return-value]
    original = Future.result

    def seen_waiting(self: Future[Any], timeout: float | None = None) -> Any:
        waiting.release()
        return original(self, timeout)

    try:
        Future.result = seen_waiting  # type: ignore[method-assign]
        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        Future.result = original  # type: ignore[method-assign]
        places.use_place(None)
    assert (said, len(tries)) == (["down"] * 5, 1)


def test_a_database_that_was_deleted_and_made_again_is_opened_again(opened: Opened, store: Store) -> None:
    _, db = _db(opened)
    assert db.query("SELECT count(*) FROM item").rows == [(0,)]
    virke.delete("app", store)
    with virke.connect("app", store, create=True) as again:
        again.execute("CREATE TABLE new (id INTEGER)")
    with pytest.raises(NotFound):
        db.execute("INSERT INTO item (name) VALUES ('gone')")
    assert [entry.name for entry in db.schema()] == ["new"]


def test_where_no_request_runs_there_is_no_database_of_one(store: Store, tmp_path: Path) -> None:
    _, _, bindings = runtime("app", store=store)
    with pytest.raises(UsageError, match="no request is running here") as caught:
        _ = bindings.db
    assert "hint: is the middleware installed?" in "".join(traceback.format_exception(caught.value))
