"""Programs that outgrow memory are run again over pages, sorts and journals that spill into files (decision 0045)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from apsw import SQLITE_DBSTATUS_CACHE_USED

from tests.promises.ledger import check_integrity
from virke.core.commit import Verdict
from virke.core.ids import PageNo
from virke.engine import writer_connections
from virke.engine.branch import Branch
from virke.engine.connection import Connection
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.sqlite import Extensions
from virke.engine.streaming import PageStream
from virke.errors import SqlError, TimedOut, TooLarge, Unavailable
from virke.opening import connect, open_store
from virke.stores.base import Store
from virke.transfer.room import ROOM, give_memory_back
from virke.transfer.spilling import SpilledPages

HELD: Final = 256 << 10
ROWS: Final = 5000
FILL: Final = (
    f"WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) "
    "INSERT INTO t SELECT n, printf('%05d%0200d', n * 7919 % 10007, n) FROM n"
)


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> list[SpilledPages]:
    """Writers hold 256 KiB, and half of it in memory when they are in room; every overlay that was lent."""
    lent: list[SpilledPages] = []

    class Watched(SpilledPages):
        def __init__(self) -> None:
            super().__init__(held_bytes_max=HELD // 2)
            self.most_held, self.most = 0, 0
            lent.append(self)

        def __setitem__(self, number: int, page: bytes) -> None:
            super().__setitem__(PageNo(number), page)
            self.most_held, self.most = max(self.most_held, self.held_bytes), max(self.most, len(self))

    monkeypatch.setattr(writer_connections, "HELD_BYTES_MAX", HELD)
    monkeypatch.setattr("virke.opening._room", lambda: replace(ROOM, overlay=Watched))
    monkeypatch.setattr("virke.engine.assembly.ROOMY_CACHE_KIB", 64)
    return lent


@pytest.fixture
def store(rooms: list[SpilledPages]) -> Store:
    """A store with a database of a table of more than 1 MB."""
    store = replace(open_store("memory://", create=True), line=None, watch=None)
    with connect("d", store, create=True, background=False) as database:
        database.batch(["CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)", "CREATE TABLE log (what)", FILL])
    rooms.clear()
    return store


@pytest.fixture
def database(store: Store) -> Iterator[Database]:
    """The database as another process has it."""
    with connect("d", store, background=False) as database:
        yield database


UPDATE: Final = "UPDATE t SET b = b || a"
INDEX: Final = "CREATE INDEX i ON t (b)"


@pytest.mark.parametrize(
    "sql", [INDEX, UPDATE, "VACUUM", "DELETE FROM t WHERE a % 2", "PRAGMA page_size = 8192; VACUUM"]
)
def test_what_outgrows_memory_is_as_sqlite_does_it(
    database: Database, store: Store, rooms: list[SpilledPages], sql: str
) -> None:
    """Rows, pages and checksum; and memory held its bound, while more than that was written."""
    with closing(sqlite3.connect(":memory:")) as twin:
        twin.executescript(f"CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); {FILL}; {sql}")
        rows = twin.execute("SELECT * FROM t").fetchall()
    before = database.version
    database.run_script(sql)
    assert database.version == before + 1
    assert database.query("SELECT * FROM t").rows == rows
    assert len(rooms) > 0
    page = database.snapshot().page_size
    assert max(lent.most_held for lent in rooms) <= HELD // 2 + page  # type: ignore[attr-defined]
    assert max(lent.most for lent in rooms) * page > HELD  # type: ignore[attr-defined]
    check_integrity(database)
    with connect("d", store, background=False) as other:
        assert other.query("SELECT * FROM t").rows == rows
        check_integrity(other)


@pytest.mark.parametrize("sql", [INDEX, UPDATE, "VACUUM"])
def test_sqlites_cache_is_empty_while_parts_are_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    """The one takes memory where the others need it: nothing is read through it meanwhile."""
    cached: list[int] = []

    class Watched(PageStream):
        def verdict(self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None = None) -> Verdict:
            connection = database._writer.connections._in_room
            assert connection
            cached.append(connection.raw.status(SQLITE_DBSTATUS_CACHE_USED)[0])
            return super().verdict(pages, progress)

    monkeypatch.setattr(writer_connections, "PageStream", Watched)
    database.execute(sql)
    assert cached
    assert max(cached) < 16 << 10


def test_a_vacuum_gives_room_back(database: Database) -> None:
    database.execute("DELETE FROM t WHERE a > 100")
    pages = database.snapshot().page_count
    database.execute("VACUUM")
    assert database.snapshot().page_count < pages / 10
    check_integrity(database)


def test_small_writes_stay_in_memory(database: Database, rooms: list[SpilledPages]) -> None:
    """Before one in room and after it."""
    database.execute("INSERT INTO log VALUES (1)")
    assert rooms == []
    database.execute(UPDATE)
    lent = len(rooms)
    assert lent > 0
    database.execute("INSERT INTO log VALUES (2)")
    assert (len(rooms), database.query("SELECT what FROM log").rows) == (lent, [(1,), (2,)])


def test_an_error_late_in_room_leaves_nothing(database: Database) -> None:
    """A statement, a batch and a script are all or nothing there too."""
    before = database.version
    late = "UPDATE t SET b = b || a, a = CASE a WHEN 5000 THEN 1 ELSE a END"
    with pytest.raises(SqlError, match="UNIQUE"):
        database.execute(late)
    with pytest.raises(SqlError, match="UNIQUE"):
        database.batch(["INSERT INTO log VALUES (1)", UPDATE, late])
    assert (database.version, database.query("SELECT count(*) FROM log").rows) == (before, [(0,)])
    database.execute(UPDATE)
    check_integrity(database)


def test_rows_and_counts_of_what_ran_in_room_are_those_of_one_run(database: Database) -> None:
    """As the first run had got somewhere before."""
    found = database.batch([UPDATE, "INSERT INTO log VALUES (1) RETURNING what", INDEX])
    assert [one.rows_affected for one in found] == [ROWS, 1, 0]
    assert found[1].rows == [(1,)]
    assert {one.version for one in found} == {database.version}
    assert database.query("SELECT count(*) FROM t WHERE b LIKE '%' || a").rows == [(ROWS,)]
    assert database.query("SELECT count(*) FROM log").rows == [(1,)]


def test_a_keyed_program_in_room_is_done_once(database: Database) -> None:
    for _ in range(2):
        assert database.batch([UPDATE], idempotency_key="one")[0].rows_affected == ROWS
    assert database.query("SELECT max(length(b)) FROM t").rows == [(209,)]


def test_a_lost_race_runs_it_again(store: Store, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process commits while the pages are stored: both are there, once."""
    rival = connect("d", store, background=False)
    real: Callable[..., object] = PageStream.verdict
    races = [1, 2]

    def verdict(self: PageStream, *given: object) -> object:
        if races:
            rival.execute("INSERT INTO log VALUES (?)", (races.pop(),))
        return real(self, *given)

    monkeypatch.setattr(PageStream, "verdict", verdict)
    database.execute(UPDATE)
    assert database.query("SELECT sum(what) FROM log").rows == [(3,)]
    assert database.query("SELECT max(length(b)) FROM t").rows == [(209,)]
    check_integrity(database)
    rival.close()


@pytest.mark.parametrize(
    ("raced", "turns"),
    [({1, 2}, [False, False, True]), ({2, 3}, [False, False, False, True])],
    ids=["from the run that outgrew memory on", "in room only"],
)
def test_p15_a_run_that_outgrew_memory_counts_as_lost_if_others_committed_meanwhile(
    store: Store, raced: set[int], turns: list[bool]
) -> None:
    """Which of the runs had a turn: two that lost are enough."""
    rival = connect("d", store, background=False)
    had_turn: list[bool] = []

    def ran() -> str:
        had_turn.append(Branch(store, "d", Environment()).refresh().root.turn is not None)
        if len(had_turn) in raced:
            rival.execute("INSERT INTO log VALUES (?)", (len(had_turn),))
        return ""

    def hook(extensions: Extensions) -> None:
        extensions.add_function("ran", ran, arguments=0)

    with connect("d", store, background=False, on_connect=hook) as database:
        database.execute(f"{UPDATE} || (SELECT ran())")
        assert had_turn == turns
        assert database.query("SELECT sum(what) FROM log").rows == [(sum(raced),)]
        assert database.query("SELECT max(length(b)) FROM t").rows == [(209,)]
        check_integrity(database)
    rival.close()


@pytest.mark.parametrize("failing", ["_write_held", "_read_page"])
def test_a_disk_that_is_full_changes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """And when there is room again, it goes on."""
    before = database.version

    def full(self: SpilledPages, *given: object) -> None:
        raise self._failed(OSError(28, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(SpilledPages, failing, full)
        with pytest.raises(Unavailable, match=r"No space left on device.*nothing was changed"):
            database.execute(UPDATE)
    assert database.version == before
    database.execute(UPDATE)
    check_integrity(database)


def test_the_time_limit_holds_in_room(store: Store, rooms: list[SpilledPages]) -> None:
    """By a clock that passes it when pages were lent, however fast the machine is."""
    endless = (
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) INSERT INTO log SELECT zeroblob(500) FROM n"
    )
    clock = Environment(monotonic=lambda: 1e6 * any(len(lent) for lent in rooms))
    with connect("d", store, background=False, environment=clock) as database:
        with pytest.raises(TimedOut):
            database.query(endless)
        rooms.clear()
        assert database.query("SELECT count(*) FROM log").rows == [(0,)]


def test_a_place_without_room_refuses_as_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge lends none."""
    database = Database(store, "d")
    database.execute("INSERT INTO log VALUES (1)")
    usual = database._writer.connections.usual
    assert usual is not None
    usual.file.overlay_bytes_max = HELD
    with pytest.raises(TooLarge, match="the transaction changes more than"):
        database.execute(UPDATE)
    database.close()


def test_what_a_connection_holds_in_memory_is_no_limit_in_room(
    store: Store, rooms: list[SpilledPages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection holds 1 GiB at most, where nothing else is said; a VACUUM of 2 GB writes more."""
    defaults = Connection.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "overlay_bytes_max", HELD)
    with connect("d", store, background=False) as database:
        assert database.execute(UPDATE) == ROWS
    assert max(lent.most for lent in rooms) * 4096 > 2 * HELD  # type: ignore[attr-defined]


def test_what_is_lent_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves nothing behind (P11)."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pages = SpilledPages(held_bytes_max=4096)
    for number in range(1, 10):
        pages[PageNo(number)] = bytes(4096)
    assert pages.held_bytes < 9 * 4096
    assert list(tmp_path.iterdir()) == []
    pages.close()


def test_what_the_work_took_of_memory_goes_back_to_the_system(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """B18: what runs next has memory of its own, and the C library would keep this, in pieces."""
    given: list[bool] = []
    lent = replace(ROOM, leave=lambda: given.append(True))
    monkeypatch.setattr("virke.opening._room", lambda: lent)
    with connect("d", store, background=False) as database:
        database.execute("INSERT INTO log VALUES ('small')")
        assert not given
        database.execute("UPDATE t SET b = b || 'x'")
        assert given == [True]
    assert ROOM.leave is give_memory_back
