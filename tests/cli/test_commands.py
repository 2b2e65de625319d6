"""What the commands print, and what they do with options and odd input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from virke.cli.main import COMMANDS, DB_COMMANDS, cli, db
from virke.opening import connect


def test_the_help_of_the_lists_is_that_of_the_commands() -> None:
    for group, table in ((cli, COMMANDS), (db, DB_COMMANDS)):
        context = group.make_context("virke", [], resilient_parsing=True)
        for name, (_, line) in table.items():
            command = group.get_command(context, name)
            assert command is not None
            assert (command.name, command.get_short_help_str(200)) == (name, line)
            assert line.endswith(".")


def test_every_command_has_help_and_the_global_options(virke: Virke) -> None:
    for name in DB_COMMANDS:
        found = virke("db", name, "--help")
        assert found.exit_code == 0
        for option in ("--db", "--store", "--json", "--quiet"):
            assert option in found.stdout


def test_init_writes_a_file_once(folder: Path, virke: Virke) -> None:
    found = virke("init", "--name", "my-app")
    assert found.stdout.splitlines()[0] == "wrote virke.toml: project my-app, database my-app-db"
    text = (folder / "virke.toml").read_text()
    again = virke("init", "--name", "other")
    assert (again.exit_code, again.stdout) == (1, "")
    assert (folder / "virke.toml").read_text() == text
    assert virke("init", "--name", "a/b").exit_code == 2


def test_version_names_sqlites_too(virke: Virke) -> None:
    assert re.fullmatch(r"virke \S+ \(SQLite 3\.\d+\.\d+\)\n", virke("--version").stdout)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script(virke: Virke, shell: str) -> None:
    assert "_VIRKE_COMPLETE" in virke("completion", shell).stdout


def test_create_twice_is_an_error_unless_asked(project: Path, virke: Virke) -> None:
    assert virke("db", "create").exit_code == 1
    assert virke("db", "create", "--if-not-exists").exit_code == 0


def test_delete_asks_or_is_told(project: Path, virke: Virke) -> None:
    found = virke("db", "delete", "my-app-db")
    assert found.exit_code == 2
    assert "--yes" in found.stderr
    assert virke("db", "list").stdout == "my-app-db\n"
    assert virke("db", "delete", "my-app-db", "--yes").stdout == "deleted my-app-db\n"
    assert virke("db", "list").stdout == ""


def test_global_options_stand_before_or_after_the_command(users: Path, virke: Virke) -> None:
    store = f"local:{users / '.virke'}"
    sql = "SELECT count(*) FROM users"
    for args in (
        ("--db", "my-app-db", "--store", store, "--json", "db", "query", sql),
        ("db", "--db", "my-app-db", "--store", store, "--json", "query", sql),
        ("db", "query", sql, "--db", "my-app-db", "--store", store, "--json"),
        ("--db", "wrong", "db", "query", sql, "--db", "my-app-db", "--json"),
    ):
        assert json.loads(virke(*args).stdout)["rows"] == [[3]]


def test_query_prints_every_form(users: Path, virke: Virke) -> None:
    sql = "SELECT name, NULL AS empty, x'00ff' AS data, 9007199254740993 AS big FROM users WHERE id = 1"
    table = virke("db", "query", sql).stdout.splitlines()
    assert table[2].split() == ["Alice", "NULL", "X'00FF'", "9007199254740993"]
    found = json.loads(virke("db", "query", sql, "--json").stdout)
    assert found["columns"] == ["name", "empty", "data", "big"]
    assert found["rows"] == [["Alice", None, {"base64": "AP8="}, "9007199254740993"]]
    assert {"rows_affected", "version", "bookmark"} < found.keys()
    assert virke("db", "query", sql, "--csv").stdout == "name,empty,data,big\nAlice,,X'00FF',9007199254740993\n"
    assert json.loads(virke("db", "query", sql, "--ndjson").stdout)["name"] == "Alice"
    assert virke("db", "query", sql, "--format", "markdown").stdout.startswith("| name | empty | data | big |\n")
    assert virke("db", "query", sql, "--json", "--csv").exit_code == 2


def test_parameters_by_position_and_by_name(users: Path, virke: Virke) -> None:
    assert virke("db", "query", "SELECT ?, ?", "-p", "1", "-p", "text:1", "--csv").stdout.splitlines()[1] == "1,1"
    found = virke("db", "query", "SELECT typeof(:a) AS a, typeof(@b) AS b", "-p", "b=x''", "-p", "a=null", "--csv")
    assert found.stdout == "a,b\nnull,blob\n"
    assert virke("db", "query", "SELECT name FROM users WHERE id = ?", "-p", "-1", "--csv").stdout == "name\n"


def test_several_statements_are_one_transaction(users: Path, virke: Virke) -> None:
    found = virke("db", "execute", "DELETE FROM users; INSERT INTO nope VALUES (1)")
    assert found.exit_code == 1
    assert virke("db", "query", "SELECT count(*) AS n FROM users", "--csv").stdout == "n\n3\n"
    assert (
        "4 rows affected"
        in virke("db", "execute", "UPDATE users SET active = 1; DELETE FROM users WHERE id = 1").stdout
    )


def test_execute_reads_standard_input_and_files(users: Path, virke: Virke) -> None:
    found = virke("db", "execute", "-", input="UPDATE users\nSET active = 0;")
    assert "3 rows affected" in found.stdout, found.stderr
    (users / "x.sql").write_text("\ufeffDELETE FROM users WHERE name = 'Bob';")
    assert "1 row affected" in virke("db", "execute", "--file", "x.sql").stdout
    assert virke("db", "execute").exit_code == 2
    assert virke("db", "execute", "SELECT 1", "--file", "x.sql").exit_code == 2
    assert virke("db", "execute", "--file", "none.sql").exit_code == 1
    assert virke("db", "execute", "-", input=b"\xff").exit_code == 1


def test_execute_shows_returned_rows_and_json(users: Path, virke: Virke) -> None:
    sql = "INSERT INTO users (name) VALUES ('Eve') RETURNING id, name"
    assert virke("db", "execute", sql).stdout.splitlines()[:3] == ["id  name", "--  ----", "4   Eve"]
    found = json.loads(virke("db", "execute", sql, "--json").stdout)
    assert (found["rows"], found["rows_affected"], found["pending"]) == ([[5, "Eve"]], 1, False)
    assert virke("db", "execute", "DELETE FROM users", "-q").stdout == ""


def test_deferred_writes_wait_until_they_are_flushed(users: Path, virke: Virke) -> None:
    virke("db", "settings", "durability=deferred")
    found = virke("db", "execute", "INSERT INTO users (name) VALUES ('Eve')")
    assert "pending here" in found.stdout
    assert json.loads(virke("db", "status", "--json").stdout)["pending_writes"] == 1
    assert virke("db", "flush").stdout.startswith("pushed 1 write, version ")
    assert json.loads(virke("db", "status", "--json").stdout)["pending_writes"] == 0
    assert "Eve" in virke("db", "query", "SELECT name FROM users").stdout


def test_a_write_that_is_rejected_when_it_is_pushed_is_shown(users: Path, virke: Virke) -> None:
    virke("db", "settings", "durability=deferred")
    virke("db", "execute", "INSERT INTO users (name, email) VALUES ('Eve', 'eve@example.com')")
    with connect("my-app-db", f"local:{users / '.virke'}", state_dir=users / "elsewhere") as other:
        other.execute("INSERT INTO users (name, email) VALUES ('Eva', 'eve@example.com')")
    found = virke("db", "flush")
    assert found.exit_code == 1
    assert found.stdout.startswith("pushed 0 writes, 1 rejected ('virke db status' says why), version ")
    lines = [line for line in virke("db", "status").stdout.splitlines() if line.startswith("rejected ")]
    assert len(lines) == 1
    assert "VALUES ('Eve', 'eve@example.com')" in lines[0]
    assert "UNIQUE constraint failed: users.email" in lines[0]
    (rejected,) = json.loads(virke("db", "status", "--json").stdout)["rejected_writes"]
    assert set(rejected) == {"id", "sql", "reason", "at_ms"}


def test_schema_of_one_table_and_as_json(users: Path, virke: Virke) -> None:
    virke("db", "execute", "CREATE TABLE other(x); CREATE INDEX oi ON other(x)")
    assert virke("db", "schema", "other").stdout == "CREATE TABLE other(x);\nCREATE INDEX oi ON other(x);\n"
    found = json.loads(virke("db", "schema", "--json").stdout)["schema"]
    assert [entry["name"] for entry in found] == ["users", "other", "oi"]
    assert virke("db", "schema", "nope").exit_code == 1


def test_status_settings_flush_promote_and_gc_speak_json(users: Path, virke: Virke) -> None:
    assert json.loads(virke("db", "status", "--json").stdout)["name"] == "my-app-db"
    assert json.loads(virke("db", "settings", "--json").stdout)["durability"] == "sync"
    assert json.loads(virke("db", "flush", "--json").stdout)["pushed"] == 0
    assert json.loads(virke("db", "gc", "--dry-run", "--json").stdout)["dry_run"] is True
    assert json.loads(virke("db", "promote", "--json").stdout)["tier"] == "object"
    assert json.loads(virke("db", "list", "--json").stdout) == {"databases": ["my-app-db"]}
    assert virke("db", "gc").stdout.startswith("deleted 0 objects")


def test_export_and_import_take_a_database_along(users: Path, virke: Virke) -> None:
    assert virke("db", "export", "copy.sql").exit_code == 0
    assert virke("db", "export", "copy.sql").exit_code == 1
    assert virke("db", "export", "copy.sql", "--force").exit_code == 0
    assert "CREATE TABLE users" in virke("db", "export", "-").stdout
    assert virke("db", "export", "-", "--table", "users").stdout.startswith("id,name,email,active\n1,Alice,")
    assert virke("db", "export", "users.csv").exit_code == 1
    virke("db", "create", "second")
    found = json.loads(virke("db", "import", "copy.sql", "--db", "second", "--json").stdout)
    assert found["kind"] == "sql"
    assert virke("db", "query", "SELECT count(*) AS n FROM users", "--db", "second", "--csv").stdout == "n\n3\n"


def test_migrate_reports_rehearses_and_undoes(project: Path, virke: Virke) -> None:
    folder = project / "sql"
    folder.mkdir()
    (folder / "001_a.sql").write_text("CREATE TABLE a(x);")
    (folder / "002_b.sql").write_text("CREATE TABLE b(x);")
    assert (
        virke("db", "migrate", "--dir", "sql", "--dry-run").stdout == "would apply 001_a.sql\nwould apply 002_b.sql\n"
    )
    assert virke("db", "migrate", "--dir", "sql").exit_code == 0
    assert virke("db", "migrate", "--dir", "sql").stdout.startswith("nothing to apply")
    lines = virke("db", "migrate", "--dir", "sql", "--status").stdout.splitlines()
    assert lines[0].split() == ["number", "name", "applied", "undo"]
    assert lines[2].startswith("001     a     20")
    assert virke("db", "migrate", "--dir", "sql", "--undo").stdout == "undid 002_b.sql\n"
    assert json.loads(virke("db", "migrate", "--dir", "sql", "--undo", "1", "--json").stdout)["undid"] == [
        {"number": 1, "name": "a"}
    ]
    assert virke("db", "schema", "a").exit_code == 1
    assert virke("db", "migrate", "--undo", "--dry-run").exit_code == 2
    assert virke("db", "migrate").exit_code == 1


def test_meta_says_what_a_command_cost(users: Path, virke: Virke) -> None:
    """One line on stderr, the data unchanged on stdout; an object in JSON; nothing without the option."""
    plain = virke("db", "query", "SELECT name FROM users")
    found = virke("db", "query", "SELECT name FROM users", "--meta")
    assert found.stdout == plain.stdout
    assert plain.stderr == ""
    assert re.fullmatch(
        r"\d+ round trips?, \d+ requests?, .* down, .* up, \d+ cache hits?, \d+ pages?; .*\n", found.stderr
    )
    meta = json.loads(virke("db", "query", "SELECT name FROM users", "--meta", "--json").stdout)["meta"]
    assert meta["round_trips"] >= 1
    assert meta["bytes_up"] == 0
    assert {"requests", "bytes_down", "cache_hits", "pages_read", "total_ms", "sql_ms", "bookmark"} <= meta.keys()
    written = json.loads(virke("db", "execute", "DELETE FROM users", "--meta", "--json").stdout)
    assert written["meta"]["bytes_up"] > 0
    assert written["meta"]["version"] == written["version"]
    assert "meta" not in json.loads(virke("db", "query", "SELECT 1", "--json").stdout)
    assert "commit" in virke("db", "execute", "INSERT INTO users (name) VALUES ('x')", "--meta").stderr
    assert virke("db", "query", "SELECT 1", "--meta", "--quiet").stderr == ""
    assert "meta" in json.loads(virke("db", "query", "SELECT 1", "--meta", "--quiet", "--json").stdout)


def test_query_prints_the_rows_of_a_statement_that_writes(folder: Path, virke: Virke) -> None:
    """And has written them."""
    assert virke("db", "create", "made").exit_code == 0
    assert virke("db", "execute", "CREATE TABLE t (id INTEGER PRIMARY KEY, n)", "--db", "made").exit_code == 0
    found = json.loads(
        virke("db", "query", "INSERT INTO t (n) VALUES (7) RETURNING id, n", "--db", "made", "--json").stdout
    )
    assert (found["rows"], found["rows_affected"]) == ([[1, 7]], 1)
    assert json.loads(virke("db", "query", "SELECT n FROM t", "--db", "made", "--json").stdout)["rows"] == [[7]]


def test_execute_prints_the_rows_of_each_statement(users: Path, virke: Virke) -> None:
    found = virke("db", "execute", "SELECT 1 AS one; UPDATE users SET active = 1 WHERE id = 1; SELECT 2 AS two")
    assert found.stdout.startswith("one\n---\n1\n\ntwo\n---\n2\n1 row affected")
    told = json.loads(virke("db", "execute", "SELECT 1 AS one; SELECT ? AS two", "-p", "7", "--json").stdout)
    assert (told["columns"], told["rows"]) == (["two"], [[7]])
    assert [(one["columns"], one["rows"]) for one in told["results"]] == [(["one"], [[1]]), (["two"], [[7]])]
    assert "no statement takes any" in virke("db", "execute", "SELECT 1; SELECT 2", "-p", "7").stderr


@pytest.mark.parametrize("first", ["UPDATE users SET active = 0", "PRAGMA user_version = 7", "BEGIN"])
def test_an_error_of_a_file_names_line_and_statement(users: Path, virke: Virke, first: str) -> None:
    (users / "x.sql").write_text(f"-- two\n{first};\n\nINSERT INTO nope\n VALUES (1);\n")
    before = virke("db", "query", "SELECT * FROM users").stdout
    found = virke("db", "execute", "--file", "x.sql")
    assert found.exit_code == 1
    assert (
        found.stderr
        == "error: x.sql, line 4: no such table: nope, in: INSERT INTO nope VALUES (1); nothing was changed\n"
    )
    assert virke("db", "query", "SELECT * FROM users").stdout == before
    told = json.loads(virke("db", "execute", "--file", "x.sql", "--json").stderr)["error"]
    assert (told["code"], told["line"]) == ("sql_error", 4)
