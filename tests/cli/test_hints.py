"""Errors say what was meant: tables, columns, commands, settings, databases, commands of SQLite's shell."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Virke


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("db", "query", "SELECT * FROM user"), "did you mean 'users'?"),
        (("db", "query", "SELECT * FROM main.user"), "did you mean 'users'?"),
        (("db", "query", "SELECT nmae FROM users"), "did you mean 'name'?"),
        (("db", "query", "SELECT u.nmae FROM users AS u"), "did you mean 'name'?"),
        (("db", "execute", "INSERT INTO users (emial) VALUES (1)"), "did you mean 'email'?"),
        (("db", "execute", "UPDATE user SET name = 1"), "did you mean 'users'?"),
        (("db", "settings", "history_day=3"), "did you mean 'history_days'?"),
        (("db", "qurey", "SELECT 1"), "did you mean 'query'?"),
        (("shemas",), None),
        (("db", "query", "SELECT 1", "--db", "my-ap-db"), "did you mean 'my-app-db'?"),
        (("db", "query", "SELECT * FROM nothing_like_it"), None),
        (("db", "query", "SELECT nothing_like_it FROM users"), None),
        (("db", "query", ".dump"), "virke db export -"),
        (("db", "execute", ".read x.sql"), "virke db execute --file FILE.sql"),
        (("db", "query", " .headers on"), "--csv and tables have headers; --ndjson and --json have names"),
        (("db", "query", ".unheard"), None),
        (("db", "execute", "my-app-db", "SELECT 1"), "the database is named by --db NAME, or by VIRKE_DB"),
        (("db", "list", "my-app-db", "SELECT 1"), "the database is named by --db NAME, or by VIRKE_DB"),
        (("completion", "bash", "too"), None),
    ],
)
def test_an_error_says_what_was_meant(users: Path, virke: Virke, line: tuple[str, ...], hint: str | None) -> None:
    found = virke(*line)
    assert found.exit_code in (1, 2)
    assert found.stderr.splitlines()[1:] == ([] if hint is None else [f"hint: {hint}"])
    assert json.loads(virke(*line, "--json").stderr)["error"].get("hint") == hint


def test_a_number_with_a_point_in_front_is_not_a_command_of_the_shell(users: Path, virke: Virke) -> None:
    assert "near" in virke("db", "query", ".5").stderr


def test_who_meets_damage_is_told_what_names_it(users: Path, virke: Virke) -> None:
    with sqlite3.connect(next(users.rglob("kv.sqlite"))) as store:
        store.execute("UPDATE register SET data = zeroblob(length(data)) WHERE key LIKE 'root/%'")
    store.close()
    found = virke("db", "query", "SELECT 1")
    assert found.exit_code == 5
    assert found.stderr.splitlines()[1:] == [
        "hint: 'virke db verify' names what is damaged, and the newest whole version"
    ]
