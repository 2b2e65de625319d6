"""P12 at the edge: nobody is served without a token, and a token does no more than it may. There is no loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.edge.serving import NAME, Edge, edge
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.scopes import Scope
from virke.tokens import create, revoke

pytestmark = pytest.mark.once
TABLE: Final = "CREATE TABLE IF NOT EXISTS t (n)"
AS_IF_LOCAL: Final = (
    {"host": "localhost"},
    {"host": "127.0.0.1:7676"},
    {"x_forwarded_for": "127.0.0.1"},
    {"authorization": "Bearer vk_" + "a" * 43},
    {"authorization": "Basic abc"},
)


@pytest.mark.parametrize("headers", AS_IF_LOCAL)
def test_a_store_without_tokens_serves_nobody_whatever_a_request_says_of_itself(
    component: Path, headers: dict[str, Any]
) -> None:
    with edge(component, config={"open": ""}) as app:
        for said in (
            app.query("SELECT 1", **headers),
            app.ask("GET", "/tokens", **headers),
            app.ask("GET", "/nope", **headers),
        ):
            assert (said.status, said.response.header("www-authenticate")) == (401, "Bearer")
            assert "virke token create" in said.json["error"]["hint"]


def test_health_needs_no_token_and_asks_nothing(component: Path) -> None:
    with edge(component, config={"open": ""}) as app:
        said = app.ask("GET", "/healthz")
        assert (said.status, said.json) == (200, {"status": "ok"})
        assert said.response.counts.lookups == 0
        assert app.ask("GET", "/openapi.json").json["openapi"].startswith("3.")


def test_an_open_service_asks_for_tokens_as_soon_as_there_are_some(component: Path) -> None:
    with edge(component, with_token=True, config={"open": "yes"}) as app:
        assert app.query("SELECT 1").status == 200
        app.token = None
        assert app.query("SELECT 1").status == 401


def test_a_token_does_what_its_scope_and_its_databases_allow(component: Path) -> None:
    with edge(component, with_token=True) as app:
        make_database(app.store, "other", Environment(), if_not_exists=False, page_size=4096)
        assert app.execute(TABLE).status == 200
        app.token, _ = create(app.store, [NAME], Scope.READ)
        assert app.query("SELECT count(*) FROM t").rows == [[0]]
        for sql in (
            "INSERT INTO t VALUES (1)",
            "CREATE TABLE x (n)",
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        ):
            assert app.query(sql).status == 403
            assert app.execute(sql).status == 403
        assert app.ask("POST", f"/db/{NAME}/batch", {"statements": ["INSERT INTO t VALUES (1)"]}).status == 403
        assert _by_hrana(app, "INSERT INTO t VALUES (1)") == "BLOCKED"
        made = {"db": "*", "scope": "admin"}
        for method, path, sent in (
            ("PUT", "/db/new", {}),
            ("POST", "/tokens", made),
            ("GET", "/tokens", {}),
            ("POST", f"/db/{NAME}/upkeep", {}),
            ("PATCH", f"/db/{NAME}/settings", {"history_days": "1"}),
        ):
            assert app.ask(method, path, sent).status == 403
        assert app.ask("POST", "/db/other/query", {"sql": "SELECT 1"}).status == 403
        assert app.ask("GET", "/db").json["databases"] == [{"name": NAME}]
        app.token, _ = create(app.store, ["*"], Scope.WRITE)
        assert app.execute("INSERT INTO t VALUES (1)", fresh=True).status == 200
        assert app.execute("CREATE TABLE x (n)").status == 403


def _by_hrana(app: Edge, sql: str) -> str:
    asked = {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}
    code: str = app.ask("POST", f"/db/{NAME}/v2/pipeline", asked).json["results"][0]["error"]["code"]
    return code


def test_a_revoked_token_is_no_token_in_a_new_sandbox(component: Path) -> None:
    with edge(component, with_token=True, reuse=100) as app:
        token, made = create(app.store, ["*"], Scope.READ)
        app.token = token
        assert app.query("SELECT 1", fresh=True).status == 200
        revoke(app.store, made.id)
        assert app.query("SELECT 1", fresh=True).status == 401


def test_tokens_come_in_the_round_of_the_root_and_are_remembered_in_a_warm_sandbox(component: Path) -> None:
    with edge(component, with_token=True, reuse=100) as app:
        app.execute(TABLE)
        app.host.settle()
        cold = app.query("SELECT * FROM t", fresh=True).response.counts
        app.host.settle()
        assert (cold.lookups, cold.rounds) == (2, 1)
        warm = app.query("SELECT * FROM t").response.counts
        assert (warm.lookups, warm.rounds) == (0, 0)


def test_a_request_without_a_good_token_costs_one_round(component: Path) -> None:
    with edge(component, with_token=True) as app:
        app.token = None
        said = app.query("SELECT * FROM t")
        assert (said.status, said.response.counts.rounds) == (401, 1)
