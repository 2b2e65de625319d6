"""Every command against a node prints what it prints on a store, and ends with the same exit code.

Each line of `STORY` is run twice, from top to bottom: in one folder on its local store, in the other against a node that has a
store like it. Masked are ids and times; and sizes, because each write of a client leaves its key and its answer in the database.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SEED_TOML, Virke
from tests.servers.node import Node, node
from virke.cli.main import COMMANDS, DB_COMMANDS, TOKEN_COMMANDS

USERS = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, active INTEGER);"
    "INSERT INTO users (name, email, active) VALUES ('Alice', 'alice@example.com', 1), ('Bob', 'bob@example.com', 0)"
)
VALUES = (
    "SELECT name, NULL AS empty, x'00ff' AS data, 9007199254740993 AS big, 1e999 AS inf, 0.1 FROM users WHERE id = ?"
)
STORY: list[tuple[str, ...]] = [
    ("db list",),
    ("db status",),
    ("db create",),
    ("db create",),
    ("db create", "--if-not-exists"),
    ("db create", "other", "--page-size", "1024", "--json"),
    ("db create", "third", "--page-size", "1000"),
    ("db create", "a/b"),
    ("db list",),
    ("db list", "--json"),
    ("db execute", USERS),
    ("db execute", "--json", "INSERT INTO users (name) VALUES (?) RETURNING id, name", "-p", "Carol"),
    ("db execute", "INSERT INTO users (name, email) VALUES ('Eve', 'bob@example.com')"),
    ("db execute", "INSERT INTO missing VALUES (1)"),
    ("db execute", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\nINSERT INTO nowhere VALUES (1)"),
    ("db execute", "SELECT 1; SELECT 2", "--meta"),
    ("db execute", "SELECT ?", "-p", "1", "-p", "2"),
    ("db execute", "--file", "script.sql"),
    ("db execute", "--file", "missing.sql"),
    ("db execute", "-"),
    ("db execute", ""),
    ("db query", VALUES, "-p", "1"),
    *[("db query", VALUES, "-p", "1", f"--{form}") for form in ("json", "csv", "ndjson", "markdown")],
    ("db query", "SELECT * FROM users WHERE name = :name", "-p", "name=Bob"),
    ("db query", "SELECT * FROM users WHERE name = :name", "-p", "Bob"),
    ("db query", "SELECT * FROM users", "--meta"),
    ("db query", "SELECT count(*) FROM users", "--meta", "--json"),
    ("db query", "INSERT INTO users (name) VALUES ('Frank') RETURNING id", "--json"),
    ("db query", "SELECT * FROM nothing"),
    ("db query", "SELECT * FROM nothing", "--json"),
    ("db query", "SELECT 1; SELECT 2"),
    ("db query", "ATTACH 'x' AS y"),
    ("db query", "SELECT load_extension('x')"),
    ("db query", "PRAGMA table_info(users)"),
    ("db query", "PRAGMA foreign_keys"),
    ("db query", "PRAGMA foreign_keys = OFF"),
    ("db query", "SELECT 1", "--db", "missing"),
    ("db query", "SELECT 1", "--db", "missing", "--json"),
    ("db query", "SELECT 1", "--db", "a/b"),
    ("shell",),
    ("shell", "missing"),
    ("db versions", "--json", "--limit", "3"),
    ("db versions", "--limit", "0"),
    ("db versions", "missing"),
    ("db query", "SELECT count(*) FROM users", "--at", "2"),
    ("db query", "SELECT count(*) FROM users", "--at", "0s", "--json"),
    ("db query", "SELECT 1", "--at", "99"),
    ("db query", "SELECT 1", "--at", "99", "--json"),
    ("db query", "SELECT 1", "--at", "yesterday"),
    ("db query", "SELECT 1", "--at", "2001-01-01"),
    ("db query", "SELECT 1", "--at", "2901-01-01T03:00"),
    ("db query", "DELETE FROM users", "--at", "2"),
    ("db export", "-", "--at", "2"),
    ("db export", "-", "--at", "99"),
    ("db execute", "DELETE FROM users"),
    ("db diff", "5"),
    ("db diff", "5", "6", "--json"),
    ("db diff", "1", "0s"),
    ("db diff", "5", "5"),
    ("db diff", "99"),
    ("db diff", "noon"),
    ("db diff", "2", "99", "--json"),
    ("db restore", "--at", "-1h"),
    ("db restore", "--at", "noon", "--yes"),
    ("db restore", "--at", "5", "--dry-run"),
    ("db restore", "--at", "5"),
    ("db restore", "app", "--at", "5", "--yes"),
    ("db restore", "--at", "5", "--yes"),
    ("db query", "SELECT count(*) FROM users"),
    ("db restore", "--at", "6", "--yes", "--json"),
    ("db query", "SELECT count(*) FROM users"),
    ("db restore", "--at", "5", "-y", "-q"),
    ("db schema",),
    ("db schema", "users", "--json"),
    ("db schema", "nothing"),
    ("db migrate", "--status"),
    ("db migrate", "--dry-run"),
    ("db migrate", "--dry-run", "--json"),
    ("db migrate",),
    ("db migrate",),
    ("db migrate", "--json"),
    ("db migrate", "--status", "--json"),
    ("db migrate", "--undo"),
    ("db migrate", "--undo", "7"),
    ("db migrate", "--undo", "2", "--json"),
    ("db migrate", "--dir", "bad"),
    ("db migrate", "--dir", "bad", "--json"),
    ("db migrate", "--dir", "gap"),
    ("db migrate", "--dir", "nowhere"),
    ("db migrate", "--status", "--dry-run"),
    ("db import", "dump.sql"),
    ("db import", "dump.sql"),
    ("db import", "rows.csv"),
    ("db import", "rows.csv", "--table", "rows", "--json"),
    ("db import", "rows.csv", "--table", "users"),
    ("db import", "image.sqlite"),
    ("db import", "image.sqlite", "--replace", "--db", "other"),
    ("db import", "torn.sqlite", "--replace", "--db", "other"),
    ("db import", "dump.sql.gz"),
    ("db import", "nothing.sql"),
    ("db import", "migrations"),
    ("db import", "-"),
    ("db export", "-"),
    ("db copy", "--to", "local:elsewhere", "--quiet"),
    ("db copy", "--to", "local:elsewhere"),
    ("db export", "copy.sql"),
    ("db export", "copy.sql"),
    ("db export", "copy.sql", "--force", "--json"),
    ("db export", "copy.sqlite", "--db", "other"),
    ("db export", "rows-2.csv", "--table", "rows"),
    ("db export", "-", "--table", "nothing", "--format", "csv"),
    ("db export", "x.csv"),
    ("db export", "no/folder.sql"),
    ("db settings",),
    ("db settings", "history_days=14", "max_attempts=12"),
    ("db settings", "--json", "durability=sync"),
    ("db settings", "durability=perhaps"),
    ("db settings", "colour=red"),
    ("db settings", "history_days"),
    ("db flush",),
    ("db flush", "--json"),
    ("db upkeep",),
    ("db upkeep", "--all", "--json"),
    ("db gc", "--dry-run"),
    ("db gc", "--json"),
    ("db promote",),
    ("db promote", "--json"),
    ("db status",),
    ("db status", "--json"),
    ("db status", "--db", "other"),
    ("db status", "--db", "missing"),
    ("db query", "SELECT name FROM sqlite_schema WHERE tbl_name <> 'virke_requests' ORDER BY 1"),
    ("db delete", "other"),
    ("db delete", "other", "--yes"),
    ("db delete", "other", "--yes", "--json"),
    ("db list",),
    ("token list",),
    ("token create", "--scope", "king"),
    ("token create", "--db", "a b", "--scope", "read"),
    ("token revoke", "nothing"),
    ("token create", "--db", "app-*", "--scope", "read", "--expires", "2d", "--name", "ci", "--json"),
]
NOT_HERE = {"init", "build", "completion", "deploy", "dev"}
"""The first three ask neither a store nor a node; the others work on both at once, in tests/project."""
REFUSED = {
    "serve": ("serve",),
    "studio": ("studio", "--no-open"),
    "doctor": ("doctor",),
    "journal": ("db", "journal"),
    "verify": ("db", "verify"),
}
SIZES = (
    "page_count",
    "size_bytes",
    "stored_bytes",
    "history_bytes",
    "bytes",
    "pages",
    "pages_changed",
    "deleted",
    "objects",
    "history_objects",
    "kept",
    "growth_bytes_per_day",
    "gc_bytes",
    "gc_later_bytes",
)
MASKS = [
    (r"[0-9a-f]{32}", "ID"),
    (r"(main\.[0-9a-f]{8}\.[0-9a-f]{16})\.[0-9a-f]{8}", r"\1.ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d( UTC|Z)", "TIME"),
    ("from TIME to TIME", "on TIME"),  # as it is told if both are in one second
    (r"[\d,.]+ (ms|s)\b", r"N \1"),
    (r"vk_[\w-]{43}", "TOKEN"),
    (r'"id": "[a-z2-7]{8}"', '"id": ID'),
    (r'("(?:[a-z]+_)*ms"): [\d.]+', r"\1: N"),
    (rf'("(?:{"|".join(SIZES)})"): (?:\d+|\[[^\]]*\])', r"\1: N"),
    (r"[\d.]+ (KiB|bytes) \(\d+ pages?", "N (N pages"),
    (r"[\d,]+ objects?\b(?:, | \()[\d.]+ (?:KiB|bytes?)\b", "N objects"),
    (r"[\d.]+ (KiB|bytes?) a day", "N a day"),
    (r"kept \d+", "kept N"),
    (r"[\d,]+ pages?, [\d.]+ (KiB|bytes?)", "N pages"),
    (r"\d+ round trips?, .* down, .* up, .*; N ms \(.*\)", "RECEIPT"),
    (r'"(round_trips|requests|bytes_up|bytes_down|cache_hits|pages_read|shared_by)": \d+', r'"\1": N'),
    (r"exported (\S+\.sqlite) \(sqlite\): [\d,]+ bytes", r"exported \1"),
]


class Places:
    """The two folders, and how a command is run in each."""

    def __init__(self, here: Path, there: Path, at: Node, virke: Virke, patch: pytest.MonkeyPatch) -> None:
        self.here, self.there, self.node = here, there, at
        self._virke, self._patch = virke, patch

    def local(self, *args: str, input: str | None = None) -> tuple[int, str, str]:
        """Exit code, output and errors on the local store."""
        return self._run(self.here, args, input)

    def remote(self, *args: str, input: str | None = None) -> tuple[int, str, str]:
        """The same against the node."""
        with self._patch.context() as patch:
            patch.setenv("VIRKE_URL", self.node.url)
            return self._run(self.there, args, input)

    def _run(self, folder: Path, args: tuple[str, ...], input: str | None) -> tuple[int, str, str]:
        self._patch.chdir(folder)
        found = self._virke(*args, input=input)
        return found.exit_code, masked(found.stdout, folder), masked(found.stderr, folder)


def masked(text: str, folder: Path) -> str:
    """A text without ids, times, sizes and the folder's name."""
    text = text.replace(folder.as_uri(), "FOLDER").replace(str(folder), "FOLDER")
    for pattern, shown in MASKS:
        text = re.sub(pattern, shown, text)
    return text


def fill(folder: Path) -> None:
    """The files that the commands name."""
    folder.mkdir()
    (folder / "virke.toml").write_text(SEED_TOML)
    (folder / "script.sql").write_text("CREATE TABLE from_file (x);\nINSERT INTO from_file VALUES (1), (2);\n")
    (folder / "dump.sql").write_text("CREATE TABLE dumped (x);\nINSERT INTO dumped VALUES (1);\n")
    (folder / "dump.sql.gz").write_bytes(gzip.compress(b"SELECT 1;"))
    (folder / "rows.csv").write_text("a,b\n1,2\n3,x\n")
    for name, files in {
        "migrations": {
            "001_posts": "CREATE TABLE posts (id INTEGER PRIMARY KEY);",
            "002_tags": "CREATE TABLE tags (x);",
        },
        "bad": {
            "001_posts": "CREATE TABLE posts (id INTEGER PRIMARY KEY);",
            "002_tags": "CREATE TABLE tags (x);",
            "003_bad": "CREATE TABLE c (x);\nINSERT INTO missing VALUES (1);",
        },
        "gap": {"001_a": "SELECT 1;", "003_c": "SELECT 1;"},
    }.items():
        (folder / name).mkdir()
        for file, sql in files.items():
            (folder / name / f"{file}.sql").write_text(sql)
    (folder / "migrations" / "002_tags.undo.sql").write_text("DROP TABLE tags;")
    with sqlite3.connect(folder / "image.sqlite") as made:
        made.execute("CREATE TABLE image (x)")
        made.execute("INSERT INTO image VALUES ('from a file')")
    made.close()
    (folder / "torn.sqlite").write_bytes((folder / "image.sqlite").read_bytes()[:5000])


@pytest.fixture
def places(virke: Virke, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    here, there = folder / "here", folder / "there"
    fill(here)
    fill(there)
    with node("local:.virke", there) as at:
        yield Places(here, there, at, virke, monkeypatch)


def test_every_command_answers_the_same(places: Places) -> None:
    differing = []
    for words, *rest in STORY:
        args = (*words.split(), *rest)
        local, remote = places.local(*args, input="SELECT 1;"), places.remote(*args, input="SELECT 1;")
        if local != remote:
            differing.append(f"virke {' '.join(args)}\n  here:  {local}\n  there: {remote}")
    assert not differing, "\n".join(differing)
    for name in ("copy.sql", "rows-2.csv"):  # when a migration was applied is a time, too
        there, here = ((folder / name).read_text() for folder in (places.there, places.here))
        assert masked(there, places.there) == masked(here, places.here)
    assert dump_of(places.there / "copy.sqlite") == dump_of(places.here / "copy.sqlite")


def dump_of(path: Path) -> list[str]:
    """What a SQLite file has."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_no_command_is_left_out() -> None:
    told = {tuple(words.split())[-1] for words, *_ in STORY}
    assert (
        told | REFUSED.keys()
        == (COMMANDS.keys() - NOT_HERE - {"db", "token"}) | DB_COMMANDS.keys() | TOKEN_COMMANDS.keys()
    )


@pytest.mark.parametrize("args", REFUSED.values(), ids=REFUSED)
def test_what_no_node_can_do_is_refused_with_a_hint(virke: Virke, folder: Path, args: tuple[str, ...]) -> None:
    """And nothing is asked of the node, which is not even there."""
    found = virke(*args, "--store", "http://127.0.0.1:1", "--db", "app")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "http://127.0.0.1:1 is a node" in found.stderr
    assert "\nhint: " in found.stderr
    as_json = json.loads(virke(*args, "--store", "http://127.0.0.1:1", "--db", "app", "--json").stderr)
    assert as_json["error"]["hint"]


def test_a_node_that_is_not_there_is_exit_code_3(virke: Virke, project: Path) -> None:
    found = virke("db", "query", "SELECT 1", "--store", "http://127.0.0.1:1")
    assert (found.exit_code, found.stdout) == (3, "")
    assert "the node does not answer" in found.stderr


def test_a_token_comes_from_the_option_the_environment_or_the_file(
    places: Places, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is shown nowhere."""
    places.remote("db", "create")
    token = json.loads(
        virke("token", "create", "--db", "*", "--scope", "admin", "--json", "--store", places.node.url).stdout
    )["token"]
    os.chdir(places.there)
    query = ("db", "query", "SELECT 1")
    denied = virke(*query, "--store", places.node.url)
    assert (denied.exit_code, "token" in denied.stderr) == (1, True)
    assert virke(*query, "--store", places.node.url, "--token", token).exit_code == 0
    assert virke(*query, "--store", places.node.url, "--token", token[:-1]).exit_code == 1
    monkeypatch.setenv("VIRKE_TOKEN", token)
    assert virke(*query, "--store", places.node.url).exit_code == 0
    monkeypatch.delenv("VIRKE_TOKEN")
    (places.there / "virke.toml").write_text(f'{SEED_TOML}[store]\nurl = "{places.node.url}"\ntoken = "{token}"\n')
    assert virke(*query).exit_code == 0
    other = virke(*query, "--store", places.node.url)
    assert other.exit_code == 1, "a file's token is for the file's node"
    for args in (("--token", f"{token} x"), ("--token", token, "--store", "http://127.0.0.1:1")):
        assert token not in virke(*query, *args).output
