"""Idempotency keys: a request that is sent again gets its first answer and is applied once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, SOURCE, TABLE, insert, opened
from virke.core.ring import RING_LENGTH
from virke.engine import keyed
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.keyed import KEPT_MS
from virke.engine.programs import Program, Step, hash_key
from virke.engine.queue import Pending
from virke.errors import Invalid, OutcomeUnknown, SqlError
from virke.opening import connect
from virke.stores.base import Call, Store
from virke.stores.faulty import At, FaultyStore, LoseAnswer, Refuse
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

TWO: Final = "INSERT INTO entry SELECT 'x', NULL FROM (VALUES (1), (2))"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the database of the tests."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
    return store


def count(database: Database) -> int:
    """How many rows there are now."""
    return int(str(database.query("SELECT count(*) FROM entry", consistency="strong").rows[0][0]))


def test_p2_the_same_key_is_applied_once(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        assert [database.execute(TWO, idempotency_key="k") for _ in range(3)] == [2, 2, 2]
        assert database.execute(TWO, idempotency_key="other") == 2
        assert count(database) == 4


def test_p2_another_connection_gets_the_first_answer(store: Store, tmp_path: Path) -> None:
    """Also one whose root is older than the first request."""
    with opened(store, tmp_path) as one, opened(store, tmp_path) as two:
        assert one.execute(TWO, idempotency_key="k") == 2
        assert two.execute(TWO, idempotency_key="k") == 2
        assert count(two) == 2


@pytest.mark.parametrize("window_ms", [0, 50])
def test_p2_the_same_key_at_once_is_applied_once(window_ms: int, store: Store, tmp_path: Path) -> None:
    """Threads send it together, so that it meets itself in one group commit, or in the next."""
    with opened(store, tmp_path) as database:
        database.change_settings({"commit_window_ms": window_ms})
        gate = threading.Barrier(8)

        def send(number: int) -> int:
            gate.wait(30)
            return database.execute(TWO, idempotency_key=f"k{number % 2}")

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(send, range(8))) == [2] * 8
        assert count(database) == 4


def test_p2_the_same_key_waiting_in_one_group_is_applied_once(tmp_path: Path) -> None:
    """While the first commit is in flight, all others queue up behind it; they are one group for sure."""
    inner, arrived, go = memory_store(), threading.Event(), threading.Event()
    with opened(inner, tmp_path, create=True) as database:
        database.execute(TABLE)
    swap = inner.register.swap

    class Register:
        """The register, its first swap held back."""

        def __getattr__(self, name: str) -> object:
            return getattr(inner.register, name)

        def swap(self, key: str, data: bytes, base: object) -> object:
            if not arrived.is_set():
                arrived.set()
                assert go.wait(30)
            return swap(key, data, base)  # type: ignore[arg-type]

    slow = Store(inner.url, Register(), inner.blobs)  # type: ignore[arg-type]
    with opened(slow, tmp_path) as database, ThreadPoolExecutor(7) as threads:
        first = threads.submit(insert, database, "first")
        assert arrived.wait(30)
        rest = [threads.submit(database.execute, TWO, idempotency_key="k") for _ in range(6)]
        go.set()
        first.result(30)
        assert [one.result(30) for one in rest] == [2] * 6
        assert count(database) == 3


def test_p2_a_key_is_known_after_a_lost_reply(store: Store, tmp_path: Path) -> None:
    """Nobody could prove the outcome; the client asks again with its key, here of another node."""
    silent = [At(n, LoseAnswer(), Call.SWAP) for n in range(1, 99)] + [At(n, Refuse(), Call.READ) for n in range(2, 99)]
    database = opened(FaultyStore(store, silent).store, tmp_path)
    with pytest.raises(OutcomeUnknown):
        database.execute(TWO, idempotency_key="k")
    database.close()
    with opened(store, tmp_path) as other:
        assert other.execute(TWO, idempotency_key="k") == 2
        assert count(other) == 2


def test_p2_a_batch_with_a_key_is_applied_once(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        for _ in range(3):
            results = database.batch([TWO, (TWO, ())], idempotency_key="k")
            assert sum(result.rows_affected for result in results) == 4
        for _ in range(2):
            assert database.run_script(f"{TWO}; {TWO}", idempotency_key="script").rows_affected == 4
            assert (
                database.executemany("INSERT INTO entry VALUES (?, 1)", [("a",), ("b",)], idempotency_key="many") == 2
            )
        assert count(database) == 10


def test_p2_a_transaction_with_a_key_is_applied_once(store: Store, tmp_path: Path) -> None:
    """The second one is dropped at its commit, and answered with the version of the first."""
    versions = []
    with opened(store, tmp_path) as database:
        for _ in range(3):
            with database.transaction(idempotency_key="k") as transaction:
                transaction.execute(TWO)
                versions.append(transaction.commit())
            insert(database, "between")
        assert versions == versions[:1] * 3
        assert count(database) == 2 + 3


def test_p3_a_key_of_a_failed_request_is_free(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        with pytest.raises(SqlError):
            database.execute("INSERT INTO entry VALUES (NULL, 1)", idempotency_key="k")
        assert database.execute(TWO, idempotency_key="k") == 2
        assert count(database) == 2


def test_p2_a_key_is_remembered_for_a_day_whatever_was_committed_since(tmp_path: Path) -> None:
    """After a day it means a new request; by then later keyed writes have removed the old answers."""
    now_ms, store = [1_700_000_000_000], memory_store()
    environment = Environment(now_ms=lambda: now_ms[0])
    with connect(NAME, store, create=True, background=False, environment=environment) as database:
        database.execute(TABLE)
        database.execute(TWO, idempotency_key="k")
        for number in range(RING_LENGTH + 1):
            insert(database, str(number))
        now_ms[0] += KEPT_MS - 1
        database.execute(TWO, idempotency_key="k")
        assert count(database) == 2 + RING_LENGTH + 1
        now_ms[0] += 1
        database.execute(TWO, idempotency_key="k")
        assert count(database) == 4 + RING_LENGTH + 1
        for number in range(20):
            now_ms[0] += KEPT_MS
            database.execute("SELECT 1", idempotency_key=f"later {number}")
        assert database.query(f"SELECT count(*) FROM {keyed.TABLE}").rows == [(1,)]


def test_p2_a_repeated_request_is_answered_as_the_first_time(store: Store, tmp_path: Path) -> None:
    """Rows, columns and rowid, values of every type; a large answer as the fact and the rows affected."""
    values = (None, 7, 1 << 60, 1.5, float("inf"), "text", b"\x00\xff")
    sql = "INSERT INTO wide VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *"
    with opened(store, tmp_path) as database:
        database.execute("CREATE TABLE wide (a, b, c, d, e, f, g)")
        first = database.run(sql, values, idempotency_key="k")
        with opened(store, tmp_path) as other:
            again = other.run(sql, values, idempotency_key="k")
        assert again.rows == first.rows == [values]
        assert (again.columns, again.rows_affected, again.last_insert_rowid) == (list("abcdefg"), 1, 1)
        large = "INSERT INTO wide (a) VALUES (zeroblob(?)) RETURNING a"
        assert len(database.run(large, (20_000,), idempotency_key="large").rows) == 1
        assert database.run(large, (20_000,), idempotency_key="large").rows == []
        assert database.run(large, (20_000,), idempotency_key="large").rows_affected == 1
        assert database.query("SELECT count(*) FROM wide").rows == [(2,)]


@pytest.mark.parametrize(
    ("sql", "params"), [("INSERT INTO entry VALUES (?, 2)", ("a",)), ("INSERT INTO entry VALUES (?, 1)", ("b",))]
)
def test_p2_a_key_that_comes_with_another_request_is_refused(
    sql: str, params: tuple[str], store: Store, tmp_path: Path
) -> None:
    """Another statement or other parameters: the first answer would be a lie, and running it a double use."""
    with opened(store, tmp_path) as database:
        database.execute("INSERT INTO entry VALUES (?, 1)", ("a",), idempotency_key="k")
        with pytest.raises(Invalid, match="idempotency key"):
            database.execute(sql, params, idempotency_key="k")
        assert count(database) == 1


def test_p2_a_keyed_request_that_failed_in_a_group_is_run_when_it_comes_again(tmp_path: Path) -> None:
    """A failed request leaves no answer, though others of its commit are in history."""
    now_ms = Environment().now_ms()  # an answer that is kept wrongly would be young enough to be given
    with opened(memory_store(), tmp_path, create=True) as database:
        database.execute("CREATE TABLE t (n UNIQUE)")
        database.execute("INSERT INTO t VALUES (1)")
        failing = ("INSERT INTO t VALUES (1)", "k")
        writes = [
            Pending(Program((Step(sql),), now_ms, key=hash_key(key) if key else None))
            for sql, key in (("INSERT INTO t VALUES (2)", ""), failing, ("INSERT INTO t VALUES (3)", "other"))
        ]
        with database._committing.lead:
            database._writer.commit(writes)
        assert [type(write.error) for write in writes] == [type(None), SqlError, type(None)]
        database.execute("DELETE FROM t WHERE n = 1")
        assert database.execute(failing[0], idempotency_key="k") == 1
        assert database.query("SELECT n FROM t ORDER BY n").rows == [(1,), (2,), (3,)]


def test_the_table_of_keyed_requests_is_made_by_the_first_one_and_not_shown(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        before = database.query("SELECT count(*) FROM sqlite_schema").rows
        insert(database, "without a key")
        assert database.query("SELECT count(*) FROM sqlite_schema").rows == before
        database.execute(TWO, idempotency_key="k")
        assert database.query(f"SELECT count(*) FROM {keyed.TABLE}").rows == [(1,)]
        assert [entry.name for entry in database.schema()] == ["entry"]


def test_p2_the_same_key_from_two_processes_is_applied_once(tmp_path: Path) -> None:
    with connect(NAME, local_store(tmp_path), create=True, background=False) as database:
        database.execute(TABLE)
    work = (
        "import sys; from virke.opening import connect\n"
        "with connect('ledger', sys.argv[1]) as db:\n"
        "    print(sum(db.execute(sys.argv[2], idempotency_key=str(n)) for n in range(20)))\n"
    )
    env = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", work, str(tmp_path), TWO]
    workers = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [worker.communicate(timeout=120)[0].strip() for worker in workers] == ["40"] * 3
    with connect(NAME, local_store(tmp_path), background=False) as database:
        assert count(database) == 40


def test_p2_a_key_that_is_used_again_after_its_day_is_remembered_for_another(tmp_path: Path) -> None:
    """Though older answers than its own have to be removed first."""
    now_ms = [1_700_000_000_000]
    environment = Environment(now_ms=lambda: now_ms[0])
    with connect(NAME, memory_store(), create=True, background=False, environment=environment) as database:
        database.execute(TABLE)
        for number in range(3 * keyed.TRIMMED_AT_ONCE):
            database.execute("SELECT 1", idempotency_key=f"older {number}")
        database.execute(TWO, idempotency_key="k")
        now_ms[0] += KEPT_MS
        assert [database.execute(TWO, idempotency_key="k") for _ in range(3)] == [2, 2, 2]
        assert count(database) == 4
