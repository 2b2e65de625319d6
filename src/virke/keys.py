"""The tables and keys of `virke.toml`: which there are, what each may hold, and what it means.

Pure: knows the file's form, and no value's effect. docs/configuration.md has the same table; a test compares them.

1. A table or a key that is not known is an error that names the known ones, and the one that was probably meant.
2. What leaves here is text: numbers and yes-or-no are written out, and are checked where they are used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass
from virke.nearest import meant_hint

TARGETS: Final = ("fastly", "node", "store")
"""Where `virke deploy` can take a database."""


@dataclass(frozen=True, slots=True)
class Key:
    """What one key means; `kind` is what its value is: `text`, `number` (or its text) or `yes or no`."""

    meaning: str
    default: str = "–"
    kind: str = "text"
    choices: tuple[str, ...] = ()


CREDENTIALS: Final[Mapping[str, Key]] = {
    "access_key_id": Key("S3: the key's id"),
    "secret_access_key": Key("S3: the key"),
    "session_token": Key("S3: the token of a temporary key"),
    "service_account": Key("Google Cloud Storage: the file with the service account's key"),
    "service_account_key": Key("Google Cloud Storage: that key itself, as JSON"),
    "account_key": Key("Azure: the account's key"),
    "sas_key": Key("Azure: a shared access signature"),
    "fastly_api_token": Key("Fastly KV: the API token"),
    "token": Key("the token for the node that `url` names"),
}
"""What a store asks for, by the names of their vendors; without them, the environment is asked."""
TABLES: Final[Mapping[str, Mapping[str, Key]]] = {
    "project": {"name": Key("the project")},
    "database": {"name": Key("the database that commands work on without `--db`")},
    "app": {
        "entry": Key(
            'what `virke dev` runs: `"src/index.ts"`, `"app.py"` or `"app:app"`',
            "the first of `src/index.ts`, `index.ts`, `app.py`, `main.py`",
        )
    },
    "store": {
        "url": Key("where databases are: a store, or a node (`https://…`)", '`"local:.virke"`'),
        "kv": Key("a KV store, together with `object`"),
        "object": Key("an object store, together with `kv`"),
        "memory_mb": Key("what one process may hold in memory", "a quarter of the machine's, at most 1024", "number"),
        "cdn_url": Key("a CDN in front of the object store, for what never changes"),
        "cache_dir": Key('the folder of the cache; `"off"`: none', "the user's cache folder"),
        "cache_mb": Key("how much the cache may hold", "1024", "number"),
        **CREDENTIALS,
    },
    "deploy": {
        "target": Key("what `virke deploy` does without `--target`", "found by what is known", choices=TARGETS),
        "url": Key("the node or the store that `virke deploy` takes the database to"),
        "token": Key("the token for the node that `url` names"),
        "service": Key("for `fastly`: the id of the database's service, where it is not found by its name"),
    },
    "edge": {
        "writes": Key("the node that takes the edge's writes"),
        "writes_token": Key("the token for that node"),
        "seed": Key("the first rows of a new database: `.sql`, `.csv` or `.sqlite` ([Seed](edge.md#seed))"),
        "objects": Key("for `fastly`: object storage behind the KV store, `s3://BUCKET/PREFIX`"),
        "api": Key("whether the edge answers the database's own routes next to an app", "`false`", "yes or no"),
    },
}  # fmt: skip
"""Every table that `virke.toml` may have, and its keys."""


def read_tables(tables: Mapping[str, object], where: str) -> dict[str, dict[str, str]]:
    """The values of a file by table and key, those of tables that it lacks empty; `where` names the file in errors.

    Raises:
        UsageError: a table or key is not known, or a value is not of its kind.
    """
    for name, table in tables.items():
        if name not in TABLES:
            what = f"table [{name}]" if isinstance(table, dict) else f"key {name!r} outside of a table"
            raise _unknown_word(f"{where}: unknown {what}", name, TABLES)
    return {name: _read_table(tables.get(name, {}), name, where) for name in TABLES}


def _read_table(table: object, name: str, where: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: [{name}] must be a table")
    for key in table:
        if key not in TABLES[name]:
            raise _unknown_word(f"{where}: unknown key {key!r} in [{name}]", key, TABLES[name])
    return {
        key: _text_of_value(value, TABLES[name][key], f"{where}: {key!r} in [{name}]") for key, value in table.items()
    }


def _text_of_value(value: object, key: Key, what: str) -> str:
    if key.kind == "yes or no":
        if not isinstance(value, bool):
            raise UsageError(f"{what} must be true or false")
        return str(value).lower()
    if key.kind == "number":
        return str(value)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{what} must be a text that is not empty")
    if key.choices and value not in key.choices:
        raise UsageError(f"{what} must be one of {', '.join(key.choices)}, not {value!r}")
    return value


def _unknown_word(message: str, word: str, known: Collection[str]) -> UsageError:
    return UsageError(f"{message}; known: {', '.join(sorted(known))}", **meant_hint(word, sorted(known)))
