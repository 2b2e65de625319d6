"""A Fastly KV URL says where, the token comes from elsewhere, and neither is guessed or shown."""

from __future__ import annotations

import pytest

from tests.servers.fastly_kv import TOKEN, KvServer
from tests.stores.fastly import Place
from virke.core.effects import Swapped
from virke.errors import Denied, UsageError
from virke.stores.fastly_kv.store import fastly_kv_store


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("fastly-kv://AbC123", "fastly-kv://AbC123"),
        ("fastly-kv://AbC123/", "fastly-kv://AbC123"),
        ("fastly-kv://AbC123/a/b/", "fastly-kv://AbC123/a/b"),
        ("fastly-kv://id?timeout_s=2.5", "fastly-kv://id"),
        ("fastly-kv://id/a?api=https://api.fastly.com/", "fastly-kv://id/a"),
        ("fastly-kv://id?api=https://kv.example/base/", "fastly-kv://id?api=https%3A%2F%2Fkv.example%2Fbase"),
        ("fastly-kv://id?api=http%3A%2F%2F[::1]:80", "fastly-kv://id?api=http%3A%2F%2F%5B%3A%3A1%5D%3A80"),
        ("fastly-kv://id?api=http://localhost:80", "fastly-kv://id?api=http%3A%2F%2Flocalhost%3A80"),
    ],
)
def test_a_place_has_one_url(written: str, url: str) -> None:
    """However it was written, the store's URL names store, prefix and another API, and nothing else."""
    store = fastly_kv_store(written, token=TOKEN)
    assert store.url == url
    assert fastly_kv_store(store.url, token=TOKEN).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id",
        "fastly-kv:id",
        "fastly-kv://",
        "fastly-kv:///prefix",
        "fastly://id",
        "fastly-kv://SECRET@id",
        "fastly-kv://id:80",
        "fastly-kv://id:x",
        "fastly-kv://[::1",
        "fastly-kv://id#SECRET",
        "fastly-kv://id/a//b",
        "fastly-kv://id/../b",
        "fastly-kv://id/a./b",
        "fastly-kv://id/a b",
        "fastly-kv://id/" + "x" * 510,
        "fastly-kv://id?token=SECRET",
        "fastly-kv://id?api=",
        "fastly-kv://id?api=api.fastly.com",
        "fastly-kv://id?api=ftp://host",
        "fastly-kv://id?api=http://api.fastly.com",
        "fastly-kv://id?api=http://127.example",
        "fastly-kv://id?api=https://SECRET@host",
        "fastly-kv://id?api=https://host:x",
        "fastly-kv://id?api=https://host?SECRET",
        "fastly-kv://id?timeout_s=",
        "fastly-kv://id?timeout_s=0",
        "fastly-kv://id?timeout_s=-1",
        "fastly-kv://id?timeout_s=nan",
        "fastly-kv://id?timeout_s=inf",
        "fastly-kv://id?timeout_s=601",
    ],
)
def test_a_url_that_is_not_understood_is_wrong_usage(url: str) -> None:
    """It is never a guess, the token never goes over an open line, and the message shows no secret that was in it."""
    with pytest.raises(UsageError) as failed:
        fastly_kv_store(url, token=TOKEN)
    assert "SECRET" not in f"{failed.value}{failed.value.__cause__}"


def test_a_prefix_is_as_long_as_keys_leave_room_for(place: Place) -> None:
    """With the longest prefix that is allowed, the longest key is still stored."""
    prefix = "/".join(["p" * 250] * 2)
    store = fastly_kv_store(place.server.url(place.store_id, prefix), token=TOKEN)
    assert store.register.swap("x" * 512, b"1", None) == Swapped(None)
    assert [len(key) for key in place.items.held()] == [501 + len("/register/") + 512]
    assert list(store.register.keys("x")) == ["x" * 512]


def test_the_token_comes_from_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless one is given; an empty one is none."""
    url = place.server.url(place.store_id)
    monkeypatch.setenv("FASTLY_API_TOKEN", TOKEN)
    assert fastly_kv_store(url).register.swap("k", b"1", None) == Swapped(None)
    monkeypatch.setenv("FASTLY_API_TOKEN", "wrong")
    assert fastly_kv_store(url, token=TOKEN).register.swap("l", b"1", None) == Swapped(None)
    for missing in ("", None):
        if missing is None:
            monkeypatch.delenv("FASTLY_API_TOKEN")
        else:
            monkeypatch.setenv("FASTLY_API_TOKEN", missing)
        with pytest.raises(Denied, match="FASTLY_API_TOKEN"):
            fastly_kv_store(url)
    with pytest.raises(Denied, match="needs an API token"):
        fastly_kv_store(url, token="")


@pytest.mark.parametrize("token", ["SECRET\n", "SECRET token", "SECRET\r\nHost: x", "SECRÉT"])
def test_a_token_that_is_no_token_is_denied_unseen(token: str) -> None:
    """Nothing of it is sent, and nothing of it is shown."""
    with pytest.raises(Denied) as failed:
        fastly_kv_store("fastly-kv://id", token=token)
    assert "SECR" not in str(failed.value)


def test_opening_asks_nothing(place: Place) -> None:
    """The first request is the first call's."""
    fastly_kv_store(place.server.url(place.store_id), token=TOKEN)
    assert place.items.asked == []
