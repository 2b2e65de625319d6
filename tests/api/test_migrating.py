"""Migrations over HTTP: the files come with the request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Call, in_memory
from virke.node.databases import Databases

FILES = [
    {"name": "001_item.sql", "sql": "CREATE TABLE item (name TEXT);\n"},
    {"name": "002_stock.sql", "sql": "ALTER TABLE item ADD COLUMN stock INTEGER;\r\nDROP TABLE IF EXISTS old;"},
]
BAD = {"name": "003_bad.sql", "sql": "SELECT 1;\nCREATE TABLE item (x);"}


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with an empty database `shop`."""
    assert call("PUT", "/db/shop").status == 201
    return call


def test_files_are_rehearsed_applied_once_reported_and_taken_back(shop: Call) -> None:
    first = FILES[:1]
    rehearsed = shop("POST", "/db/shop/migrate", {"files": first, "dry_run": True})
    assert (rehearsed.status, rehearsed.json["would_apply"]) == (200, [{"number": 1, "name": "item"}])
    assert shop("GET", "/db/shop/migrations").json == {"migrations": []}

    applied = shop("POST", "/db/shop/migrate", {"files": first})
    assert (applied.status, applied.json["applied"]) == (200, [{"number": 1, "name": "item"}])
    assert shop("POST", "/db/shop/migrate", {"files": FILES[::-1]}).json["applied"] == [{"number": 2, "name": "stock"}]
    assert shop("POST", "/db/shop/migrate", {"files": FILES}).json["applied"] == []

    found = shop("GET", "/db/shop/migrations").json["migrations"]
    assert [(one["number"], one["name"], one["undo"]) for one in found] == [
        (1, "item", "automatic"),
        (2, "stock", "automatic"),
    ]
    states = shop("POST", "/db/shop/migrate", {"files": FILES, "status": True}).json["migrations"]
    assert [one["applied_at"] for one in states] == [one["applied_at"] for one in found]

    undone = shop("POST", "/db/shop/migrate", {"files": FILES, "undo": 2})
    assert undone.json["undid"] == [{"number": 2, "name": "stock"}, {"number": 1, "name": "item"}]
    assert shop("GET", "/db/shop/schema/item").status == 404


def test_an_error_says_its_file_its_line_and_what_was_applied_before(shop: Call) -> None:
    found = shop("POST", "/db/shop/migrate", {"files": [*FILES, BAD]})
    error = found.json["error"]
    assert (found.status, error["code"], error["file"], error["line"]) == (400, "sql_error", "003_bad.sql", 2)
    assert error["applied"] == ["001_item.sql", "002_stock.sql"]
    assert len(shop("GET", "/db/shop/migrations").json["migrations"]) == 2
    rehearsed = shop("POST", "/db/shop/migrate", {"files": [*FILES, BAD], "dry_run": True})
    assert rehearsed.json["error"]["would_apply"] == []
    gone = shop("POST", "/db/shop/migrate", {"files": FILES[:1]}).json["error"]
    assert gone["code"] == "invalid"
    assert "002_stock.sql was applied" in gone["message"]


@in_memory
@pytest.mark.parametrize(
    "body",
    [
        {"files": {}},
        {"files": [{"name": "001_a.sql"}]},
        {"files": [{"name": "001_a.sql", "sql": "", "more": 1}]},
        {"files": [{"name": "../001_a.sql", "sql": ""}]},
        {"files": [{"name": "001_a.sql", "sql": "SELECT 1"}] * 2},
        {"files": [{"name": "001_a.undo.sql", "sql": "SELECT 1"}]},
        {"files": [], "dry_run": 1},
        {"files": [], "undo": 0},
        {"files": [], "undo": "all"},
        {"files": [], "undo": 1, "dry_run": True},
        {"files": [], "status": True, "dry_run": True},
        {"filse": []},
    ],
)
def test_what_is_not_a_set_of_migrations_is_refused(shop: Call, body: Any) -> None:
    found = shop("POST", "/db/shop/migrate", body)
    assert (found.status, found.json["error"]["code"]) == (400, "invalid")


@pytest.mark.parametrize("databases", ["blocking local", "asgi local"], indirect=True)
def test_answers_are_those_of_the_command(shop: Call, databases: Databases, tmp_path: Path) -> None:
    """The same files, by the command on another database of the same store and by a request on this one."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for file in FILES:
        (folder / file["name"]).write_text(file["sql"], newline="")

    def command(*options: str) -> Any:
        words = [sys.executable, "-m", "virke", "db", "migrate", "--db", "twin", "--store", str(tmp_path / "store")]
        found = subprocess.run([*words, "--json", *options], cwd=tmp_path, capture_output=True, env=dict(os.environ))
        return json.loads(found.stdout)

    assert shop("PUT", "/db/twin").status == 201
    for options, asked in (
        (["--dry-run"], {"dry_run": True}),
        ([], {}),
        ([], {}),
        (["--status"], {"status": True}),
        (["--undo", "1"], {"undo": 1}),
    ):
        found = shop("POST", "/db/shop/migrate", {"files": FILES} | asked).json
        assert _without_times(found) == _without_times(command(*options))


def _without_times(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_times(value) for name, value in found.items() if name != "applied_at"}
    return [_without_times(one) for one in found] if isinstance(found, list) else found
