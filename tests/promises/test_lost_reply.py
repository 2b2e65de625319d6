"""The store applies a write and its answer is lost: the write is there exactly once, and the caller gets success."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, check_integrity, check_store, environment, insert, opened
from virke.core.effects import ReadOutcome
from virke.engine.database import Database
from virke.errors import Denied, Exists, OutcomeUnknown
from virke.migrations import migrate
from virke.opening import connect, create, list_databases
from virke.stores.base import Call, Store
from virke.stores.faulty import At, Fault, FaultyStore, LoseAnswer, LoseRequest, Refuse
from virke.stores.memory import memory_store
from virke.transfer import import_file

ROW: Final = "INSERT INTO entry VALUES (?, NULL)"


def _execute(database: Database, folder: Path) -> None:
    assert database.execute(ROW, ("a",)) == 1


def _query(database: Database, folder: Path) -> None:
    assert database.query("INSERT INTO entry VALUES ('a', NULL) RETURNING token").rows == [("a",)]


def _large(database: Database, folder: Path) -> None:
    insert(database, "a", LARGE)


def _batch(database: Database, folder: Path) -> None:
    results = database.batch([(ROW, ("a",)), "SELECT count(*) FROM entry", (ROW, ("b",))])
    assert [result.rows for result in results] == [[], [(1,)], []]


def _executemany(database: Database, folder: Path) -> None:
    assert database.executemany(ROW, [("a",), ("b",)]) == 2


def _script(database: Database, folder: Path) -> None:
    script = "INSERT INTO entry VALUES ('a', NULL); INSERT INTO entry VALUES ('b', NULL)"
    assert database.run_script(script).rows_affected == 2


def _transaction(database: Database, folder: Path) -> None:
    with database.transaction() as transaction:
        transaction.execute(ROW, ("a",))
        assert transaction.query("SELECT count(*) FROM entry").rows == [(1,)]
        transaction.execute(ROW, ("b",))


def _commit_pages(database: Database, folder: Path) -> None:
    dump = "INSERT INTO entry VALUES ('a', NULL); INSERT INTO entry VALUES ('b', randomblob(200000));"
    assert import_file(database, BytesIO(dump.encode())).rows == 2


def _migrate(database: Database, folder: Path) -> None:
    (folder / "001_rows.sql").write_text("INSERT INTO entry VALUES ('a', NULL);")
    assert [file.number for file in migrate(database, folder)] == [1]


def _flush(database: Database, folder: Path) -> None:
    database.change_settings({"durability": "deferred"})
    database.execute(ROW, ("a",))
    database.execute(ROW, ("b",))
    assert (database.flush().pushed, database.flush().pushed) == (2, 0)


WRITES: Final[dict[str, tuple[Callable[[Database, Path], None], list[str]]]] = {
    "execute": (_execute, ["a"]),
    "query": (_query, ["a"]),
    "large": (_large, ["a"]),
    "batch": (_batch, ["a", "b"]),
    "executemany": (_executemany, ["a", "b"]),
    "script": (_script, ["a", "b"]),
    "transaction": (_transaction, ["a", "b"]),
    "import": (_commit_pages, ["a", "b"]),
    "migration": (_migrate, ["a"]),
    "deferred": (_flush, ["a", "b"]),
}
SILENT: Final[dict[str, list[At]]] = {
    "every put and swap once": [At(1, LoseAnswer(), Call.SWAP), At(1, LoseAnswer(), Call.PUT)],
    "three answers": [At(n, LoseAnswer(), call) for n in (1, 2, 3) for call in (Call.SWAP, Call.PUT)],
    "a request, then the answer": [
        fault for call in (Call.SWAP, Call.PUT) for fault in (At(1, LoseRequest(), call), At(2, LoseAnswer(), call))
    ],
}


def begun(folder: Path, *, large: int = 0) -> Store:
    """A store with the database of the tests in it."""
    store = memory_store()
    with opened(store, folder, create=True) as database:
        database.execute(TABLE)
        for number in range(large):
            insert(database, f"old-{number}", LARGE)
    return store


def check(store: Store, folder: Path, tokens: list[str]) -> None:
    """Exactly these tokens are there, and all is well."""
    with opened(store, folder) as database:
        rows = database.query("SELECT token FROM entry ORDER BY token").rows
        assert [token for (token,) in rows] == tokens
        check_integrity(database)
    check_store(store)


@pytest.mark.parametrize("plan", SILENT)
@pytest.mark.parametrize("write", WRITES)
def test_p2_a_write_whose_answer_was_lost_is_there_once_and_succeeds(write: str, plan: str, tmp_path: Path) -> None:
    store, (act, tokens) = begun(tmp_path), WRITES[write]
    faulty = FaultyStore(store, SILENT[plan])
    with opened(faulty.store, tmp_path) as database:
        act(database, tmp_path)
    assert any(operation.fault for operation in faulty.log)
    check(store, tmp_path, tokens)


@pytest.mark.parametrize("write", WRITES)
def test_p2_a_store_that_never_answers_a_swap_is_believed_by_what_it_shows(write: str, tmp_path: Path) -> None:
    """Every answer to a put or a swap is lost, for ever; reads show what happened."""
    store, (act, tokens) = begun(tmp_path), WRITES[write]
    silent = [At(n, LoseAnswer(), call) for n in range(1, 100) for call in (Call.SWAP, Call.PUT)]
    with opened(FaultyStore(store, silent).store, tmp_path) as database:
        if write in ("large", "import"):  # an object whose put is never answered can't be relied on
            with pytest.raises(Exception, match="not take"):
                act(database, tmp_path)
            tokens = []
        else:
            act(database, tmp_path)
    check(store, tmp_path, tokens)


def _lost(call: Call, times: int = 1) -> list[At]:
    return [At(n, LoseAnswer(), call) for n in range(1, times + 1)]


def test_p2_settings_are_changed_once(tmp_path: Path) -> None:
    store = begun(tmp_path)
    with opened(FaultyStore(store, _lost(Call.SWAP)).store, tmp_path) as database:
        version = database.version
        assert database.change_settings({"max_attempts": 3}).max_attempts == 3
        assert database.version == version + 1
    check(store, tmp_path, [])


def test_p2_a_database_is_created_once() -> None:
    store = memory_store()
    connect(NAME, FaultyStore(store, _lost(Call.SWAP)).store, create=True, environment=environment()).close()
    with pytest.raises(Exists):
        create(NAME, store)


def test_p3_a_creation_that_nobody_can_prove_is_unknown() -> None:
    """The answer is lost and so is every look at the root after it: it may be there."""
    silent = [*_lost(Call.SWAP), *(At(n, Refuse(), Call.READ) for n in range(2, 10))]
    with pytest.raises(OutcomeUnknown):
        connect(NAME, FaultyStore(memory_store(), silent).store, create=True, environment=environment())


def test_p3_a_creation_whose_database_may_not_be_read_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right to read that is lost once the database was created: the error does not say that nothing was done."""
    store = memory_store()
    read, reads = type(store.register).read, [0]

    def refuse(*args: object) -> ReadOutcome:
        reads[0] += 1
        if reads[0] > 1:
            raise Denied("you may not read")
        return read(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(store.register), "read", refuse)
        with pytest.raises(OutcomeUnknown, match="was created"):
            create(NAME, store)
    with pytest.raises(Exists):
        create(NAME, store)


def test_a_creation_that_may_not_read_creates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads first, and says why it stopped."""
    store = memory_store()

    def refuse(*_: object) -> None:
        raise Denied("you may not read")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.register), "read", refuse)
        with pytest.raises(Denied):
            create(NAME, store)
    assert list_databases(store) == []


def test_opening_a_database_that_exists_with_create_writes_nothing(tmp_path: Path) -> None:
    """Some stores take one write a second to one key: asking for what is there already must not use it up."""
    store = begun(tmp_path)
    deaf = FaultyStore(store, [At(n, Refuse(), Call.SWAP) for n in range(1, 9)]).store
    with connect(NAME, deaf, create=True, background=False) as database:
        assert database.version
    create(NAME, deaf, if_not_exists=True).close()
    with pytest.raises(Exists):
        create(NAME, deaf)


def test_p3_a_request_that_never_arrived_is_sent_again(tmp_path: Path) -> None:
    store = begun(tmp_path)
    with opened(FaultyStore(store, [At(1, LoseRequest(), Call.SWAP)]).store, tmp_path) as database:
        insert(database, "a")
    check(store, tmp_path, ["a"])


@pytest.mark.parametrize("call", [Call.SWAP, Call.PUT, Call.DELETE])
def test_p2_upkeep_happens_once(call: Call, tmp_path: Path) -> None:
    """Merge, promotion and collection, each with every answer to one kind of call lost once."""
    store, old = begun(tmp_path, large=3), [f"old-{number}" for number in range(3)]
    for act in (lambda database: insert(database, "new", LARGE), Database.promote, _collect):
        with opened(FaultyStore(store, _lost(call)).store, tmp_path) as database:
            act(database)
            status = database.status()
            assert status.upkeep_error is None
            segments, tier = status.objects, status.tier
    assert (segments, tier) == (1, "object")
    check(store, tmp_path, ["new", *old])


def _collect(database: Database) -> None:
    database.change_settings({"history_days": 0})
    for _ in range(3):
        database.collect(grace_ms=0)


def later(faults: dict[int, Fault]) -> list[At]:
    """Faults of swaps, by their number."""
    return [At(n, fault, Call.SWAP) for n, fault in faults.items()]


def test_p2_a_lost_answer_that_others_overtook_is_found_in_the_ring(tmp_path: Path) -> None:
    """Before the writer looks, another one has committed on top of its success."""
    store = begun(tmp_path)
    rival = opened(store, tmp_path)

    class Overtaken:
        """Commits for the rival while the answer is on its way."""

        busy = False

        def __call__(self, seconds: float) -> None:
            if not self.busy:
                self.busy = True
                insert(rival, "rival")

    plan = [*later({1: LoseAnswer()}), At(2, Refuse(), Call.READ)]
    env = environment()
    waiting = type(env)(now_ms=env.now_ms, sleep=Overtaken())
    with opened(FaultyStore(store, plan).store, tmp_path, env=waiting) as database:
        insert(database, "a")
        insert(database, "b")
    rival.close()
    check(store, tmp_path, ["a", "b", "rival"])
