"""Commands of SQLite's shell that were typed where SQL belongs, and what does the same here."""

from __future__ import annotations

from typing import Final

from virke.errors import Invalid

INSTEAD: Final = {
    "backup": "virke db export FILE.sqlite",
    "databases": "virke db list",
    "dump": "virke db export -",
    "exit": "leave it out: each command ends by itself",
    "fullschema": "virke db schema",
    "headers": "--csv and tables have headers; --ndjson and --json have names",
    "help": "virke db --help",
    "import": "virke db import FILE.csv --table NAME",
    "indexes": "virke db schema TABLE",
    "mode": "--csv, --ndjson, --json, --markdown",
    "once": "redirect the output: virke db query … --csv > FILE.csv",
    "open": "--db NAME",
    "output": "redirect the output: virke db query … --csv > FILE.csv",
    "quit": "leave it out: each command ends by itself",
    "read": "virke db execute --file FILE.sql",
    "restore": "virke db import FILE.sqlite --replace",
    "save": "virke db export FILE.sqlite",
    "schema": "virke db schema",
    "tables": "virke db schema, or virke db query \"SELECT name FROM sqlite_schema WHERE type = 'table'\"",
    "timer": "--meta",
}


def check_is_sql(sql: str) -> None:
    """Raise `Invalid` for a text that begins with a command of the shell."""
    text = sql.lstrip()
    if not text.startswith(".") or not text[1:2].isalpha():
        return
    name = text.split()[0]
    meant = [instead for word, instead in INSTEAD.items() if len(name) > 2 and word.startswith(name[1:].lower())]
    context = {"hint": meant[0]} if meant else {}
    raise Invalid(f"{name} is a command of the sqlite3 shell, not SQL; nothing was run", **context)
