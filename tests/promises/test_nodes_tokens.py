"""Tokens on two nodes of one store: who gets in is known everywhere, and a token that is revoked is out within seconds.

The nodes reach the store through a proxy that counts: traffic asks for the tokens once in five seconds, silence never.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.promises.ledger import NAME, TABLE
from tests.promises.nodes import Client, begun, nodes
from tests.promises.places import fresh
from tests.servers.proxy import Proxy, Request, proxy
from tests.servers.s3 import S3Server
from virke import tokens
from virke.opening import open_store
from virke.scopes import Scope
from virke.tokens.record import KEY
from virke.tokens.table import READ_EVERY_S

pytestmark = pytest.mark.once

COUNT = "SELECT count(*) FROM entry"
INSERT = "INSERT INTO entry VALUES ('x', NULL)"
BRIEF_S = 4
SLACK_S = 3.0
"""For the read itself, on a machine that does other things."""


@pytest.fixture
def way(seaweedfs: S3Server, client: Path) -> Iterator[Proxy]:
    with proxy(seaweedfs.endpoint) as running:
        yield running


def store_behind(way: Proxy) -> str:
    """The URL of a fresh store, and the database of the tests in it."""
    store = S3Server("proxy", way.endpoint).url(fresh())
    begun(store, TABLE)
    return store


def until(status: int, client: Client, at_most_s: float) -> None:
    """Ask until it is answered so, which must not take longer."""
    began_s = time.monotonic()
    while (found := client.execute(COUNT).status) != status:
        assert found == 200
        assert time.monotonic() - began_s < at_most_s, f"not {status} after {at_most_s} s"
        time.sleep(0.05)


def test_p12_tokens_are_known_and_revoked_on_two_nodes(way: Proxy, tmp_path: Path) -> None:
    url = store_behind(way)
    store = open_store(url)
    admin, _ = tokens.create(store, ["*"], Scope.ADMIN)
    reading, revocable = tokens.create(store, [NAME], Scope.READ)
    other, _ = tokens.create(store, ["other-*"], Scope.ADMIN)
    brief, _ = tokens.create(store, [NAME], Scope.READ, lifetime_s=BRIEF_S)
    with nodes(url, tmp_path, 2) as those, ExitStack() as closing:

        def client(at: int, token: str) -> Client:
            return closing.enter_context(Client(those, at, token=token))

        for at in (0, 1):
            assert client(at, admin).execute(INSERT).status == 200
            assert client(at, "").execute(COUNT).status == 401
            assert client(at, "vk_" + "A" * 43).execute(COUNT).status == 401
            assert client(at, other).execute(COUNT).status == 403
            assert client(at, reading).execute(COUNT).status == 200
            assert client(at, reading).execute(INSERT).status == 403
            assert client(at, reading).ask("DELETE", f"/db/{NAME}").status == 403
            assert client(at, reading).ask("GET", "/tokens").status == 403
        tokens.revoke(store, revocable.id)
        revoked, brief_ones = [client(at, reading) for at in (0, 1)], [client(at, brief) for at in (0, 1)]
        for one in revoked:
            until(401, one, READ_EVERY_S + SLACK_S)
        for one in brief_ones:
            until(401, one, BRIEF_S + SLACK_S)
        those.check_silent()


def asks_for_tokens(way: Proxy) -> list[float]:
    """When each request for the record of the tokens comes, from now on."""
    came: list[float] = []

    def note(request: Request) -> None:
        if request.path.split("?")[0].endswith(KEY):
            came.append(time.monotonic())

    way.fault = note
    return came


def test_p9_tokens_are_asked_for_once_in_five_seconds_of_traffic_and_never_without(way: Proxy, tmp_path: Path) -> None:
    url = store_behind(way)
    token, _ = tokens.create(open_store(url), ["*"], Scope.ADMIN)
    with nodes(url, tmp_path, 1) as those, Client(those, 0, token=token) as client:
        came = asks_for_tokens(way)
        began_s = time.monotonic()
        while time.monotonic() < began_s + READ_EVERY_S + 1.5:
            assert client.execute(COUNT).status == 200
        assert len(came) == 2
        assert came[1] - came[0] >= READ_EVERY_S - 0.1
        way.requests.clear()
        time.sleep(1.5)
        assert not way.requests, "an idle node asked the store"
        those.check_silent()
