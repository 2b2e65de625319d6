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
from virke.core.root import RING_LENGTH
from virke.engine.database import Database
from virke.errors import OutcomeUnknown, SqlError
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


def test_p2_a_key_is_remembered_for_as_many_commits_as_the_ring_is_long(store: Store, tmp_path: Path) -> None:
    """Documented: after `RING_LENGTH` more commits the key is forgotten, and means a new request."""
    with opened(store, tmp_path) as database:
        database.execute(TWO, idempotency_key="k")
        for number in range(RING_LENGTH - 1):
            insert(database, str(number))
        database.execute(TWO, idempotency_key="k")
        assert count(database) == 2 + RING_LENGTH - 1
        insert(database, "one more")
        database.execute(TWO, idempotency_key="k")
        assert count(database) == 4 + RING_LENGTH


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
