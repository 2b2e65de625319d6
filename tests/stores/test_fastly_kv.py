"""The Fastly KV store passes the suite against a model of the API, and keeps its promises where the vendor is vague."""

from __future__ import annotations

import threading

import pytest

from tests.servers.fastly_kv import TOKEN, KvServer, item_path
from tests.servers.scripted import Then, scripted
from tests.stores.conformance import BlobsConformance, Conformance, RegisterConformance, generation_of
from tests.stores.fastly import Place
from virke.core.effects import Absent, Lost, Mismatch, Record, Stored, Swapped, Tier, Unchanged
from virke.errors import Exists, Invalid, TooLarge, Unavailable
from virke.stores.base import Consistency, Range, Store
from virke.stores.fastly_kv.http import HttpClient
from virke.stores.fastly_kv.layout import VALUE_BYTES_MAX
from virke.stores.fastly_kv.store import fastly_kv_store


class FastlyConformance(Conformance):
    @pytest.fixture
    def store(self, fastly_kv_server: KvServer) -> Store:
        self.place = Place(fastly_kv_server)
        return self.place.store

    def reopened(self, store: Store) -> Store:
        return self.place.opened()

    def losing(self, store: Store) -> Store:
        return self.place.opened(lossy=True)


class TestFastlyRegister(FastlyConformance, RegisterConformance):
    pass


class TestFastlyBlobs(FastlyConformance, BlobsConformance):
    tier = Tier.KV


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


# The register


def test_each_change_is_one_conditional_request(place: Place) -> None:
    """Creating is `add`, replacing and deleting carry the base generation, and nothing is read on the way."""
    assert place.register.swap("root/a/main", b"1", None) == Swapped(None)
    base = generation_of(place.register, "root/a/main")
    place.items.forget_requests()
    assert place.register.swap("root/a/main", b"2", base) == Swapped(None)
    changed = generation_of(place.register, "root/a/main")
    assert place.register.remove("root/a/main", changed) == Swapped(None)
    swap, read, remove = place.items.asked
    assert (swap.method, swap.key, swap.query) == ("PUT", "place/register/root/a/main", {})
    assert (swap.headers["if-generation-match"], read.method) == (base, "GET")
    assert (remove.method, remove.headers["if-generation-match"]) == ("DELETE", changed)
    place.items.forget_requests()
    place.register.swap("root/a/main", b"3", None)
    assert [(one.method, one.query) for one in place.items.asked] == [("PUT", {"add": "true"})]


def test_a_generation_of_another_kind_is_a_mismatch_without_a_request(place: Place) -> None:
    """What is no 64-bit number was never given by this store; 0 means "absent" to the vendor, and is none either."""
    place.register.swap("k", b"1", None)
    place.items.forget_requests()
    for text in ("", "never", "0", "-1", "1.5", "01", "1" * 21, "1\r\nadd: true"):
        base = type(generation_of(place.register, "k"))(text)
        assert place.register.swap("k", b"2", base) == Mismatch()
        assert place.register.remove("k", base) == Mismatch()
    assert set(place.items.counts()) == {"GET"}


def test_r4_holds_where_an_equal_write_keeps_its_generation(place: Place) -> None:
    """Every swap brings other metadata, so that no write is equal to the one before."""
    place.items.equal_writes_change_generation = False
    RegisterConformance().test_r4_a_generation_never_repeats(place.register)


@pytest.mark.parametrize("status", [404, 412])
def test_a_generation_on_a_missing_key_is_a_mismatch(place: Place, status: int) -> None:
    """Whichever of the two statuses the vendor gives to it."""
    place.items.missing_fails_with = status
    RegisterConformance().test_r3_swap_replaces_only_its_base(place.register)
    place.register.swap("gone", b"1", None)
    base = generation_of(place.register, "gone")
    place.register.remove("gone", base)
    assert place.register.swap("gone", b"2", base) == Mismatch()
    assert place.register.remove("gone", base) == Mismatch()
    assert "place/register/gone" not in place.items.held()


def test_a_read_may_show_what_the_register_held_before(place: Place) -> None:
    """A stale read is the older record, or none, and a swap on it is a `Mismatch` that changes nothing."""
    for value, base in ((b"1", None), (b"2", "now"), (b"3", "now")):
        place.register.swap("k", value, generation_of(place.register, "k") if base else None)
    newest = generation_of(place.register, "k")
    place.items.stale("place/register/k", reads=1, back=1)
    older = place.register.read("k")
    assert isinstance(older, Record)
    assert (older.data, older.generation == newest) == (b"2", False)
    assert place.register.swap("k", b"4", older.generation) == Mismatch()
    place.items.stale("place/register/k", reads=2, back=3)
    assert place.register.read("k") == Absent()
    assert place.register.read("k", newest) == Absent()
    assert place.register.read("k") == Record(b"3", newest)


def test_a_stale_read_of_what_is_known_is_unchanged(place: Place) -> None:
    """The generation that a reader named is still shown, so nothing has changed as far as this read can tell."""
    place.register.swap("k", b"1", None)
    known = generation_of(place.register, "k")
    place.register.swap("k", b"2", known)
    place.items.stale("place/register/k", reads=1)
    assert place.register.read("k", known) == Unchanged()
    assert isinstance(place.register.read("k", known), Record)


def test_the_keys_of_the_register_are_never_stale(place: Place) -> None:
    """They are listed with strong consistency, page after page."""
    place.items.staleness, place.items.page_max = 1000, 3
    keys = sorted(f"root/{n}/main" for n in range(10))
    for key in keys:
        place.register.swap(key, b"", None)
    assert list(place.register.keys("root/")) == keys
    assert place.register.read(keys[0]) == Absent()
    lists = [one for one in place.items.asked if one.key is None]
    assert len(lists) == 4
    assert {one.query["consistency"] for one in lists} == {"strong"}


def test_a_value_may_have_25_mb(place: Place) -> None:
    """It is swapped in and read back whole; a byte more is `TooLarge` without a request."""
    place.register.swap("k", bytes(VALUE_BYTES_MAX), None)
    record = place.register.read("k")
    assert isinstance(record, Record)
    assert len(record.data) == VALUE_BYTES_MAX
    requests = len(place.items.asked)
    with pytest.raises(TooLarge, match="25000001 bytes"):
        place.register.swap("k", bytes(VALUE_BYTES_MAX + 1), record.generation)
    assert len(place.items.asked) == requests
    del place.server.stores[place.store_id]  # 25 MB less for the tests that follow


def test_the_server_has_the_last_word_on_sizes(place: Place) -> None:
    """Its 413 is `TooLarge` too."""
    http = HttpClient(place.server.endpoint, timeout_s=10)
    path = item_path(place.store_id, "k")
    assert http.request("PUT", path, {"Fastly-Key": TOKEN}, bytes(VALUE_BYTES_MAX + 1)).status == 413
    with scripted([b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"]) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
        with pytest.raises(TooLarge):
            store.register.swap("k", b"1", None)


@pytest.mark.parametrize("key", ["a./b", "a../b", "root/x./main"])
def test_a_key_that_fastly_would_not_take_is_invalid(place: Place, key: str) -> None:
    """Its tools refuse `./` anywhere in a key, so no request is made for one."""
    with pytest.raises(Invalid):
        place.register.swap(key, b"", None)
    with pytest.raises(Invalid):
        place.blobs.put_new(key, b"")
    assert place.items.asked == []


# Blobs


def test_the_register_and_the_objects_are_apart(place: Place) -> None:
    """The same key in both is two items, and neither lists the other's; another prefix sees nothing of them."""
    place.register.swap("k", b"register", None)
    place.blobs.put_new("k", b"object")
    assert set(place.items.held()) == {"place/register/k", "place/blobs/k"}
    assert [place.register.read("k"), *place.blobs.get([Range("k")])] == [
        Record(b"register", generation_of(place.register, "k")),
        b"object",
    ]
    assert [listed.key for listed in place.blobs.list("")] == list(place.register.keys("")) == ["k"]
    other = fastly_kv_store(place.server.url(place.store_id, "place2"), token=TOKEN)
    assert [list(other.register.keys("")), list(other.blobs[Tier.KV].list(""))] == [[], []]


def test_each_object_is_fetched_once_and_all_side_by_side(place: Place) -> None:
    """Many ranges of four objects are four requests, which are under way together (else they would wait for ever)."""
    for n in range(4):
        place.blobs.put_new(f"o/{n}", b"%d" % n * 10)
    place.items.forget_requests()
    place.items.meeting = threading.Barrier(4, timeout=30)
    asked = [Range(f"o/{n}", offset, 2) for offset in range(5) for n in (3, 1, 0, 2)]
    assert place.blobs.get(asked) == [b"%d" % n * 2 for _ in range(5) for n in (3, 1, 0, 2)]
    place.items.meeting = None
    assert sorted(str(one.key) for one in place.items.asked) == [f"place/blobs/o/{n}" for n in range(4)]


def test_objects_are_put_and_deleted_side_by_side(place: Place) -> None:
    """Eight objects are stored while eight requests are under way, and deleted likewise."""
    keys = [f"o/{n}" for n in range(8)]
    place.items.meeting = threading.Barrier(8, timeout=30)
    assert place.blobs.put_all([(key, b"1") for key in keys]) == Stored()
    place.blobs.delete(keys)
    place.items.meeting = None
    assert place.items.counts() == {"PUT": 8, "DELETE": 8}


def test_b10_an_object_just_stored_may_be_absent_for_a_while(place: Place) -> None:
    """Then it is there; what is absent beside it stays absent, and the listing leaves out what is not shown."""
    place.items.staleness = 2
    assert place.blobs.put_new("k", b"1") == Stored()
    assert place.blobs.get([Range("k")]) == [Absent()]
    assert place.blobs.get([Range("k"), Range("other")]) == [b"1", Absent()]
    place.items.stale("place/blobs/k", reads=1)
    assert list(place.blobs.list("")) == []
    assert [listed.key for listed in place.blobs.list("")] == ["k"]


def test_an_object_that_exists_but_is_not_shown_is_lost(place: Place) -> None:
    """Nobody knows whose bytes those are; putting again is `Stored` once they are shown, or `Exists`."""
    place.blobs.put_new("k", b"1")
    place.items.stale("place/blobs/k", reads=1)
    assert place.blobs.put_new("k", b"1") == Lost("object 'k' exists, but is not shown yet")
    assert place.blobs.put_new("k", b"1") == Stored()
    place.items.stale("place/blobs/k", reads=1)
    assert isinstance(place.blobs.put_new("k", b"2"), Lost)
    with pytest.raises(Exists):
        place.blobs.put_new("k", b"2")


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_listing_asks_for_no_bytes_that_the_server_need_not_send(place: Place, has_ranges: bool) -> None:
    """Sizes come with one byte of each object where the server has ranges, and are the same where it has none."""
    place.items.has_ranges = has_ranges
    for n in range(7):
        place.blobs.put_new(f"o/{n}", bytes(n * 1000))
    place.items.page_max = 3
    place.items.forget_requests()
    assert sorted((one.key, one.size_bytes) for one in place.blobs.list("o/")) == [
        (f"o/{n}", n * 1000) for n in range(7)
    ]
    looks = [one.headers.get("range") for one in place.items.asked if one.key]
    assert looks.count("bytes=0-0") == 7
    assert len(looks) == 7 + has_ranges  # an empty object has no first byte, and is asked for again


def test_an_object_is_as_young_as_anybody_says(place: Place) -> None:
    """The later of the writer's note and the server's time counts, and without either an object is new."""
    now_ms = 4_000_000_000_000
    url = place.server.url(place.store_id, "place")
    fastly_kv_store(url, token=TOKEN, clock_ms=lambda: now_ms).blobs[Tier.KV].put_new("future", b"1")
    fastly_kv_store(url, token=TOKEN, clock_ms=lambda: 1).blobs[Tier.KV].put_new("past", b"1")
    http = HttpClient(place.server.endpoint, timeout_s=10)
    http.request("PUT", item_path(place.store_id, "place/blobs/foreign"), {"Fastly-Key": TOKEN}, b"1")
    times = {one.key: one.modified_ms for one in place.blobs.list("")}
    assert times["future"] == now_ms
    assert abs(times["past"] - times["foreign"]) < 60_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    keys = b'{"data": ["blobs/k"], "meta": {}}'
    with scripted([answer % (len(keys), keys), answer % (1, b"1")], Then.KEEP) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN, clock_ms=lambda: 77)
        assert [one.modified_ms for one in store.blobs[Tier.KV].list("")] == [77]


# Answers that no good server gives


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": [1]}',
        b'{"data": ["k"], "meta": {"next_cursor": 1}}',
        b'{"data": "k"}',
        b'{"data": [], "meta": 1}',
    ],
)
def test_a_listing_that_is_not_understood_is_unavailable(answer: bytes) -> None:
    """It is never an empty one: collection would believe it."""
    with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)]) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
        with pytest.raises(Unavailable, match="not understood"):
            list(store.register.keys(""))


def test_a_listing_that_goes_in_circles_ends() -> None:
    """A cursor that repeats is an error, not an endless loop."""
    page = b'{"data": ["register/k"], "meta": {"next_cursor": "x"}}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    with scripted([answer, answer], Then.KEEP) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
        with pytest.raises(Unavailable, match="cursor repeats"):
            list(store.register.keys(""))


@pytest.mark.parametrize("generation", [b"", b"Generation: \r\n", b"Generation: 0\r\n", b"Generation: abc\r\n"])
def test_a_record_without_a_generation_is_unavailable(generation: bytes) -> None:
    """Nothing could be swapped on it; for an object the bytes are all that counts."""
    answer = b"HTTP/1.1 200 OK\r\n" + generation + b"Content-Length: 1\r\n\r\n1"
    with scripted([answer, answer], Then.KEEP) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
        with pytest.raises(Unavailable, match="gave no generation"):
            store.register.read("k")
        assert store.blobs[Tier.KV].get([Range("k")]) == [b"1"]


@pytest.mark.parametrize("status", [199, 202, 203, 206, 302, 304])
def test_a_status_that_nobody_promised_is_no_success(place: Place, status: int) -> None:
    """A write that got one is `Lost`, a read is `Unavailable`."""
    answer = b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status
    with scripted([answer] * 2, Then.KEEP) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
        assert isinstance(store.register.swap("k", b"1", None), Lost)
        with pytest.raises(Unavailable):
            store.register.read("k")


def test_the_limits_are_those_of_the_design(place: Place) -> None:
    """Reads are eventual, objects have no ranges and are a MiB at most, unless asked for otherwise."""
    url = place.server.url(place.store_id)
    blobs = fastly_kv_store(url, token=TOKEN).blobs[Tier.KV]
    assert (blobs.part_bytes_max, blobs.has_ranges, blobs.consistency) == (256 << 10, False, Consistency.EVENTUAL)
    assert place.register.consistency is Consistency.EVENTUAL
    assert set(place.store.blobs) == {Tier.KV}
    for bad in (0, VALUE_BYTES_MAX + 1):
        with pytest.raises(Invalid):
            fastly_kv_store(url, token=TOKEN, part_bytes_max=bad)
