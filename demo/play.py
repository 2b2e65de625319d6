"""What `make demo` plays: the whole life of a database, in an empty folder, with the real `virke` command, then programs on it.

Prints each command and its output as it comes. Knows for each step the exit code that it must have, and ends with 1
at the first one that has another.
"""

from __future__ import annotations

import gzip
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from demo.programs import play_programs
from demo.stage import DemoFailed, Stage

ROOT: Final = Path(__file__).resolve().parents[1]
CHINOOK: Final = ROOT / "tests" / "data" / "chinook.sql.gz"
VIRKE: Final = Path(sys.executable).with_name("virke")

TOML: Final = """[project]
name = "my-app"

[database]
name = "my-app-db"
"""
MIGRATIONS: Final = {
    "001_create_users.sql": """-- migrations/001_create_users.sql
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  email TEXT UNIQUE,
  created_at TEXT DEFAULT (datetime('now'))
);
""",
    "002_add_posts_table.sql": """CREATE TABLE posts (
  id INTEGER PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users(id),
  title TEXT NOT NULL
);
CREATE INDEX posts_by_user ON posts(user_id);
""",
    "003_add_user_avatar.sql": "ALTER TABLE users ADD COLUMN avatar TEXT;\n",
}
BEST_CUSTOMERS: Final = (
    "SELECT c.FirstName || ' ' || c.LastName AS customer, c.Country AS country, round(sum(i.Total), 2) AS spent "
    "FROM Customer AS c JOIN Invoice AS i ON i.CustomerId = c.CustomerId GROUP BY c.CustomerId ORDER BY spent DESC LIMIT 5"
)
USERS: Final = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, active INTEGER); "
    "INSERT INTO users (name, email, active) VALUES ('Alice', 'alice@example.com', 1), "
    "('Bob', 'bob@example.com', 0), ('Carol', 'carol@example.com', 1)"
)
ACTIVE: Final = "SELECT * FROM users WHERE active = 1"
DAVE: Final = "INSERT INTO users (name, email, active) VALUES ('Dave', 'dave@example.com', 1)"

Step = tuple[str, tuple[str, ...], int]
"""A remark, the arguments of `virke`, the exit code that it must have."""

STEPS: Final[tuple[Step, ...]] = (
    ("The database that virke.toml names", ("db", "create"), 0),
    ("A dump of 15,000 rows, as one commit", ("db", "import", "backup.sql"), 0),
    ("A join over it", ("db", "query", BEST_CUSTOMERS), 0),
    ("A table of our own, beside it", ("db", "create", "users-db"), 0),
    ("Several statements are one transaction", ("db", "execute", USERS, "--db", "users-db"), 0),
    ("A read query", ("db", "query", ACTIVE, "--db", "users-db"), 0),
    ("A write statement", ("db", "execute", DAVE, "--db", "users-db"), 0),
    ("With a parameter, as JSON", ("db", "query", "SELECT * FROM users WHERE email = ?", "-p", "dave@example.com", "--json", "--db", "users-db"), 0),
    ("The schema", ("db", "schema", "--db", "users-db"), 0),
    ("Settings: look at them, change one", ("db", "settings"), 0),
    ("", ("db", "settings", "max_attempts=12"), 0),
    ("What the database is", ("db", "status"), 0),
    ("Migrations: rehearse, apply, report, take the last one back", ("db", "migrate", "--dry-run"), 0),
    ("", ("db", "migrate"), 0),
    ("", ("db", "migrate", "--undo"), 0),
    ("", ("db", "migrate", "--status"), 0),
    ("Pending writes, none of them", ("db", "flush"), 0),
    ("From the KV tier to object storage", ("db", "promote"), 0),
    ("The same answer from there", ("db", "query", "SELECT count(*) AS tracks FROM Track"), 0),
    ("Out again, as SQL and as a SQLite file", ("db", "export", "copy.sql"), 0),
    ("", ("db", "export", "copy.sqlite"), 0),
    ("Bad input is one line and an exit code", ("db", "query", "SELEC * FROM Track"), 1),
)  # fmt: skip


def play(stage: Stage) -> None:
    """Run all steps. Raises `DemoFailed`."""
    for remark, args, expected in STEPS:
        if remark:
            print(f"\n# {remark}")
        stage.run(*args, expected=expected)
    play_programs(stage)


def prepare(folder: Path) -> None:
    """Put virke.toml, the migrations and the dump into `folder`, and show them."""
    (folder / "virke.toml").write_text(TOML)
    (folder / "migrations").mkdir()
    for name, sql in MIGRATIONS.items():
        (folder / "migrations" / name).write_text(sql)
    (folder / "backup.sql").write_bytes(gzip.decompress(CHINOOK.read_bytes()))
    print(f"$ cat virke.toml\n{TOML}\n$ ls migrations\n" + "\n".join(MIGRATIONS))


def main() -> int:
    """Play in a folder of its own that is deleted afterwards."""
    if not VIRKE.exists():
        print(f"{VIRKE} is missing: run this with the interpreter that virke is installed for", file=sys.stderr)
        return 1
    # a shell lets what it starts in the background ignore Ctrl-C, and so would all that is started and ended here
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE_")}
    try:
        with tempfile.TemporaryDirectory(prefix="virke-demo-") as name:
            prepare(Path(name))
            play(Stage(str(VIRKE), Path(name), environ))
    except DemoFailed as failure:
        print(f"demo failed: {failure}", file=sys.stderr)
        return 1
    print("\nThat was all of it: nothing is running, and the folder is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
