"""Earlier states over HTTP: listed, read, exported and brought back."""

from __future__ import annotations

import pytest

from tests.api.conftest import NOT_AT_THE_EDGE, Call, in_memory

COUNT = "SELECT count(*) FROM item"


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with a database `shop`: a table at version 2, a row at 3, two at 4, none at 5."""
    assert call("PUT", "/db/shop").status == 201
    statements = (
        "CREATE TABLE item (id)",
        "INSERT INTO item VALUES (1)",
        "INSERT INTO item VALUES (2)",
        "DELETE FROM item",
    )
    for sql in statements:
        assert call("POST", "/db/shop/execute", {"sql": sql}).status == 200
    return call


def test_versions_are_listed_newest_first(shop: Call) -> None:
    found = shop("GET", "/db/shop/versions?limit=2")
    assert found.status == 200
    assert [(one["version"], one["made_by"], one["restored_version"]) for one in found.json] == [
        (5, "write", None),
        (4, "write", None),
    ]
    assert len(shop("GET", "/db/shop/versions").json) == 5
    for limit in ("0", "x", "10001", "1" * 5000):
        assert shop("GET", f"/db/shop/versions?limit={limit}").status == 400


def test_statements_read_an_earlier_version_or_time(shop: Call) -> None:
    for at, rows in ((4, 2), ("3", 1), ("0s", 0)):
        assert shop("POST", "/db/shop/query", {"sql": COUNT, "at": at}).json["rows"] == [[rows]]
        found = shop("POST", "/db/shop/batch", {"statements": [COUNT, "SELECT max(id) FROM item"], "at": at})
        assert [one["rows"] for one in found.json] == [[[rows]], [[rows or None]]]
    for at in (99, "2001-01-01", "2999-01-01"):
        for body in ({"sql": COUNT}, {"statements": [COUNT]}):
            found = shop("POST", "/db/shop/query" if "sql" in body else "/db/shop/batch", body | {"at": at})
            assert (found.status, found.json["error"]["code"]) == (404, "not_found")
    assert shop("POST", "/db/shop/batch", {"statements": [COUNT, "DELETE FROM item"], "at": 4}).status == 403
    assert shop("POST", "/db/shop/batch", {"statements": [], "at": 4}).json == []


@in_memory
@pytest.mark.parametrize("at", ["noon", 1.5, True, [1], "", "2026-02-30"])
def test_what_is_neither_a_version_nor_a_time_is_refused_with_the_grammar(shop: Call, at: object) -> None:
    for path, body in (("query", {"sql": COUNT}), ("batch", {"statements": [COUNT]}), ("restore", {})):
        found = shop("POST", f"/db/shop/{path}", body | {"at": at})
        assert (found.status, found.json["error"]["code"]) == (400, "invalid")
        assert "2026-11-27T03:00" in found.json["error"]["hint"]


@in_memory
def test_what_reads_an_earlier_state_takes_no_key(shop: Call) -> None:
    for path, body in (("query", {"sql": COUNT}), ("batch", {"statements": [COUNT]})):
        assert shop("POST", f"/db/shop/{path}", body | {"at": 4}, idempotency_key="k").status == 400
    assert shop("POST", "/db/shop/restore", {}).status == 400


def test_an_earlier_state_is_brought_back_or_that_is_refused_with_a_hint(shop: Call) -> None:
    told = shop("POST", "/db/shop/restore", {"at": 4, "dry_run": True})
    if told.status == 403:  # at the edge
        assert NOT_AT_THE_EDGE in told.json["error"]["message"]
        assert told.json["error"]["hint"]
        return
    assert (told.status, told.json["dry_run"], told.json["version"]) == (200, True, 5)
    done = shop("POST", "/db/shop/restore", {"at": 4})
    assert (done.json["restored_version"], done.json["replaced"], done.json["version"]) == (4, 5, 6)
    assert shop("POST", "/db/shop/query", {"sql": COUNT}).json["rows"] == [[2]]
    assert shop("GET", "/db/shop/versions?limit=1").json[0]["made_by"] == "restore"
    assert shop("POST", "/db/shop/restore", {"at": 99}).status == 404
    exported = shop("GET", "/db/shop/export?at=3")
    assert (exported.status, exported.body.count(b"INSERT INTO")) == (200, 1)
    assert shop("GET", "/db/shop/export?at=noon").status == 400


def test_a_difference_is_told_or_refused_with_a_hint(shop: Call) -> None:
    found = shop("GET", "/db/shop/diff?from=3&to=4")
    if found.status == 403:  # at the edge
        assert NOT_AT_THE_EDGE in found.json["error"]["message"]
        assert found.json["error"]["hint"]
        return
    row = {"name": "item", "rows_before": 1, "rows_after": 2, "added": 1, "removed": 0, "changed": 0}
    assert (found.status, found.json) == (
        200,
        {"version_before": 3, "version_after": 4, "objects": [], "tables": [row]},
    )
    [table] = shop("GET", "/db/shop/diff?from=4").json["tables"]
    assert (table["rows_after"], table["removed"]) == (0, 2)
    [made] = shop("GET", "/db/shop/diff?from=1&to=2").json["objects"]
    assert (made["change"], made["sql_before"], made["sql_after"]) == ("added", None, "CREATE TABLE item (id)")
    assert shop("GET", "/db/shop/diff?from=99").status == 404
    for query in ("", "?to=4", "?from=noon", "?from=4&to=noon", "?from=4&since=3"):
        assert shop("GET", f"/db/shop/diff{query}").status == 400
