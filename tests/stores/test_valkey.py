"""The Valkey store passes the suite on a real server, costs the round trips that it should, and carries a database."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.certificate import certificate
from tests.servers.running import HOST
from tests.servers.tcp_proxy import Proxy, proxy
from tests.servers.valkey import ValkeyServer
from tests.stores.conformance import BlobsConformance, Conformance, RegisterConformance, at_once, generation_of
from tests.stores.local_worker import record_of
from tests.stores.valkey_calls import new_prefix, warmed
from virke.core.effects import Absent, Generation, Stored, Swapped, Tier, Unchanged
from virke.errors import Corrupt, Exists, Unavailable
from virke.opening import connect
from virke.stores.base import Call, Range, Store
from virke.stores.counted import CountingStore
from virke.stores.valkey.store import valkey_store

SQL = "INSERT INTO t (v) VALUES (?)"


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def url(valkey_server: ValkeyServer, prefix: str) -> str:
    return valkey_server.url(prefix)


@pytest.fixture
def way(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with proxy(valkey_server.port) as one:
        yield one


@pytest.fixture
def far(valkey_server: ValkeyServer, way: Proxy) -> Store:
    return warmed(valkey_server.url(new_prefix(), port=way.port))


class ValkeyConformance(Conformance):
    @pytest.fixture
    def store(self, valkey_server: ValkeyServer, url: str, prefix: str) -> Iterator[Store]:
        self.url = url
        with ExitStack() as stack:

            def losing_way() -> str:
                way = stack.enter_context(proxy(valkey_server.port))
                way.to_lose = math.inf
                return valkey_server.url(prefix, port=way.port)

            self.losing_way = losing_way
            yield valkey_store(url, kv_bytes_max=100_000)

    def reopened(self, store: Store) -> Store:
        return valkey_store(self.url)

    def losing(self, store: Store) -> Store:
        return valkey_store(self.losing_way())


class TestValkeyRegister(ValkeyConformance, RegisterConformance):
    pass


class TestValkeyBlobs(ValkeyConformance, BlobsConformance):
    tier = Tier.KV


# Keys


def test_an_object_of_many_is_found_by_prefix(url: str) -> None:
    """More objects than one step of a listing, stored at once, are listed once each, in order, and deleted at once."""
    blobs = valkey_store(url).blobs[Tier.KV]
    keys = [f"o/{n:04}" for n in range(2500)]
    assert blobs.put_all([(key, key.encode()) for key in keys]) == Stored()
    assert [(listed.key, listed.size_bytes) for listed in blobs.list("o/")] == [(key, 6) for key in keys]
    assert [listed.key for listed in blobs.list("o/20")] == keys[2000:2100]
    blobs.delete(keys)
    assert [*blobs.list("")] == []


@pytest.mark.parametrize("pattern", ["*", "?", "[a]", "[^z]", "[a-z]", "a*", "\\a", "a\\", "^a", "-", "ä", "\0"])
def test_a_prefix_is_no_pattern(url: str, pattern: str) -> None:
    """Characters that mean something in a glob stand for themselves; no key has them, so nothing is found."""
    store = valkey_store(url)
    store.register.swap("a", b"", None)
    store.blobs[Tier.KV].put_new("a", b"")
    assert [*store.register.keys(pattern)] == []
    assert [*store.blobs[Tier.KV].list(pattern)] == []


def test_prefixes_keep_stores_apart(valkey_server: ValkeyServer, prefix: str) -> None:
    """A store does not see one whose prefix begins with its own, nor one in another database of the server."""
    address = valkey_server.url(prefix)
    places = [address, address + "/r", address + "r", address.replace("/?", "/1?")]
    stores = [valkey_store(place) for place in places]
    for n, store in enumerate(stores):
        assert isinstance(store.register.swap("k", b"%d" % n, None), Swapped)
        assert store.blobs[Tier.KV].put_new("k", b"%d" % n) == Stored()
    for n, store in enumerate(stores):
        assert record_of(store, "k").data == b"%d" % n
        assert [*store.register.keys("")] == ["k"]
        assert [(listed.key, listed.size_bytes) for listed in store.blobs[Tier.KV].list("")] == [("k", 1)]


def test_ranges_of_what_is_missing_are_absent(url: str) -> None:
    """Whatever the range: the server answers an empty string, which is no empty object."""
    blobs = valkey_store(url).blobs[Tier.KV]
    blobs.put_new("empty", b"")
    ranges = [(0, None), (0, 0), (0, 1), (5, None), (1 << 70, 1 << 70)]
    assert blobs.get([Range("gone", *each) for each in ranges]) == [Absent()] * 5
    assert blobs.get([Range("empty", 0, None), Range("empty", 0, 0)]) == [b"", b""]
    with pytest.raises(Corrupt):
        blobs.get([Range("empty", 1 << 70, 1 << 70)])


def test_b2_many_objects_are_compared_with_those_that_are_there(url: str) -> None:
    """Of many, those that are there with equal bytes are `Stored`; one with other bytes raises `Exists`."""
    blobs = valkey_store(url).blobs[Tier.KV]
    blobs.put_new("b", b"2")
    assert blobs.put_all([("a", b"1"), ("b", b"2"), ("c", b"3"), ("c", b"3")]) == Stored()
    with pytest.raises(Exists, match="'c'"):
        blobs.put_all([("d", b"4"), ("c", b"!")])
    assert blobs.get([Range(key) for key in "abcd"]) == [b"1", b"2", b"3", b"4"]


def test_b3_an_object_that_comes_and_goes_is_whole_or_absent(url: str) -> None:
    """Readers of many ranges, beside threads that put and delete the object all the time, never see a part of it."""
    blobs = valkey_store(url).blobs[Tier.KV]
    data = bytes(range(256)) * 40
    ranges = [Range("k"), Range("k", 5, 10_000), Range("k", 10_239, 1), Range("k", 0, 0)]
    whole = [data, data[5:10_005], data[-1:], b""]

    def work(number: int) -> list[object]:
        if number < 4:
            for _ in range(40):
                blobs.put_new("k", data)
                blobs.delete(["k"])
            return []
        answers = [blobs.get(ranges) for _ in range(40)]
        return [got for each in answers for got, part in zip(each, whole, strict=True) if got not in (part, Absent())]

    assert at_once(work) == [[]] * 16


def test_tls_checks_who_answers(valkey_server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `valkeys://` the server needs a certificate for its name that we trust: `SSL_CERT_FILE` says whom."""
    context, trusted = certificate(HOST, tmp_path)
    with proxy(valkey_server.port, context) as way:
        url = valkey_server.url(new_prefix(), port=way.port).replace("valkey://", "valkeys://")
        with pytest.raises(Unavailable, match="certificate"):
            valkey_store(url).register.read("k")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        store = valkey_store(url)
        assert isinstance(store.register.swap("k", b"x" * 100_000, None), Swapped)
        assert record_of(store, "k").data == b"x" * 100_000
        with pytest.raises(Unavailable, match="certificate"):
            valkey_store(url.replace(HOST, "localhost")).register.read("k")


# Round trips


def test_a_call_is_one_round_trip(far: Store, way: Proxy) -> None:
    """Reads, swaps, puts and gets of many objects, removals and deletions; two for an object that was there."""
    register, blobs = far.register, far.blobs[Tier.KV]
    many = [(f"o/{n}", b"x" * n) for n in range(20)]
    ranges = [Range(key, 0, len(data)) for key, data in many]
    calls: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: register.read("k")),
        (1, lambda: register.swap("k", b"1", None)),
        (1, lambda: register.swap("k", b"2", None)),
        (1, lambda: register.read("k", Generation("other"))),
        (1, lambda: blobs.put_new("one", b"x" * 20_000)),
        (2, lambda: blobs.put_new("one", b"x" * 20_000)),
        (1, lambda: blobs.put_all(many)),
        (1, lambda: blobs.get(ranges)),
        (1, lambda: blobs.delete([key for key, _ in many])),
        (0, lambda: blobs.get([])),
        (0, lambda: blobs.put_all([])),
        (0, lambda: blobs.delete([])),
    ]
    for n, (expected, call) in enumerate(calls):
        before = way.round_trips
        call()
        assert (n, way.round_trips - before) == (n, expected)


def test_r6_an_unchanged_record_is_not_moved(far: Store, way: Proxy) -> None:
    """`read(known=…)` costs one round trip and a few bytes, however large the record is."""
    register = far.register
    register.swap("k", b"x" * 500_000, None)
    known = generation_of(register, "k")
    before = way.round_trips, way.bytes_down
    assert register.read("k", known) == Unchanged()
    assert way.round_trips - before[0] == 1
    assert way.bytes_down - before[1] < 100


# Races


def count_to(url: str, times: int) -> list[int]:
    """In a process of its own: add one to `counter`, as often as asked; answers the numbers that it reached."""
    store, reached = valkey_store(url), list[int]()
    while len(reached) < times:
        record = record_of(store, "counter")
        value = int(record.data) + 1
        if isinstance(store.register.swap("counter", b"%d" % value, record.generation), Swapped):
            reached.append(value)
    return reached


def test_r5_processes_count_without_loss(url: str) -> None:
    """Four processes add to one counter by compare-and-swap: every number was reached by one of them."""
    store = valkey_store(url)
    store.register.swap("counter", b"0", None)
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as processes:
        reached = [*processes.map(count_to, [url] * 4, [50] * 4)]
    assert sorted(number for numbers in reached for number in numbers) == list(range(1, 201))
    assert record_of(store, "counter").data == b"200"


# A database


def test_b1_a_small_commit_is_one_round_trip(far: Store, way: Proxy, tmp_path: Path) -> None:
    """Three hundred commits swap the register three hundred times (and a few more to pack it), and read it never."""
    counting = CountingStore(far)
    with connect("shop", counting.store, create=True, state_dir=tmp_path, background=False) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        counting.reset()
        before = way.round_trips
        for n in range(300):
            database.execute(SQL, (n,))
        assert 300 <= counting.of(Call.SWAP).requests <= 303
        assert counting.of(Call.READ).requests == 0
        assert way.round_trips - before == counting.total.requests <= 330
    with connect("shop", far, state_dir=tmp_path) as again:
        assert again.query("SELECT count(*), sum(v) FROM t").rows == [(300, 44850)]


def test_sixteen_threads_of_two_nodes_write_one_database(url: str, tmp_path: Path) -> None:
    """Each row that was answered is there once."""
    with connect("shop", valkey_store(url), create=True, state_dir=tmp_path / "a") as database:
        database.change_settings({"max_attempts": 1000})
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE)")
    first, second = (connect("shop", valkey_store(url), state_dir=tmp_path / n) for n in "ab")
    with first, second:
        at_once(lambda n: [(first, second)[n % 2].execute(SQL, (n * 100 + step,)) for step in range(10)])
    with connect("shop", valkey_store(url), state_dir=tmp_path) as again:
        assert again.query("SELECT count(*), count(DISTINCT v) FROM t").rows == [(160, 160)]
