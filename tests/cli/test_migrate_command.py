"""`virke db migrate`: what was done before an error is said, to people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.test_migrations import write

MESSAGE = "003_bad.sql: no such table: missing (line 2)"
HINT = "nothing of this file was kept: correct it and run it again"
ERROR = {"code": "sql_error", "message": MESSAGE, "retryable": False, "hint": HINT, "file": "003_bad.sql", "line": 2}


@pytest.fixture
def migrations(project: Path) -> Path:
    """A folder whose third file fails."""
    good = {"001_a": "CREATE TABLE a (x);", "002_b": "CREATE TABLE b (x);"}
    return write(project / "migrations", **good, **{"003_bad": "CREATE TABLE c (x);\nINSERT INTO missing VALUES (1);"})


@pytest.mark.parametrize(("options", "verb"), [([], "applied"), (["--dry-run"], "would apply")])
def test_what_was_applied_before_an_error_is_said_before_it(
    migrations: Path, virke: Virke, options: list[str], verb: str
) -> None:
    found = virke("db", "migrate", *options)
    assert found.exit_code == 1
    assert found.stdout == f"{verb} 001_a.sql\n{verb} 002_b.sql\n"
    assert found.stderr == f"error: {MESSAGE}\nhint: {HINT}\n"


@pytest.mark.parametrize(("options", "key"), [([], "applied"), (["--dry-run"], "would_apply")])
def test_as_json_the_output_is_one_document_with_the_files_and_the_error(
    migrations: Path, virke: Virke, options: list[str], key: str
) -> None:
    before = json.loads(virke("db", "status", "--json").stdout)["version"]
    found = virke("db", "migrate", "--json", *options)
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {
        key: [{"number": 1, "name": "a"}, {"number": 2, "name": "b"}],
        "version": before + (0 if options else 2),
        "error": ERROR,
    }
    assert json.loads(found.stderr) == {"error": ERROR}


def test_a_file_that_fails_first_leaves_an_empty_list(migrations: Path, virke: Virke) -> None:
    virke("db", "migrate")
    found = virke("db", "migrate", "--json")
    assert (json.loads(found.stdout)["applied"], json.loads(found.stdout)["error"]) == ([], ERROR)
    assert virke("db", "migrate").stdout == ""


def test_an_error_before_any_file_runs_is_only_an_error(migrations: Path, virke: Virke) -> None:
    (migrations / "005_gap.sql").write_text("SELECT 1;")
    found = virke("db", "migrate", "--json")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "004" in json.loads(found.stderr)["error"]["message"]


def test_what_was_undone_before_an_error_is_said(project: Path, virke: Virke) -> None:
    files = {"001_a": "CREATE TABLE a (x);", "001_a_undo_": "\nDROP TABLE nope;", "002_b": "CREATE TABLE b (x);"}
    write(project / "migrations", **files)
    virke("db", "migrate")
    found = virke("db", "migrate", "--undo", "2")
    assert (found.exit_code, found.stdout) == (1, "undid 002_b.sql\n")
    assert found.stderr.startswith("error: 001_a.undo.sql: no such table: nope (line 2)\n")
    found = virke("db", "migrate", "--undo", "--json")
    document = json.loads(found.stdout)
    assert (document["undid"], document["error"]["file"], document["error"]["line"]) == ([], "001_a.undo.sql", 2)
