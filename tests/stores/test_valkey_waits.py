"""With `wait_replicas` and `wait_aof` nothing is answered that could still vanish; without them, what the server promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.tcp_proxy import proxy
from tests.servers.valkey import ValkeyServer, replica_of, valkey
from tests.stores.conformance import generation_of
from tests.stores.local_worker import record_of
from virke.core.effects import Absent, Generation, Lost, Mismatch, Stored, Swapped, Tier, Unchanged
from virke.errors import OutcomeUnknown, Unavailable
from virke.opening import connect
from virke.stores.base import Range, Store
from virke.stores.valkey.store import valkey_store

T = TypeVar("T")
LOG = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def alone() -> Iterator[ValkeyServer]:
    """A server without replicas and without a log."""
    with valkey() as server:
        yield server


@pytest.fixture(params=["wait_replicas=1", "wait_aof=1"], ids=["replicas", "aof"])
def unheard(alone: ValkeyServer, request: pytest.FixtureRequest) -> Store:
    """A store that waits for what its server has not."""
    alone.tell("FLUSHALL")
    option: str = request.param
    return valkey_store(f"{alone.url(wait_ms=1)}&{option}")


def test_a_write_that_nobody_acknowledged_is_lost(alone: ValkeyServer, unheard: Store) -> None:
    """Swap, put and remove were applied, as a store that does not wait shows, but they may still vanish."""
    plain = valkey_store(alone.url())
    assert isinstance(unheard.register.swap("k", b"1", None), Lost)
    assert isinstance(unheard.blobs[Tier.KV].put_new("o", b"1"), Lost)
    assert record_of(plain, "k").data == b"1"
    assert plain.blobs[Tier.KV].get([Range("o")]) == [b"1"]
    assert isinstance(unheard.register.remove("k", generation_of(plain.register, "k")), Lost)
    assert plain.register.read("k") == Absent()


def test_the_reason_is_told(alone: ValkeyServer) -> None:
    """How many had it, or that the server has no log to wait for."""
    for option, reason in {"wait_replicas": "0 of 1 replicas", "wait_aof": "appendonly is disabled"}.items():
        outcome = valkey_store(f"{alone.url(wait_ms=1)}&{option}=1").register.swap(option, b"", None)
        assert isinstance(outcome, Lost)
        assert reason in outcome.reason


def test_what_nobody_acknowledged_is_not_read(alone: ValkeyServer, unheard: Store) -> None:
    """A record that could vanish raises `Unavailable`, as does its absence; one that is known already is `Unchanged`."""
    plain = valkey_store(alone.url()).register
    plain.swap("k", b"1", None)
    known = generation_of(plain, "k")
    for key, base in (("k", None), ("k", Generation("other")), ("gone", None), ("gone", known)):
        with pytest.raises(Unavailable, match="may still change back"):
            unheard.register.read(key, base)
    assert unheard.register.read("k", known) == Unchanged()


def test_putting_again_is_not_stored_before_it_is_acknowledged(unheard: Store) -> None:
    """The object is there with equal bytes, but may still vanish."""
    for _ in range(2):
        assert isinstance(unheard.blobs[Tier.KV].put_all([("a", b"1"), ("b", b"2")]), Lost)


def test_a_commit_that_nobody_acknowledged_is_unknown(tmp_path: Path) -> None:
    """While there is a replica, commits are answered; when it is gone, the commit protocol can't be fooled by a read."""
    with ExitStack() as stack:
        primary = stack.enter_context(valkey())
        replica = stack.enter_context(ExitStack())
        replica.enter_context(replica_of(primary))
        patient = valkey_store(primary.url(wait_replicas=1, wait_ms=9000))
        hasty = valkey_store(primary.url(wait_replicas=1, wait_ms=10))
        with connect("shop", patient, create=True, state_dir=tmp_path) as database:
            database.execute("CREATE TABLE t (v)")
        again = stack.enter_context(connect("shop", hasty, state_dir=tmp_path))
        assert repeated(lambda: again.query("SELECT count(*) FROM t").rows) == [(0,)]
        replica.close()
        with pytest.raises(OutcomeUnknown):
            again.execute("INSERT INTO t VALUES (1)")


def repeated(call: Callable[[], T]) -> T:
    """What `call` answers, in the end: a replica may be late for one that is hasty."""
    while True:
        with suppress(Unavailable):
            return call()


def test_what_a_replica_acknowledged_is_there(tmp_path: Path) -> None:
    """Every call of a store that waits works in one round trip, and the replica has what was answered."""
    with valkey() as primary, replica_of(primary) as replica, proxy(primary.port) as way:
        store = valkey_store(primary.url(port=way.port, wait_replicas=1, wait_ms=9000))
        register, blobs = store.register, store.blobs[Tier.KV]
        assert register.read("k") == Absent()
        first = register.swap("k", b"1", None)
        before = way.round_trips
        assert isinstance(first, Swapped)
        assert first.generation is not None
        second = register.swap("k", b"2", first.generation)
        assert isinstance(second, Swapped)
        assert replica.tell("HGET", "virke:r:k", "d") == b"2"
        assert blobs.put_all([("a", b"1"), ("b", b"2")]) == Stored()
        assert replica.tell("STRLEN", "virke:b:b") == 9
        assert record_of(store, "k").data == b"2"
        assert register.read("k", second.generation) == Unchanged()
        assert register.swap("k", b"3", first.generation) == Mismatch()
        assert way.round_trips - before == 5
        assert blobs.put_new("a", b"1") == Stored()
        assert register.read("k", first.generation) == register.read("k")
        assert way.round_trips - before == 10
        assert register.remove("k", generation_of(register, "k")) == Swapped(None)
        assert replica.tell("EXISTS", "virke:r:k") == 0


def test_p1_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """Killed amid swaps of four threads and started again, a server that logs each write has all that was `Swapped`."""
    arguments = ("--dir", str(tmp_path), *LOG)
    with valkey(*arguments) as server:
        store = valkey_store(server.url(wait_aof=1, wait_ms=9000))
        answered = dict.fromkeys("abcd", 0)
        for name in answered:
            assert isinstance(store.register.swap(name, b"0", None), Swapped)
        under_way = threading.Semaphore(0)

        def swap_until_killed(name: str) -> None:
            base: Generation | None = generation_of(store.register, name)
            with suppress(Unavailable):
                while isinstance(outcome := store.register.swap(name, b"%d" % (answered[name] + 1), base), Swapped):
                    answered[name], base = answered[name] + 1, outcome.generation
                    under_way.release()
            under_way.release(100)

        threads = [threading.Thread(target=swap_until_killed, args=(name,)) for name in answered]
        for thread in threads:
            thread.start()
        for _ in range(100):
            under_way.acquire()
    for thread in threads:
        thread.join()
    assert sum(answered.values()) >= 100
    with valkey(*arguments, port=server.port):
        for name, last in answered.items():
            assert int(record_of(store, name).data) in (last, last + 1)
        assert isinstance(store.register.swap("a", b"", generation_of(store.register, "a")), Swapped)


def test_a_log_that_is_never_synced_acknowledges_nothing() -> None:
    """With `appendfsync no` the server does not know when a write is on the disk."""
    with valkey("--appendonly", "yes", "--appendfsync", "no") as server:
        outcome = valkey_store(server.url(wait_aof=1, wait_ms=50)).register.swap("k", b"1", None)
        assert isinstance(outcome, Lost)
        assert "not on the disk" in outcome.reason


def test_wait_aof_works_with_a_log_that_is_synced_each_second() -> None:
    """The answer comes when the second is over, or what was written before is on the disk already."""
    with valkey("--appendonly", "yes", "--appendfsync", "everysec") as server:
        store = valkey_store(server.url(wait_aof=1, wait_ms=9000))
        assert isinstance(store.register.swap("k", b"1", None), Swapped)
        assert record_of(store, "k").data == b"1"
