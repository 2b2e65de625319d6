"""What the Valkey store says when its server, or the way to it, fails: `Lost` if it may have been done, and only then."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.servers.tcp_proxy import Proxy, proxy
from tests.servers.valkey import ValkeyServer, replica_of, valkey
from tests.stores.conformance import at_once, generation_of
from tests.stores.local_worker import record_of
from tests.stores.valkey_calls import check_empty, new_prefix, reads_of, warmed, writes_of
from virke.core.effects import Absent, Generation, Lost, Mismatch, Record, Stored, Swapped, Tier
from virke.errors import Corrupt, Denied, Unavailable, UsageError
from virke.opening import connect
from virke.stores.base import Range, Store
from virke.stores.valkey.store import valkey_store

pytestmark = pytest.mark.once

GUIDE = Path(__file__).parents[2] / "docs" / "stores" / "valkey.md"
LOG = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def way(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with proxy(valkey_server.port) as one:
        yield one


@pytest.fixture
def far(valkey_server: ValkeyServer, way: Proxy) -> Store:
    return warmed(valkey_server.url(new_prefix(), port=way.port))


@pytest.fixture(scope="module")
def other_server() -> Iterator[ValkeyServer]:
    """A server whose settings may be changed."""
    with valkey() as server:
        yield server


@pytest.fixture
def other(other_server: ValkeyServer) -> Store:
    other_server.tell("FLUSHALL")
    return valkey_store(other_server.url(timeout_s=5))


# A server that fails


def test_nobody_there_is_unavailable(valkey_server: ValkeyServer) -> None:
    """No call, not even a write, can be `Lost` if there was no connection."""
    with proxy(valkey_server.port) as way:
        store = valkey_store(valkey_server.url(port=way.port))
    for call in writes_of(store) + reads_of(store):
        with pytest.raises(Unavailable):
            call()


def test_no_host_is_unavailable() -> None:
    """Nor if the name can't be one of a host."""
    for host in ("a..b", "x" * 64):
        with pytest.raises(Unavailable):
            valkey_store(f"valkey://{host}").register.read("k")


def test_a_server_that_ends_is_unavailable_until_it_is_back() -> None:
    """All calls on old connections raise `Unavailable`, and work again when a server listens on the port again."""
    with valkey() as server:
        store = valkey_store(server.url())
        at_once(lambda _: store.register.read("k"))
    for call in writes_of(store) + reads_of(store):
        with pytest.raises(Unavailable):
            call()
    with valkey(port=server.port):
        check_empty(store)
        for call in writes_of(store) + reads_of(store):
            assert isinstance(call(), Swapped | Mismatch | Stored | Record | list | None)


def test_connections_that_were_closed_are_replaced(far: Store, way: Proxy) -> None:
    """A server that hangs up on idle clients costs neither an error nor a `Lost`."""
    for n in range(3):
        at_once(lambda _: far.register.read("k"), 4)
        way.hang_up()
        assert isinstance(far.register.swap(f"k/{n}", b"", None), Swapped)


def test_r10_a_lost_answer_is_lost_on_an_old_connection(far: Store, way: Proxy) -> None:
    """What was carried out before its answer got lost is `Lost`, and can be found and repeated."""
    way.to_lose = math.inf
    assert isinstance(far.register.swap("k", b"1", None), Lost)
    assert isinstance(far.blobs[Tier.KV].put_all([("a", b"1"), ("b", b"2")]), Lost)
    with pytest.raises(Unavailable, match="no answer"):
        far.blobs[Tier.KV].delete(["a"])
    way.to_lose = 0
    assert record_of(far, "k").data == b"1"
    assert far.register.swap("k", b"1", None) == Mismatch()
    assert far.blobs[Tier.KV].put_all([("a", b"1"), ("b", b"2")]) == Stored()


def test_r10_a_server_that_is_silent_is_lost(other_server: ValkeyServer) -> None:
    """A write that is not answered in `timeout_s` is `Lost`, a read `Unavailable`; then all goes on."""
    store = valkey_store(other_server.url("silent", timeout_s="0.1"))
    store.register.read("k")
    other_server.tell("CLIENT PAUSE", 60_000, "WRITE")
    assert [isinstance(call(), Lost) for call in writes_of(store)] == [True] * 4
    with pytest.raises(Unavailable, match="no answer"):
        store.register.read("k")
    other_server.tell("CLIENT UNPAUSE")
    assert isinstance(store.register.read("k"), Record | Absent)


@pytest.mark.parametrize(("setting", "removing"), [("maxmemory", False), ("min_replicas_to_write", True)])
def test_a_refused_write_is_unavailable(other_server: ValkeyServer, other: Store, setting: str, removing: bool) -> None:
    """Memory full (which lets one remove) or too few replicas: nothing is `Lost`, nothing there, and reads go on."""
    other.register.swap("old", b"1", None)
    known = generation_of(other.register, "old")
    swap, remove, *puts = writes_of(other, known)
    with other_server.having(**{setting: 1}):
        for call in (swap, *puts, *[remove] * removing):
            with pytest.raises(Unavailable, match="refused"):
                call()
        check_empty(other)
        assert other.register.read("old") == Record(b"1", known)
    assert [type(call()) for call in (swap, remove, *puts)] == [Swapped, Swapped, Stored, Stored]


def test_a_script_that_does_not_end_makes_the_server_unavailable(other_server: ValkeyServer, other: Store) -> None:
    """Writes while the server is busy with somebody's script were not carried out."""
    other_server.set(busy_reply_threshold=1)
    endless = threading.Thread(target=other_server.try_to_tell, args=("EVAL", "while true do end", 0))
    other.register.read("k")
    endless.start()
    refused = False
    while endless.is_alive() and not refused:
        try:
            other.register.read("k")
        except Unavailable as error:
            refused = "BUSY" in error.message
    for call in writes_of(other):
        with pytest.raises(Unavailable, match="BUSY"):
            call()
    other_server.tell("SCRIPT KILL")
    endless.join()
    check_empty(other)


def test_a_server_that_is_loading_is_unavailable(tmp_path: Path) -> None:
    """What it refuses while it reads its log was not carried out, on a new connection of either kind."""
    with valkey("--dir", str(tmp_path), *LOG) as server:
        blobs = valkey_store(server.url()).blobs[Tier.KV]
        assert blobs.put_all([(f"many/{n}", b"x") for n in range(50_000)]) == Stored()
    slowly = ("--dir", str(tmp_path), *LOG, "--key-load-delay", "200")  # µs for each key, 10 s together
    with valkey(*slowly, answering=False) as server:
        for url in (server.url(), server.url() + "1"):
            swap, *_, put_all = writes_of(valkey_store(url))
            for call in (swap, put_all):
                with pytest.raises(Unavailable, match="loading"):
                    call()


def test_a_replica_is_no_place_to_read_or_write(other_server: ValkeyServer, other: Store) -> None:
    """Its records may be old, so it answers no read of one; it takes no write."""
    other.register.swap("old", b"1", None)
    known = generation_of(other.register, "old")
    with replica_of(other_server) as server:
        replica = valkey_store(server.url())
        for call in writes_of(replica, known):
            with pytest.raises(Unavailable, match="read only replica"):
                call()
        for base in (None, known, Generation("other")):
            with pytest.raises(Unavailable, match="replica"):
                replica.register.read("old", base)


def test_who_may_not_is_denied() -> None:
    """No password, a wrong one, or a user without the right: `Denied`, whose message has no password."""
    reader = "--user reader on >pass4 ~* -@all +evalsha +eval +hget +hmget +wait +ping"
    with valkey("--requirepass", "s3cret", *reader.split()) as server:
        denied = ["", "user:pa55", ":pa55", "reader:pa55"]
        for who in denied:
            for call in writes_of(valkey_store(server.url(who=who))):
                with pytest.raises(Denied) as caught:
                    call()
                assert "pa55" not in str(caught.value)
        owner = valkey_store(server.url(who=":s3cret"))
        check_empty(owner)
        assert isinstance(owner.register.swap("old", b"1", None), Swapped)
        read_only = valkey_store(server.url(who="reader:pass4"))
        assert record_of(read_only, "old").data == b"1"
        for call in writes_of(read_only, generation_of(read_only.register, "old")):
            with pytest.raises(Denied):
                call()
        assert [*owner.blobs[Tier.KV].list("")] == []


def test_the_rights_that_are_told_are_enough() -> None:
    """A user with what `docs/stores/valkey.md` lists, and no more, does all that a store does, waiting included."""
    [listed] = re.findall(r"rights: `~<prefix>:\* ([^`]*)`", GUIDE.read_text("utf-8"))
    with valkey("--user", "virke", "on", ">pass4", "~mine:*", "-@all", *listed.split(), *LOG) as server:
        for options in ({}, {"wait_aof": 1, "wait_ms": 9000}):
            store = valkey_store(f"{server.url('mine', who='virke:pass4')}&{urlencode(options)}".rstrip("&"))
            for key in ("k", "old"):
                assert isinstance(store.register.swap(key, b"1", None), Swapped)
            swap, *calls = writes_of(store, generation_of(store.register, "old"))
            assert swap() == Mismatch()
            for call in calls + calls[1:] + reads_of(store):
                assert not isinstance(call(), Lost)
            store.register.remove("k", generation_of(store.register, "k"))
        elsewhere = valkey_store(server.url("yours", who="virke:pass4"))
        for call in writes_of(elsewhere):
            with pytest.raises(Denied):
                call()


def test_a_database_that_is_not_there_is_wrong_usage(valkey_server: ValkeyServer) -> None:
    with pytest.raises(UsageError, match="DB index"):
        valkey_store(valkey_server.url() + "999").register.read("k")


# What others do to the server


def test_p7_what_others_wrote_is_corrupt(other_server: ValkeyServer, other: Store) -> None:
    """A string or half a hash for a record, a set or a few bytes for an object: no bytes are made of them."""
    register, blobs = other.register, other.blobs[Tier.KV]
    other_server.tell("SET", "virke:r:string", "x")
    other_server.tell("HSET", "virke:r:half", "g", "x")
    other_server.tell("SADD", "virke:b:set", "x")
    other_server.tell("SET", "virke:b:short", "1234567")
    calls: list[Callable[[], object]] = [
        lambda: register.read("string"),
        lambda: register.swap("string", b"", None),
        lambda: register.remove("string", Generation("x")),
        lambda: register.read("half"),
        lambda: blobs.get([Range("set")]),
        lambda: blobs.put_new("set", b""),
        lambda: blobs.get([Range("short", 0, 1)]),
        lambda: [*blobs.list("")],
    ]
    for call in calls:
        with pytest.raises(Corrupt):
            call()


def test_scripts_that_the_server_forgot_are_sent_again(other_server: ValkeyServer, other: Store) -> None:
    """After SCRIPT FLUSH each call still works, and the server knows its script from then on."""
    with proxy(other_server.port) as way:
        register = valkey_store(other_server.url(port=way.port)).register
        register.read("k")
        for expected in (2, 1):
            if expected == 2:
                other_server.tell("SCRIPT FLUSH")
            trips = []
            for call in (
                lambda: register.read("k", Generation("g")),
                lambda: register.swap("k", b"1", None),
                lambda: register.remove("k", generation_of(other.register, "k")),
            ):
                before = way.round_trips
                assert isinstance(call(), Absent | Swapped)
                trips.append(way.round_trips - before)
            assert trips == [expected] * 3


# A way that fails under load


def test_r5_threads_count_without_loss_on_lossy_ways(far: Store, way: Proxy) -> None:
    """Sixteen threads whose connections are closed at any time: what was `Swapped` is counted once, what was `Lost` once or not."""
    far.register.swap("counter", b"0", None)
    tried = threading.Semaphore(0)

    def count(number: int) -> tuple[int, int]:
        if number == 0:
            for _ in range(20):
                tried.acquire()
                way.hang_up()
            return 0, 0
        swapped = lost = 0
        for _ in range(20):
            try:
                record = record_of(far, "counter")
                outcome = far.register.swap("counter", b"%d" % (int(record.data) + 1), record.generation)
            except Unavailable:
                continue
            finally:
                tried.release()
            swapped += isinstance(outcome, Swapped)
            lost += isinstance(outcome, Lost)
        return swapped, lost

    results = at_once(count)
    swapped, lost = (sum(column) for column in zip(*results, strict=True))
    assert swapped <= int(record_of(far, "counter").data) <= swapped + lost


def test_p2_a_commit_whose_answer_was_lost_is_found(far: Store, way: Proxy, tmp_path: Path) -> None:
    """The way loses the answer to the swap and then works again: the commit is answered, and is there once."""
    with connect("shop", far, create=True, state_dir=tmp_path) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        way.to_lose = 1
        assert database.execute("INSERT INTO t (v) VALUES (1)") == 1
        assert database.query("SELECT v FROM t").rows == [(1,)]
