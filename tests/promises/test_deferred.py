"""Deferred durability: answered when the journal has it, pushed later, and what is kept of a request meanwhile."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, Ledger, insert, opened, settled, tokens
from virke.engine.environment import Environment
from virke.errors import SqlError, VirkeError
from virke.journal import Flusher
from virke.opening import connect
from virke.stores.base import Store
from virke.stores.counted import CountingStore

FLUSHER: Final = "virke-flush"


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def test_p9_a_write_is_answered_without_a_request(store: Store, tmp_path: Path) -> None:
    counting = CountingStore(store)
    with opened(counting.store, tmp_path) as database:
        insert(database, "warm")
        counting.reset()
        insert(database, "a")
        database.batch([("INSERT INTO entry VALUES (?, NULL)", (token,)) for token in "bc"])
        assert counting.total.requests == 0
        assert database.status().pending_writes == 3


def test_p4_own_reads_see_what_is_pending_and_others_do_not(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "a")
        assert (tokens(database), settled(store, tmp_path)) == (["a"], [])
        database.execute("UPDATE entry SET token = 'b'")
        assert tokens(database) == ["b"]


def test_p1_flush_pushes_everything_in_one_commit_and_counts(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        version = database.version
        for token in "abc":
            insert(database, token)
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected, flushed.version) == (3, 0, version + 1)
        again = database.flush()
        assert (again.pushed, again.rejected, again.version) == (0, 0, version + 1)
        assert (tokens(database), database.status().pending_writes) == (["a", "b", "c"], 0)
    assert settled(store, tmp_path) == ["a", "b", "c"]


def test_p1_close_pushes_and_close_without_push_leaves_it(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path).close()
    left = opened(store, tmp_path)
    insert(left, "a")
    left.close(push=False)
    assert settled(store, tmp_path) == []
    with opened(store, tmp_path) as database:
        assert (tokens(database), database.status().pending_writes) == (["a"], 1)
    assert settled(store, tmp_path) == ["a"]


def flushers() -> list[threading.Thread]:
    """The threads that push."""
    return [thread for thread in threading.enumerate() if thread.name == FLUSHER]


class Watch:
    """The store, and an event for when its root was swapped."""

    def __init__(self, inner: Store) -> None:
        self.swapped = threading.Event()
        self._inner = inner
        self.store = Store(inner.url, self, inner.blobs)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner.register, name)

    def swap(self, key: str, data: bytes, base: object) -> object:
        """Pass on, then tell."""
        outcome = self._inner.register.swap(key, data, base)  # type: ignore[arg-type]
        self.swapped.set()
        return outcome


def test_p9_the_flusher_pushes_in_time_and_its_thread_ends(store: Store, tmp_path: Path) -> None:
    watch = Watch(store)
    with connect(NAME, watch.store, state_dir=tmp_path) as database:
        for token in "abc":
            assert flushers() == []
            insert(database, token)
            for thread in flushers():
                thread.join(30)
            assert watch.swapped.wait(30)
            watch.swapped.clear()
            assert database.status().pending_writes == 0
    assert (flushers(), settled(store, tmp_path)) == ([], ["a", "b", "c"])


def test_p9_a_write_that_comes_while_the_flusher_ends_is_pushed(tmp_path: Path) -> None:
    """It is woken after the last count and before its thread is gone: it must not sleep through that."""
    flusher, again, calls = Flusher(), threading.Event(), list[int]()

    def flush() -> int:
        calls.append(1)
        if len(calls) == 1:
            flusher.wake()
        else:
            again.set()
        return 0

    flusher.start(flush, lambda: 0.001)
    flusher.wake()
    assert again.wait(30)
    flusher.stop()
    assert flushers() == []


def test_p1_what_a_dead_process_left_is_pushed_at_the_next_start(store: Store, tmp_path: Path) -> None:
    """At once, whatever the interval."""
    with opened(store, tmp_path) as database:
        database.change_settings({"flush_interval_ms": 3_600_000})
        insert(database, "a")
        database.close(push=False)
    watch = Watch(store)
    database = connect(NAME, watch.store, state_dir=tmp_path)
    assert watch.swapped.wait(30)
    for thread in flushers():
        thread.join(30)
    assert settled(store, tmp_path) == ["a"]
    database.close(push=False)


def test_p1_writers_flushers_and_readers_do_not_wait_for_each_other_for_ever(store: Store, tmp_path: Path) -> None:
    """Threads write and read while the background pushes every millisecond; nothing is lost or doubled."""
    ledger, failures = Ledger(), list[VirkeError]()
    with connect(NAME, store, state_dir=tmp_path) as database:

        def work(name: str) -> None:
            try:
                for number in range(40):
                    insert(database, f"{name}-{number}")
                    assert (f"{name}-{number}",) in database.query("SELECT token FROM entry").rows
            except VirkeError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        database.flush()
    assert failures == []
    ledger.kept = {f"{name}-{number}" for name in "abcd" for number in range(40)}
    with opened(store, tmp_path) as database:
        assert ledger.check(database) == ledger.kept


# What can't be applied any more


def test_p1_what_another_node_made_impossible_is_kept_as_rejected(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        insert(database, "a")
        database.execute("INSERT INTO person VALUES ('Ada')")
        database.execute("INSERT INTO person VALUES (?)", ("Bob",))
        insert(database, "b")
        other.execute("INSERT INTO person VALUES ('Ada')")
        other.flush()
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (3, 1)
        [rejected] = database.status().rejected_writes
        assert rejected.sql == "INSERT INTO person VALUES ('Ada')"
        assert "UNIQUE constraint failed: person.name" in rejected.reason
        assert database.query("SELECT name FROM person").rows == [("Ada",), ("Bob",)]
        other.execute("DROP TABLE person")
        database.execute("INSERT INTO person VALUES ('Cleo')")
        other.flush()
        assert database.flush().rejected == 1
    with opened(store, tmp_path) as database:
        assert [write.reason[:13] for write in database.status().rejected_writes] == ["UNIQUE constr", "no such table"]
        assert database.status().pending_writes == 0
    assert settled(store, tmp_path) == ["a", "b"]


def test_p6_a_rejected_batch_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        database.batch(["INSERT INTO entry VALUES ('a', NULL)", "INSERT INTO person VALUES ('Ada')"])
        insert(database, "b")
        other.execute("INSERT INTO person VALUES ('Ada')")
        other.flush()
        assert (database.flush().rejected, tokens(database)) == (1, ["b"])
        [rejected] = database.status().rejected_writes
        assert rejected.sql == "INSERT INTO entry VALUES ('a', NULL); INSERT INTO person VALUES ('Ada')"


def test_p3_an_error_is_answered_and_nothing_is_journalled(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.execute("INSERT INTO person VALUES ('Ada')")
        for _ in range(2):
            with pytest.raises(SqlError, match="UNIQUE"):
                database.execute("INSERT INTO person VALUES ('Ada')")
        assert database.status().pending_writes == 1


# What is kept of a request


def test_f20_the_instant_of_the_request_is_kept(store: Store, tmp_path: Path) -> None:
    now = [1_700_000_000_000]
    env = Environment(now_ms=lambda: now[0], sleep=lambda seconds: None)
    with opened(store, tmp_path, env=env) as database:
        database.execute("INSERT INTO entry VALUES (unixepoch(), NULL)")
        now[0] += 3_600_000
        database.flush()
    assert settled(store, tmp_path) == ["1700000000"]


VALUES: Final = [
    None,
    True,
    -(1 << 63),
    (1 << 63) - 1,
    0.1,
    -0.0,
    math.inf,
    -math.inf,
    5e-324,
    "a\0b",
    "é\n'\"",
    b"\0\xff",
    b"",
]


def test_p1_parameters_of_all_types_come_back(store: Store, tmp_path: Path) -> None:
    columns = ", ".join(f"c{number}" for number in range(len(VALUES)))
    with opened(store, tmp_path) as database:
        database.execute(f"CREATE TABLE value ({columns})")
        database.execute(f"INSERT INTO value VALUES ({', '.join('?' * len(VALUES))})", VALUES)
        before = database.query("SELECT * FROM value").rows
        database.close(push=False)
    with opened(store, tmp_path) as database:
        database.flush()
        assert repr(database.query("SELECT * FROM value", consistency="strong").rows) == repr(before)
        assert repr(before) == repr([tuple(int(v) if v is True else v for v in VALUES)])


def test_p1_named_parameters_nan_and_bytes_like_come_back(store: Store, tmp_path: Path) -> None:
    """NaN is NULL to SQLite, now as later."""
    with opened(store, tmp_path) as database:
        database.execute("INSERT INTO entry VALUES (:bytes, @named)", {"bytes": "x", "named": bytearray(b"\0y")})
        database.executemany("INSERT INTO entry VALUES (?, ?)", [("m", math.nan), ("n", memoryview(b"z"))])
        database.close(push=False)
    with opened(store, tmp_path) as database:
        database.flush()
    with opened(store, tmp_path / "other") as other:
        rows = other.query("SELECT token, filler FROM entry ORDER BY rowid").rows
    assert rows == [("x", b"\0y"), ("m", None), ("n", b"z")]
