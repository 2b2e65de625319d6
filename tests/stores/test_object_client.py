"""The client of object storage asks whom the place names, with credentials that belong together; its panics are errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.scripted import Then, scripted
from virke.core.effects import Generation, Lost, Tier
from virke.errors import Denied, NotFound, Unavailable, UsageError
from virke.stores.base import Range, Store
from virke.stores.object.client import CREDENTIALS
from virke.stores.object.store import object_store
from virke.stores.object.url import VARIABLES, object_place

KEYS = {"access_key_id": "file-key", "secret_access_key": "file-secret"}
NONE_THERE = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
BODY = b"<Error><Code>PermanentRedirect</Code></Error>"
MOVED = b"HTTP/1.1 301 Moved Permanently\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine."""
    for name in [name for table in (VARIABLES, CREDENTIALS) for names in table["s3"].values() for name in names]:
        monkeypatch.delenv(name, raising=False)


def opened(url: str, keys: dict[str, str] = KEYS) -> Store:
    return object_store(object_place(url, keys))


def calls(store: Store) -> dict[str, Callable[[], object]]:
    """A call of each kind."""
    blobs = store.blobs[Tier.OBJECT]
    return {
        "swap": lambda: store.register.swap("k", b"", None),
        "remove": lambda: store.register.remove("k", Generation('"x"')),
        "put": lambda: blobs.put_new("k", b"x"),
        "read": lambda: store.register.read("k"),
        "get": lambda: blobs.get([Range("k")]),
        "range": lambda: blobs.get([Range("k", 0, 1)]),
        "odd range": lambda: blobs.get([Range("k", 1, 0)]),
        "delete": lambda: blobs.delete(["k"]),
        "list": lambda: list(blobs.list("")),
    }


def test_a_panic_of_the_library_is_an_error_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    """A write is `Lost`, all else `Unavailable`; here the library can't read a name of the endpoint that looks good."""
    for name, call in calls(opened("s3://b?endpoint=http://xn--a:1")).items():
        if name in ("swap", "remove", "put"):
            assert isinstance(call(), Lost), name
        else:
            with pytest.raises(Unavailable, match="gave up"):
                call()
    capfd.readouterr()  # the library complains there


def test_a_connection_that_is_reset_proves_nothing() -> None:
    """The request was there before: a write is `Lost`, never taken for one that was not sent."""
    with scripted([b""] * 9, Then.RESET) as server:
        for name, call in calls(opened(f"s3://b?endpoint={server.url}")).items():
            if name in ("swap", "remove", "put"):
                assert isinstance(call(), Lost), name
            else:
                with pytest.raises(Unavailable, match="no answer from"):
                    call()
        assert len(server.requests) == 9


def test_a_redirect_to_nowhere_is_a_refusal() -> None:
    """What AWS answers if the region is wrong: surely not applied, and the message says what to do."""
    with scripted([MOVED] * 9) as server:
        for call in calls(opened(f"s3://b?endpoint={server.url}")).values():
            with pytest.raises(Denied, match="add region="):
                call()
        assert len(server.requests) == 9


def test_a_read_follows_a_redirect_and_a_write_does_not() -> None:
    """A PUT is sent once, to the server of the place: a 3xx says that it was not applied."""
    found = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nConnection: close\r\nContent-Length: 1\r\n\r\n!'
    with scripted([found] * 2) as other:
        redirect = (
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %b/b/k\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            % other.url.encode()
        )
        with scripted([redirect] * 4) as server:
            store = opened(f"s3://b?endpoint={server.url}")
            for name in ("swap", "remove", "put"):
                with pytest.raises(Unavailable, match="307"):
                    calls(store)[name]()
            assert other.requests == []
            assert store.blobs[Tier.OBJECT].get([Range("k")]) == [b"!"]
            assert b"authorization" not in other.requests[0].lower()


# Whom it asks


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_an_endpoint_of_the_url_beats_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where the URL names none, the variable is asked, without TLS if it says so."""
    with scripted([NONE_THERE] * 2) as server, scripted([NONE_THERE]) as other:
        monkeypatch.setenv(name, server.url)
        opened(f"s3://b?endpoint={other.url}").register.read("k")
        assert (len(server.requests), len(other.requests)) == (0, 1)
        opened("s3://b").register.read("k")
        assert len(server.requests) == 1


def test_no_variable_takes_the_condition_from_a_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_CONDITIONAL_PUT` could."""
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with scripted([NONE_THERE]) as server:
        with pytest.raises(NotFound):
            opened(f"s3://b?endpoint={server.url}").register.swap("k", b"", None)
        assert b"if-none-match: *" in server.requests[0].lower()


# With which credentials


@pytest.mark.parametrize(
    ("keys", "variables", "key", "token"),
    [
        (KEYS, {"AWS_SESSION_TOKEN": "token"}, "file-key", None),
        (KEYS, {"AWS_TOKEN": "token", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, "file-key", None),
        (KEYS | {"session_token": "mine"}, {"AWS_SESSION_TOKEN": "token"}, "file-key", b"mine"),
        ({}, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s"}, "key", None),
        ({}, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": ""}, "key", None),
        ({}, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}, "key", b"t"),
    ],
)
def test_a_token_is_of_the_same_origin_as_the_key(
    keys: dict[str, str], variables: dict[str, str], key: str, token: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key of virke.toml, that of the environment is not sent."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with scripted([NONE_THERE]) as server:
        opened(f"s3://b?endpoint={server.url}", keys).register.read("k")
        headers = dict(line.split(b": ", 1) for line in server.requests[0].split(b"\r\n") if b": " in line)
    assert headers.get(b"x-amz-security-token") == token
    assert f"Credential={key}/".encode() in headers[b"authorization"]


@pytest.mark.parametrize("value", ["hidden\n", "\nhidden", "hidden ", "hid\rden", "hiddén", "\u200bhidden"])
@pytest.mark.parametrize("key", CREDENTIALS["s3"])
def test_a_credential_that_can_not_be_one_is_named(key: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment or in virke.toml, before anything is sent; it is not shown, and nothing of it is left out."""
    good = {"access_key_id": "a", "secret_access_key": "s"}
    with pytest.raises(UsageError, match=f"^{key} ") as caught:
        opened("s3://b", good | {key: value})
    assert "hid" not in str(caught.value)
    name = CREDENTIALS["s3"][key][0]
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"^{name} ") as caught:
        opened("s3://b", {})
    assert "hid" not in str(caught.value)
    opened("s3://b", KEYS)


@pytest.mark.parametrize("key", CREDENTIALS["az"])
def test_so_is_one_for_azure(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CREDENTIALS["az"][key][0], "hidden\n")
    with pytest.raises(UsageError, match=f"^{CREDENTIALS['az'][key][0]} "):
        opened("az://c?account_name=me", {})
