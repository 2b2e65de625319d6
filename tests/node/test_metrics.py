"""What a node counts: every number moves with what it counts, and no label has values without end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.node.test_queues import INSERT, WRITES, World, pipeline, play
from tests.node.test_socket import Socket
from tests.node.test_streams import SLOW, Client, post
from virke import tokens
from virke.node.app import App
from virke.node.metrics import SECONDS, Histogram, route_of
from virke.scopes import Scope

SELECT = {"sql": "SELECT count(*) FROM t"}


def values(app: App) -> dict[str, float]:
    """Every sample, by its name and labels."""
    lines = (line for line in app.metrics.text().decode().splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def changes(world: World, act: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The samples that are others after this than before."""
    before = values(world.app)
    await act()
    return {
        name: value - before.get(name, 0) for name, value in values(world.app).items() if value != before.get(name, 0)
    }


def test_requests_are_counted_by_route_and_status() -> None:
    async def scenario(world: World) -> None:
        async def act() -> None:
            await world.values()
            await post(world.app, "/db/d/query", {"sql": "nonsense"})
            await post(world.app, "/db/d/../../etc/passwd", {})
            await post(world.app, "/v2/pipeline", pipeline("SELECT 1"))

        moved = await changes(world, act)
        counted = {name: value for name, value in moved.items() if name.startswith("virke_requests_total")}
        assert counted == {
            'virke_requests_total{method="POST",route="/db/{name}/query",status="200"}': 1,
            'virke_requests_total{method="POST",route="/db/{name}/query",status="400"}': 1,
            'virke_requests_total{method="POST",route="other",status="404"}': 1,
            'virke_requests_total{method="POST",route="/v2/pipeline",status="200"}': 1,
        }
        assert moved['virke_request_seconds_count{route="/db/{name}/query"}'] == 2
        assert moved['virke_request_seconds_bucket{le="+Inf",route="/db/{name}/query"}'] == 2
        assert moved['virke_request_seconds_sum{route="/db/{name}/query"}'] > 0

    play(scenario)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [(("SELECT 1",), "read"), ((INSERT,), "write"), (("BEGIN", "SELECT 1", INSERT, "COMMIT"), "transaction")],
)
def test_statements_are_counted_by_where_they_ran(sql: tuple[str, ...], kind: str) -> None:
    async def scenario(world: World) -> None:
        await world.values()
        moved = await changes(world, lambda: Client(world.app).say(*sql))
        counted = {name: value for name, value in moved.items() if name.startswith("virke_statements_total")}
        ran = [one for one in sql if one not in ("BEGIN", "COMMIT")]
        assert counted == {f'virke_statements_total{{kind="{kind}"}}': len(ran)}

    play(scenario)


def test_commits_are_counted_with_their_writes_and_go_on_when_a_database_is_closed() -> None:
    async def scenario(world: World) -> None:
        async def act() -> None:
            first = await world.hold()
            others = [asyncio.ensure_future(post(world.app, path, body)) for path, body in WRITES.items()]
            while world.app._writer().in_line["d"] < 5:
                await asyncio.sleep(0.001)
            world.register.gate.set()
            await asyncio.gather(first, *others)
            world.app.databases.forget("d")

        await world.values()
        moved = await changes(world, act)
        assert moved["virke_commit_writes_sum"] == 5
        assert moved["virke_commit_writes_count"] == moved['virke_commits_total{kind="group"}']
        assert 2 <= moved["virke_commit_writes_count"] <= 5
        moved = await changes(world, lambda: Client(world.app).say("BEGIN IMMEDIATE", INSERT, "COMMIT"))
        assert moved['virke_commits_total{kind="transaction"}'] == 1

    play(scenario)


def test_calls_to_the_store_are_counted_with_those_that_failed() -> None:
    async def scenario(world: World) -> None:
        await world.values()
        moved = await changes(world, lambda: post(world.app, "/db/d/execute", {"sql": INSERT}))
        assert moved['virke_store_requests_total{call="swap"}'] == 1
        assert moved['virke_store_bytes_up_total{call="swap"}'] > 100
        assert moved['virke_store_seconds_total{call="swap"}'] > 0
        assert 'virke_store_failures_total{call="swap"}' not in moved
        world.register.swaps_left = 0
        moved = await changes(world, lambda: post(world.app, "/db/d/execute", {"sql": INSERT}))
        assert moved['virke_store_failures_total{call="swap"}'] >= 1

    play(scenario)


def test_what_is_open_waits_or_is_held_is_shown_as_it_is_now() -> None:
    async def scenario(world: World) -> None:
        client, socket = Client(world.app), await Socket(world.app, "/db/d/").greeted()
        await client.say("BEGIN", "SELECT 1")
        socket.ask("open_stream", stream_id=1)
        await socket.heard()
        gone = asyncio.Event()
        slow = [asyncio.ensure_future(post(world.app, "/db/d/query", {"sql": SLOW}, gone=gone)) for _ in range(18)]
        first = await world.hold()
        while world.app._threads.waiting < 2:
            await asyncio.sleep(0.001)
        shown = values(world.app)
        assert shown['virke_open{kind="databases"}'] == 1
        assert shown['virke_open{kind="streams"}'] == 2
        assert shown['virke_waiting{kind="reads"}'] == 2
        assert shown['virke_waiting{kind="writes"}'] == 1
        assert shown['virke_held_bytes{kind="bodies"}'] > 18 * len(SLOW)
        assert shown['virke_held_bytes{kind="sqlite"}'] > 0
        gone.set()
        world.register.gate.set()
        await asyncio.gather(first, *slow)
        await client.say("COMMIT")
        await socket.leave()
        while world.app._hrana.streams.open_count:
            await asyncio.sleep(0.001)
        shown = values(world.app)
        assert [shown[f'virke_waiting{{kind="{kind}"}}'] for kind in ("reads", "writes")] == [0, 0]
        assert shown['virke_requests_total{method="POST",route="/db/{name}/query",status="gone"}'] == 18

    play(scenario)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/db", "/db"),
        ("/db/shop", "/db/{name}"),
        ("/db/shop/", "/db/{name}/"),
        ("/db/shop/query", "/db/{name}/query"),
        ("/db/shop/schema/item", "/db/{name}/schema/{table}"),
        ("/db/shop/v3/pipeline", "/db/{name}/v3/pipeline"),
        ("/v1/execute", "/v1/execute"),
        ("/tokens", "/tokens"),
        ("/tokens/abc", "/tokens/{id}"),
        ("/metrics", "/metrics"),
        ("/db/shop/nothing", "other"),
        ("/db/shop/query/more", "other"),
        ("/" + "x" * 1000, "other"),
        ("//db/shop", "other"),
        ("", "other"),
    ],
)
def test_a_route_is_its_pattern(path: str, route: str) -> None:
    assert route_of(path) == route


def test_methods_and_routes_without_end_are_one() -> None:
    async def scenario(world: World) -> None:
        for n in range(100):
            world.app.metrics.answered(f"M{n}", route_of(f"/x{n}"), "404", 0.1)
        assert len(world.app.metrics.requests) == 1

    play(scenario)


def test_a_histogram_counts_a_size_at_its_bound() -> None:
    histogram = Histogram(SECONDS)
    for size in (0.001, 0.0011, 31):
        histogram.add(size)
    assert dict(histogram.buckets()) | {"0.0005": 0, "0.001": 1, "0.0025": 2, "30.0": 2, "+Inf": 3} == dict(
        histogram.buckets()
    )
    assert histogram.total == pytest.approx(31.0021)


def test_metrics_need_an_admin_of_all_databases() -> None:
    async def scenario(world: World) -> None:
        async def ask(token: str | None) -> int:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            return (await get(world.app, headers))[0]

        assert await ask(None) == 200
        store = world.app.databases.store
        made = {scope: tokens.create(store, ("*",), scope)[0] for scope in Scope}
        one, _ = tokens.create(store, ("d",), Scope.ADMIN)
        await world.app._access.renew()
        assert [await ask(made[scope]) for scope in Scope] == [403, 403, 403, 200]
        assert [await ask(None), await ask(one)] == [401, 403]

    play(scenario)


async def get(app: App, headers: dict[str, str]) -> tuple[int, str]:
    """`GET /metrics`: its status, and its kind of content."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": named}
    await app(scope, receive, send)
    kind = dict(sent[0]["headers"])[b"content-type"].decode()
    assert re.match(r"text/plain; version=|application/json", kind)
    return sent[0]["status"], kind
