"""Object storage passes the suite on real servers; its errors say what surely happened; nothing is sent twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest

from tests.servers.proxy import Answer, CutAnswer, DropAnswer, DropRequest, Fault, Proxy, Request, proxy
from tests.servers.running import free_ports
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.stores.conformance import GOOD_KEYS, BlobsConformance, Conformance, RegisterConformance, generation_of
from virke.core.effects import Absent, Lost, Mismatch, Record, Stored, Swapped, Tier
from virke.errors import Corrupt, Denied, NotFound, RateLimited, Unavailable
from virke.stores.base import Range, Store
from virke.stores.object.store import object_store
from virke.stores.object.url import object_place

pytestmark = pytest.mark.once

SECRETS = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
_numbers = itertools.count()


def opened(url: str) -> Store:
    return object_store(object_place(url, SECRETS))


class ObjectConformance(Conformance):
    server: S3Server

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.prefix = f"conformance/{next(_numbers)}"
        with ExitStack() as self.stack:
            yield opened(self.server.url(self.prefix))

    def reopened(self, store: Store) -> Store:
        return opened(store.url)

    def losing(self, store: Store) -> Store:
        way = self.stack.enter_context(proxy(self.server.endpoint))
        way.fault = lambda request: DropAnswer()
        return opened(S3Server("proxy", way.endpoint).url(self.prefix))


class SeaweedFS(ObjectConformance):
    """Keys become paths of files there: no part of more than 255 bytes, and no object that is also a folder."""

    good_keys: ClassVar = [key for key in GOOD_KEYS if max(map(len, key.split("/"))) <= 255]
    nests_keys = False

    @pytest.fixture(autouse=True)
    def _server(self, seaweedfs: S3Server) -> None:
        self.server = seaweedfs


class Moto(ObjectConformance):
    @pytest.fixture(autouse=True)
    def _server(self, moto: S3Server) -> None:
        self.server = moto


class TestSeaweedFSRegister(SeaweedFS, RegisterConformance):
    pass


class TestSeaweedFSBlobs(SeaweedFS, BlobsConformance):
    pass


class TestMotoRegister(Moto, RegisterConformance):
    pass


class TestMotoBlobs(Moto, BlobsConformance):
    pass


# What answers mean


@pytest.fixture
def way(moto: S3Server) -> Iterator[Proxy]:
    with proxy(moto.endpoint) as running:
        yield running


@pytest.fixture
def store(way: Proxy) -> Store:
    return opened(S3Server("proxy", way.endpoint).url(f"faults/{next(_numbers)}"))


def only(method: str, fault: Fault) -> Callable[[Request], Fault | None]:
    """That fault for requests of one method."""
    return lambda request: fault if request.method == method else None


SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"


@pytest.mark.parametrize(
    "fault", [Answer(409), Answer(429), Answer(400), Answer(503, SLOW_DOWN)], ids=lambda fault: str(fault.status)
)
def test_an_answer_that_says_no_is_surely_not_applied(way: Proxy, store: Store, fault: Answer) -> None:
    """A swap, a creation and a put raise `Unavailable`: nothing is there, and nobody needs to look."""
    store.register.swap("k", b"1", None)
    base = generation_of(store.register, "k")
    way.fault = only("PUT", fault)
    too_fast = fault.status in (429, 503)
    with pytest.raises(RateLimited if too_fast else Unavailable) as raised:
        store.register.swap("k", b"2", base)
    assert isinstance(raised.value, RateLimited) == too_fast
    with pytest.raises(Unavailable):
        store.register.swap("new", b"1", None)
    with pytest.raises(Unavailable):
        store.blobs[Tier.OBJECT].put_new("o", b"1")
    assert generation_of(store.register, "k") == base


@pytest.mark.parametrize(
    "fault", [Answer(500, after=True), Answer(503), Answer(502), DropAnswer(), DropRequest()], ids=repr
)
def test_an_answer_that_proves_nothing_is_lost(way: Proxy, store: Store, fault: Fault) -> None:
    """Applied or not: both are `Lost`, and nothing was sent a second time."""
    store.register.swap("k", b"1", None)
    base = generation_of(store.register, "k")
    way.reset()
    way.fault = only("PUT", fault)
    assert isinstance(store.register.swap("k", b"2", base), Lost)
    assert isinstance(store.register.remove("k", base), Lost)
    assert isinstance(store.blobs[Tier.OBJECT].put_new("o", b"1"), Lost)
    assert way.requests["PUT"] == 3


def test_a_server_that_nobody_reaches_is_unavailable() -> None:
    """A refused connection: no call can have been applied."""
    store = opened(S3Server("nobody", f"http://127.0.0.1:{free_ports(1)[0]}").url())
    blobs = store.blobs[Tier.OBJECT]
    calls: list[Callable[[], object]] = [
        lambda: store.register.read("k"),
        lambda: store.register.swap("k", b"", None),
        lambda: blobs.put_new("k", b""),
        lambda: blobs.put_all([("k", b""), ("l", b"")]),
        lambda: blobs.get([Range("k")]),
        lambda: blobs.delete(["k"]),
        lambda: list(blobs.list("")),
    ]
    for call in calls:
        with pytest.raises(Unavailable, match=r"no connection to http://127\.0\.0\.1:"):
            call()


def test_a_missing_bucket_is_told_from_a_missing_key(moto: S3Server) -> None:
    """Every call says that the bucket has to be created, and none that a database is missing."""
    store = opened(moto.url().replace(f"//{BUCKET}/", "//nowhere/"))
    blobs = store.blobs[Tier.OBJECT]
    calls: list[Callable[[], object]] = [
        lambda: store.register.read("k"),
        lambda: store.register.swap("k", b"", None),
        lambda: list(store.register.keys("")),
        lambda: blobs.put_new("k", b""),
        lambda: blobs.get([Range("k", 0, 1)]),
        lambda: list(blobs.list("")),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="bucket does not exist"):
            call()


def test_wrong_credentials_are_denied(seaweedfs: S3Server) -> None:
    """Not `Unavailable`: to repeat the call would not help."""
    store = object_store(object_place(seaweedfs.url(), SECRETS | {"secret_access_key": "wrong"}))
    with pytest.raises(Denied, match="refused"):
        store.register.read("k")
    with pytest.raises(Denied, match="refused"):
        store.register.swap("k", b"", None)
    with pytest.raises(Denied, match="refused"):
        list(store.register.keys(""))


def test_missing_credentials_are_named(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would ask a cloud's metadata service next; who has none is told what to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    store = object_store(object_place(seaweedfs.url()))
    with pytest.raises(Denied, match="AWS_ACCESS_KEY_ID"):
        store.register.read("k")


def test_a_body_that_ends_early_is_unavailable(way: Proxy, store: Store) -> None:
    """Never short bytes."""
    store.blobs[Tier.OBJECT].put_new("o", b"0123456789" * 100)
    way.fault = only("GET", CutAnswer())
    for asked in (Range("o"), Range("o", 10, 500)):
        with pytest.raises((Unavailable, Corrupt)):
            store.blobs[Tier.OBJECT].get([asked])


def test_many_objects_and_ranges_are_one_round(way: Proxy, store: Store) -> None:
    """Twenty puts and twenty ranges, each a request of its own, take little longer than one."""
    blobs = store.blobs[Tier.OBJECT]
    objects = [(f"o/{n}", b"%d" % n * 100) for n in range(20)]
    arrived: list[Request] = []
    way.fault = lambda request: arrived.append(request)
    assert blobs.put_all(objects) == Stored()
    assert blobs.get([Range(key, 0, 10) for key, _ in objects]) == [data[:10] for _, data in objects]
    assert way.requests == {"PUT": 20, "GET": 20}


# Registers without a conditional DELETE


def test_a_removed_key_leaves_a_tombstone_that_a_creation_replaces(store: Store) -> None:
    """It is absent for readers and listings; of two who create it anew, one wins; old generations stay dead."""
    register = store.register
    register.swap("k", b"1", None)
    old = generation_of(register, "k")
    assert register.remove("k", old) == Swapped(None)
    assert register.read("k") == Absent()
    assert list(register.keys("")) == []
    assert register.swap("k", b"x", old) == Mismatch()
    assert isinstance(register.swap("k", b"", None), Swapped)
    assert register.swap("k", b"3", None) == Mismatch()
    record = register.read("k")
    assert isinstance(record, Record)
    assert record.data == b""
    assert list(register.keys("")) == ["k"]


def test_an_object_that_is_no_registers_is_corrupt(store: Store) -> None:
    """What somebody else put under the key is never taken for a root."""
    store.blobs[Tier.OBJECT].put_new("k", b"something else")
    with pytest.raises(Corrupt):
        store.register.read("k")


# Mirrors


def test_a_mirror_serves_objects_and_the_store_what_it_lacks(moto: S3Server, way: Proxy) -> None:
    """Reads go to the mirror; one that fails, or that has not got the object, costs one more request and no error."""
    prefix = f"mirror/{next(_numbers)}"
    mirrored = opened(S3Server("proxy", moto.endpoint).url(prefix, cdn_url=f"{way.endpoint}/{BUCKET}/{prefix}"))
    blobs = mirrored.blobs[Tier.OBJECT]
    blobs.put_new("o", b"0123456789")
    assert blobs.get([Range("o", 2, 3), Range("o")]) == [b"234", b"0123456789"]
    assert way.requests == {"GET": 2}
    for fault in (Answer(404), Answer(500), DropAnswer(), CutAnswer()):
        way.fault = lambda request, fault=fault: fault  # type: ignore[misc]
        assert blobs.get([Range("o", 2, 3), Range("gone")]) == [b"234", Absent()]
    way.fault = lambda request: Answer(200, b"wrong")
    assert blobs.get([Range("o"), Range("o", fresh=True)]) == [b"wrong", b"0123456789"]
    mirrored.register.swap("k", b"1", None)
    way.reset()
    assert isinstance(mirrored.register.read("k"), Record)
    assert way.requests == {}, "a register is never read through a mirror"
