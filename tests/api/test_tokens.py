"""Tokens over HTTP: created, listed, revoked, and good or not from that moment on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Call, in_memory

ON_THE_LOOP = pytest.mark.parametrize(
    "databases",
    [
        "asgi memory",
        "edge memory",
        pytest.param("viceroy memory", marks=pytest.mark.slow),
        "asgi local",
        pytest.param("asgi s3", marks=pytest.mark.slow),
    ],
    indirect=True,
)


def bearer(made: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {made.json['token']}"}


def test_a_token_is_created_listed_and_revoked(call: Call) -> None:
    root = call("POST", "/tokens", {"db": "*", "scope": "admin"})
    body = {"db": ["app-*", "shop"], "scope": "admin", "expires_s": 60, "name": "of the shop"}
    made = call("POST", "/tokens", body, **bearer(root))
    assert (made.status, made.json["databases"], made.json["scope"]) == (201, ["app-*", "shop"], "admin")
    listed = call("GET", "/tokens", **bearer(root))
    assert [one["id"] for one in listed.json["tokens"]] == [root.json["id"], made.json["id"]]
    assert [one["expired"] for one in listed.json["tokens"]] == [False, False]
    assert not any(one.json["token"].encode() in listed.body for one in (root, made))
    revoked = call("DELETE", f"/tokens/{made.json['id']}", **bearer(root))
    assert revoked.json == {"revoked": made.json["id"], "left": 1}
    assert call("DELETE", f"/tokens/{made.json['id']}", **bearer(root)).status == 404
    assert call("DELETE", f"/tokens/{root.json['id']}", **bearer(root)).json["left"] == 0


@ON_THE_LOOP
def test_the_server_that_changed_the_tokens_knows_it_at_once(call: Call) -> None:
    """It would ask the store only five seconds later otherwise."""
    assert call("PUT", "/db/shop").status == 201
    root = call("POST", "/tokens", {"db": "*", "scope": "admin"})
    assert call("GET", "/db").status == 401
    reader = call("POST", "/tokens", {"db": "shop", "scope": "read"}, **bearer(root))
    select, insert = {"sql": "SELECT 1"}, {"sql": "CREATE TABLE t (a)"}
    assert call("POST", "/db/shop/query", select, **bearer(reader)).status == 200
    assert call("POST", "/db/shop/query", insert, **bearer(reader)).status == 403
    for method, path in (("GET", "/tokens"), ("POST", "/tokens"), ("DELETE", f"/tokens/{root.json['id']}")):
        assert call(method, path, {"db": "*", "scope": "admin"}, **bearer(reader)).status == 403
    assert call("POST", "/db/other/query", select, **bearer(reader)).status == 403
    assert call("DELETE", f"/tokens/{reader.json['id']}", **bearer(root)).json == {
        "revoked": reader.json["id"],
        "left": 1,
    }
    found = call("POST", "/db/shop/query", select, **bearer(reader))
    assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
    assert call("DELETE", f"/tokens/{root.json['id']}", **bearer(root)).status == 200
    assert call("GET", "/db").status == 200  # without any token, this machine is let in


@in_memory
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"db": "*"},
        {"scope": "read"},
        {"db": [], "scope": "read"},
        {"db": [1], "scope": "read"},
        {"db": "a b", "scope": "read"},
        {"db": "*", "scope": "root"},
        {"db": "*", "scope": 1},
        {"db": "*", "scope": "read", "expires_s": 0},
        {"db": "*", "scope": "read", "expires_s": 1 << 60},
        {"db": "*", "scope": "read", "expires_s": "30d"},
        {"db": "*", "scope": "read", "name": "a\nb"},
        {"db": "*", "scope": "read", "expires": "30d"},
    ],
)
def test_what_is_not_a_token_is_refused(call: Call, body: object) -> None:
    found = call("POST", "/tokens", body)
    assert (found.status, found.json["error"]["code"]) == (400, "invalid")
    assert call("GET", "/tokens").json == {"tokens": []}
