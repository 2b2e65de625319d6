"""Every command of the document that this system was built from, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cli.conftest import SEED_TOML, Virke

MIGRATION = """-- migrations/001_create_users.sql
CREATE TABLE IF NOT EXISTS users (
id INTEGER PRIMARY KEY,
name TEXT NOT NULL,
email TEXT UNIQUE,
created_at TEXT DEFAULT (datetime('now'))
);
"""


def run(virke: Virke, line: str) -> str:
    """The output of a command line as a shell would run it; it must succeed and say nothing on stderr."""
    found = virke(*shlex.split(line, comments=True)[1:])
    assert (found.exit_code, found.stderr) == (0, ""), found.output
    return found.stdout


def test_create_names_database_tier_and_store(folder: Path, virke: Virke) -> None:
    assert run(virke, "virke db create my-db").startswith("my-db: tier kv, store ")
    assert run(virke, "virke db list") == "my-db\n"


def test_query_prints_an_aligned_table(users: Path, virke: Virke) -> None:
    assert run(virke, 'virke db query "SELECT * FROM users WHERE active = 1"') == (
        "id  name   email              active\n"
        "--  -----  -----------------  ------\n"
        "1   Alice  alice@example.com  1\n"
        "3   Carol  carol@example.com  1\n"
    )


def test_execute_prints_rows_version_and_time(users: Path, virke: Virke) -> None:
    line = """virke db execute "INSERT INTO users (name, email, active) VALUES ('Dave', 'dave@example.com', 1)\""""
    assert re.fullmatch(r"1 row affected, version \d+, \d+\.\d ms\n", run(virke, line))
    assert "Dave" in run(virke, 'virke db query "SELECT * FROM users WHERE active = 1"')


def test_schema_prints_create_statements(users: Path, virke: Virke) -> None:
    assert run(virke, "virke db schema") == (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, active INTEGER);\n"
    )


def test_import_takes_a_sql_dump(project: Path, virke: Virke) -> None:
    (project / "backup.sql").write_text("CREATE TABLE t(a);\nINSERT INTO t VALUES (1),(2);\n")
    assert "imported backup.sql (sql)" in run(virke, "virke db import backup.sql")
    assert run(virke, "virke db query 'SELECT count(*) AS n FROM t'") == "n\n-\n2\n"


def test_status_prints_what_there_is_to_know(users: Path, virke: Virke) -> None:
    labels = [line.split("  ")[0] for line in run(virke, "virke db status").splitlines()]
    assert labels[:6] == ["database", "store", "tier", "branch", "version", "generation"]


def test_settings_are_viewed_and_updated(project: Path, virke: Virke) -> None:
    assert "durability" in run(virke, "virke db settings # view/update settings")
    assert (
        run(virke, "virke db settings max_attempts=5") == "key           value\n------------  -----\nmax_attempts  5\n"
    )
    assert re.search(r"^max_attempts +5$", run(virke, "virke db settings"), re.MULTILINE)


def test_flush_says_how_many_and_the_version(project: Path, virke: Virke) -> None:
    assert re.fullmatch(r"pushed 0 writes, version \d+\n", run(virke, "virke db flush # force sync pending writes"))


def test_promote_moves_to_the_object_tier(users: Path, virke: Virke) -> None:
    assert run(virke, "virke db promote").startswith("promoted my-app-db: tier kv -> object, version ")
    assert "already" in run(virke, "virke db promote")
    assert "Alice" in run(virke, "virke db query 'SELECT name FROM users'")


def test_migrate_applies_the_folder(folder: Path, virke: Virke) -> None:
    (folder / "virke.toml").write_text(SEED_TOML)
    (folder / "migrations").mkdir()
    (folder / "migrations" / "001_create_users.sql").write_text(MIGRATION)
    (folder / "migrations" / "002_add_posts_table.sql").write_text("CREATE TABLE posts(id INTEGER PRIMARY KEY);")
    (folder / "migrations" / "003_add_user_avatar.sql").write_text("ALTER TABLE users ADD COLUMN avatar TEXT;")
    run(virke, "virke db create")
    assert run(virke, "virke db migrate").splitlines() == [
        "applied 001_create_users.sql",
        "applied 002_add_posts_table.sql",
        "applied 003_add_user_avatar.sql",
    ]
    run(virke, """virke db execute "INSERT INTO users (name, email) VALUES (?, ?)" -p Ann -p ann@example.com""")
    assert run(
        virke,
        "virke db query 'SELECT name, created_at IS NOT NULL AS dated FROM users WHERE email = ?' -p ann@example.com",
    ) == ("name  dated\n----  -----\nAnn   1\n")
