"""The vendor's own client works with the model server, and sees what Virke wrote: the model is not shaped by one client.

What it needs: `Configuration.host` and `.api_token`. It knows bodies as `str` only, shows headers only with
`_return_http_data_only=False`, and sends booleans as `True`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastly  # type: ignore[import-untyped]
import pytest
from fastly.api.kv_store_item_api import KvStoreItemApi  # type: ignore[import-untyped]

from tests.servers.fastly_kv import TOKEN, KvServer
from tests.stores.conformance import generation_of
from tests.stores.fastly import Place
from virke.core.effects import Absent, Generation, Mismatch, Record, Stored, Swapped
from virke.stores.base import Range


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


class Vendor:
    """The items of one store, through the vendor's client."""

    def __init__(self, client: Any, store_id: str) -> None:
        self._api = KvStoreItemApi(client)
        self._store_id = store_id

    def put(self, key: str, body: str, **options: Any) -> None:
        self._api.kv_store_upsert_item(self._store_id, key, body=body, **options)

    def get(self, key: str) -> tuple[str, int, str]:
        """Value, generation and metadata."""
        value, status, headers = self._api.kv_store_get_item(self._store_id, key, _return_http_data_only=False)
        assert status == 200
        return value, int(headers["Generation"]), headers["Metadata"]

    def keys(self, **options: Any) -> tuple[list[str], str | None]:
        """A page of keys and the cursor of the next."""
        page = self._api.kv_store_list_item_keys(self._store_id, **options)
        return list(page["data"]), page["meta"].get("next_cursor")

    def delete(self, key: str, **options: Any) -> None:
        self._api.kv_store_delete_item(self._store_id, key, **options)


@pytest.fixture
def vendor(place: Place) -> Iterator[Vendor]:
    configuration = fastly.Configuration(host=place.server.endpoint)
    configuration.api_token = TOKEN
    with fastly.ApiClient(configuration) as client:
        yield Vendor(client, place.store_id)


def refused(status: int) -> Any:
    """The vendor's error of one status."""
    return pytest.raises(fastly.ApiException, check=lambda error: error.status == status)


def test_the_vendors_client_creates_and_reads(vendor: Vendor) -> None:
    """`add` creates once; a read gives value, metadata and generation; a missing key is its 404."""
    vendor.put("a/b", "one", add=True, metadata="mine")
    with refused(412):
        vendor.put("a/b", "two", add=True)
    value, generation, metadata = vendor.get("a/b")
    assert (value, metadata) == ("one", "mine")
    assert 0 < generation < 1 << 64
    with refused(404):
        vendor.get("a/c")


def test_the_vendors_client_updates_on_a_condition(vendor: Vendor) -> None:
    """Each write gives another generation, the old one fails, and metadata that is not sent again is gone."""
    vendor.put("k", "one", metadata="mine")
    _, first, _ = vendor.get("k")
    vendor.put("k", "two", if_generation_match=first)
    with refused(412):
        vendor.put("k", "three", if_generation_match=first)
    value, second, metadata = vendor.get("k")
    assert (value, metadata) == ("two", "")
    vendor.put("k", "two", if_generation_match=second)
    assert len({first, second, vendor.get("k")[1]}) == 3
    with refused(412):
        vendor.put("missing", "one", if_generation_match=first)


def test_the_vendors_client_appends_and_prepends(vendor: Vendor) -> None:
    """On what is there, or on nothing."""
    vendor.put("k", "b", append=True)
    vendor.put("k", "c", append=True)
    vendor.put("k", "a", prepend=True)
    assert vendor.get("k")[0] == "abc"


def test_the_vendors_client_lists(vendor: Vendor) -> None:
    """By prefix and page after page, in order."""
    for key in ("b/2", "a/1", "b/1", "b/3"):
        vendor.put(key, "")
    first, cursor = vendor.keys(prefix="b/", limit=2, consistency="strong")
    assert first == ["b/1", "b/2"]
    assert vendor.keys(prefix="b/", limit=2, cursor=cursor) == (["b/3"], None)
    assert vendor.keys(consistency="eventual") == (["a/1", "b/1", "b/2", "b/3"], None)


def test_the_vendors_client_deletes(vendor: Vendor) -> None:
    """On a condition, without one, and with `force` also what is not there."""
    vendor.put("k", "one")
    _, generation, _ = vendor.get("k")
    with refused(412):
        vendor.delete("k", if_generation_match=generation + 1)
    vendor.delete("k", if_generation_match=generation)
    with refused(404):
        vendor.delete("k")
    vendor.delete("k", force=True)


@pytest.mark.parametrize(("key", "metadata"), [("k" * 1025, ""), ("a;b", ""), ("../a", ""), ("k", "m" * 2001)])
def test_the_vendors_client_is_held_to_the_limits(vendor: Vendor, key: str, metadata: str) -> None:
    """Keys that are too long or have other characters, and too much metadata, are refused."""
    with refused(400):
        vendor.put(key, "", metadata=metadata)


def test_the_vendors_client_needs_the_token(place: Place) -> None:
    """Without the right one it gets a 401."""
    configuration = fastly.Configuration(host=place.server.endpoint)
    configuration.api_token = "wrong"
    with fastly.ApiClient(configuration) as client, refused(401):
        Vendor(client, place.store_id).get("k")


def test_both_clients_see_the_same_register(place: Place, vendor: Vendor) -> None:
    """The generation that one read is the base of the other's write."""
    place.register.swap("root/a/main", b"one", None)
    value, generation, _ = vendor.get("place/register/root/a/main")
    assert value == "one"
    vendor.put("place/register/root/a/main", "two", if_generation_match=generation)
    assert place.register.swap("root/a/main", b"three", Generation(str(generation))) == Mismatch()
    base = generation_of(place.register, "root/a/main")
    assert place.register.read("root/a/main") == Record(b"two", base)
    assert place.register.swap("root/a/main", b"three", base) == Swapped(None)
    with refused(412):
        vendor.delete("place/register/root/a/main", if_generation_match=int(base))
    assert vendor.keys(prefix="place/") == (["place/register/root/a/main"], None)


def test_both_clients_see_the_same_objects(place: Place, vendor: Vendor) -> None:
    """Also those without the metadata that Virke writes."""
    assert place.blobs.put_new("o/1", b"one") == Stored()
    vendor.put("place/blobs/o/2", "two")
    value, _, metadata = vendor.get("place/blobs/o/1")
    assert (value, metadata.partition("=")[0]) == ("one", "modified_ms")
    assert place.blobs.get([Range("o/1"), Range("o/2", 1), Range("o/3")]) == [b"one", b"wo", Absent()]
    assert sorted((one.key, one.size_bytes) for one in place.blobs.list("o/")) == [("o/1", 3), ("o/2", 3)]
    vendor.delete("place/blobs/o/1")
    assert [one.key for one in place.blobs.list("")] == ["o/2"]
