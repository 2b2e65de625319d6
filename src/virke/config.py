"""What a command works on: the nearest `virke.toml`, the environment and the options, in that order of weight.

Knows the file's keys and the order of precedence. Does not know what stores or names are valid: a store URL and a
database name leave here as text and are checked where they are used.

1. An option beats the environment, the environment beats the file, the file beats the default.
2. A file that is wrong is an error that names the file and the place; nothing of it is used.
   What `[store]` says besides URLs (credentials, cache) holds for the stores of the file, not for one named elsewhere.
3. A local path in the file is relative to the file, everywhere else to the current folder.
4. Tables that are not Virke DB's are left alone; a key that is not known in one that is, is an error.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from virke.errors import Exists, UsageError

FILE_NAME: Final = "virke.toml"
STORE_FOLDER: Final = ".virke"
DB_VARIABLE: Final = "VIRKE_DB"
STORE_VARIABLE: Final = "VIRKE_STORE"

STORE_OPTIONS: Final = frozenset(
    "cdn_url cache_dir cache_mb access_key_id secret_access_key session_token service_account service_account_key "
    "account_key sas_key fastly_api_token".split()
)
"""What may stand in `[store]` besides the URLs: a mirror, the cache, and credentials by the names of their vendors."""
KEYS: Final[Mapping[str, frozenset[str]]] = {
    "project": frozenset({"name"}),
    "database": frozenset({"name"}),
    "store": frozenset({"url", "kv", "object"}) | STORE_OPTIONS,
}
"""The tables that Virke DB reads, and their keys. `[deploy]` belongs to `virke deploy` and is kept as it is."""

CACHE_OFF: Final = "off"
CACHE_MB_MAX: Final = 1 << 20
_LOCAL_SCHEME = re.compile(r"(?:(local|file):)?(?!/)(?!\w+:)(.*)", re.DOTALL)
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """Which store: one URL, or a KV store's and an object store's with a comma between; and options without a URL."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """One `virke.toml`; all fields but `folder` are None or empty where the file (or the key) is missing."""

    folder: Path
    """Where the file is; the current folder if there is none."""
    path: Path | None = None
    project: str | None = None
    database: str | None = None
    store: str | None = None
    store_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    deploy: Mapping[str, object] = field(default_factory=dict)


def find(start: Path) -> Path | None:
    """The `virke.toml` in `start` or its nearest parent that has one."""
    for folder in (start, *start.parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
    return None


def load(start: Path | None = None) -> Config:
    """The configuration that holds in folder `start` (default: the current one).

    Raises:
        UsageError: the file can't be read, is not TOML, or has an unknown key or a value of the wrong type.
    """
    folder = (start or Path.cwd()).absolute()
    path = find(folder)
    if path is None:
        return Config(folder)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"{path}: can't be read: {reason}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Read the text of a `virke.toml` that is at `path`.

    Raises:
        UsageError: see `load`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = place[1] if place and place[1] else str(max(1, len(text.splitlines())))
        raise UsageError(f"{path}:{line}: {_TOML_PLACE.sub('', str(error))}") from error
    values = {table: _strings(tables.get(table, {}), table, path) for table in KEYS}
    deploy = tables.get("deploy", {})
    if not isinstance(deploy, dict):
        raise UsageError(f"{path}: [deploy] must be a table")
    return Config(
        folder=path.parent,
        path=path,
        project=values["project"].get("name"),
        database=values["database"].get("name"),
        store=_store(values["store"], path),
        store_options=_store_options(values["store"], path.parent),
        deploy=deploy,
    )


def _store(table: Mapping[str, str], path: Path) -> str | None:
    """The URL, or the two URLs, of `[store]`; local ones are relative to the file."""
    urls = [table[key] for key in ("url", "kv", "object") if key in table]
    if table.keys() & {"url", "kv", "object"} not in (set(), {"url"}, {"kv", "object"}):
        raise UsageError(f"{path}: [store] has either 'url', or 'kv' and 'object' together")
    if "cache_mb" in table and not (table["cache_mb"].isdecimal() and int(table["cache_mb"]) <= CACHE_MB_MAX):
        raise UsageError(f"{path}: 'cache_mb' in [store] must be a whole number from 0 to {CACHE_MB_MAX}")
    return ",".join(_from_file(url, path.parent) for url in urls) or None


def _store_options(table: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What `[store]` has besides URLs; a folder is relative to the file."""
    found = {key: value for key, value in table.items() if key in STORE_OPTIONS}
    if found.get("cache_dir", CACHE_OFF) != CACHE_OFF:
        found["cache_dir"] = str(folder / found["cache_dir"])
    return found


def _from_file(url: str, folder: Path) -> str:
    local = _LOCAL_SCHEME.fullmatch(url)
    return f"local:{folder / local[2]}" if local else url


def _strings(table: object, name: str, path: Path) -> dict[str, str]:
    """The keys of one table, all of them known and with text for a value."""
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [{name}] must be a table")
    for key, value in table.items():
        if key not in KEYS[name]:
            raise UsageError(f"{path}: unknown key {key!r} in [{name}]; known: {', '.join(sorted(KEYS[name]))}")
        if key == "cache_mb" and type(value) is int:
            table = {**table, key: str(value)}
        elif not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {key!r} in [{name}] must be a text that is not empty")
    return dict(table)


def database_name(config: Config, option: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The database to work on: `option`, else `VIRKE_DB`, else the file's.

    Raises:
        UsageError: none of the three says.
    """
    name = option or environ.get(DB_VARIABLE) or config.database
    if not name:
        where = f"{config.path} has no [database] name" if config.path else f"there is no {FILE_NAME} here"
        raise UsageError(f"which database? {where}: give --db NAME, set {DB_VARIABLE}, or run 'virke init'")
    return name


def store_choice(config: Config, option: str | None, environ: Mapping[str, str] = os.environ) -> StoreChoice:
    """The store to use: `option`, else `VIRKE_STORE`, else the file's, else the folder `.virke` beside the file."""
    chosen = option or environ.get(STORE_VARIABLE)
    if chosen:
        return StoreChoice(chosen)
    return StoreChoice(config.store or f"local:{config.folder / STORE_FOLDER}", config.store_options)


def write_new(folder: Path, name: str) -> Path:
    """Write a `virke.toml` for project `name` into `folder`; its database is called `<name>-db`.

    Raises:
        Exists: there is one already; it was not touched.
        UsageError: the folder can't be written to.
    """
    path = folder / FILE_NAME
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    text = f'[project]\nname = "{quoted}"\n\n[database]\nname = "{quoted}-db"\n'
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Exists(f"{path} exists already; it was left as it is") from error
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}") from error
    return path
