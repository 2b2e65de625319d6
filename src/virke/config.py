"""What a command works on: the nearest `virke.toml`, the environment and the options, in that order of weight.

Knows what the file's values mean together, the order of precedence, and which URLs are folders of this machine. Does not know what other
stores or names are valid: a store URL and a database name leave here as text and are checked where they are used.

1. An option beats the environment, the environment beats the file, the file beats the default.
2. A file that is wrong is an error that names the file and the place; nothing of it is used.
   What `[store]` says besides URLs (credentials, cache) holds for the stores of the file, not for one named elsewhere.
3. A local path in the file is relative to the file, everywhere else to the current folder; `~` is the home folder.
4. Only a URL without a scheme, or with the scheme `local` or `file`, is a local path: data for a store whose name is
   misspelt never lands on this disk.
5. Which tables and keys there are, and what their values may be, is said in `keys`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from virke.errors import UsageError
from virke.keys import CREDENTIALS, read_tables
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

FILE_NAME: Final = "virke.toml"
FILE_BYTES_MAX: Final = 1 << 20
STORE_FOLDER: Final = ".virke"
MIGRATIONS: Final = "migrations"
"""The folder of a project's migrations, next to `virke.toml`."""
DB_VARIABLE: Final = "VIRKE_DB"
NODE_VARIABLE: Final = "VIRKE_URL"
TOKEN_VARIABLE: Final = "VIRKE_TOKEN"
STORE_VARIABLE: Final = "VIRKE_STORE"
MEMORY_VARIABLE: Final = "VIRKE_MEMORY_MB"

STORE_OPTIONS: Final = frozenset({"cdn_url", "cache_dir", "cache_mb", *CREDENTIALS})
"""What may stand in `[store]` besides the URLs and memory: a mirror, the cache, a node's token, and credentials."""

CACHE_OFF: Final = "off"
CACHE_MB_MAX: Final = 1 << 20
MEMORY_MB_MIN: Final = 8
MEMORY_MB_MAX: Final = 1 << 20
LOCAL_SCHEMES: Final = ("local", "file")
NODE_SCHEMES: Final = ("http", "https")
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+._-]+"
_URL: Final = pattern(rf"({_SCHEME}):(.*)", re.DOTALL)
_NEXT_URL: Final = pattern(rf",(?={_SCHEME}:)")
_WHOLE: Final = pattern(r"[0-9]{1,9}")
_TOML_PLACE = pattern(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def cache_folder() -> Path | None:
    """The folder for what can be made again, of this user; None where no home folder is known (in a container)."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "virke"
    except RuntimeError:
        return None


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
    memory_mb: int | None = None
    entry: str | None = None
    deploy: Mapping[str, str] = field(default_factory=dict, repr=False)
    edge: Mapping[str, str] = field(default_factory=dict, repr=False)


def scheme_of(url: str) -> tuple[str, str]:
    """Scheme (in lower case) and rest of a store URL; a plain path is `local`."""
    found = _URL.fullmatch(url)
    return (found[1].lower(), found[2]) if found else ("local", url)


def is_node(url: str) -> bool:
    """Whether a URL names a node (`virke serve`) and not a store."""
    return scheme_of(url)[0] in NODE_SCHEMES


def store_urls(text: str) -> list[str]:
    """The URLs of a text that names one store, or two with a comma between."""
    return _NEXT_URL.split(text)


def local_path(url: str) -> Path | None:
    """The folder that a store URL names; None if it names another kind of store.

    A plain path and what follows `local:` are taken as they are; `file:` is a URL, in which `%20` is a space.

    Raises:
        UsageError: the URL is local and names no folder.
    """
    scheme, rest = scheme_of(url)
    if scheme not in LOCAL_SCHEMES:
        return None
    text = rest.removeprefix("//") if scheme == "file" or rest.startswith("///") else rest
    if scheme == "file":
        text = os.fsdecode(unquote_to_bytes(text))
    if not text or "\0" in text:
        raise UsageError(f"store {url!r} names no folder; write local:FOLDER")
    return expanded_path(text)


def expanded_path(text: str) -> Path:
    """A path in which `~` at the beginning is the home folder.

    Raises:
        UsageError: there is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text!r}: no such home folder is known; ./~ is a folder whose name begins with ~") from error


def is_cache_off(text: str) -> bool:
    """Whether a cache's folder says that there shall be none."""
    return text.lower() == CACHE_OFF


def find_config(start: Path) -> Path | None:
    """The `virke.toml` in `start` or its nearest parent that has one.

    A folder above that this user may not search (in some containers) has none for this user.
    """
    for folder in (start, *start.parents):
        candidate = folder / FILE_NAME
        with suppress(PermissionError):
            if candidate.is_file():
                return candidate
    return None


def load_config(start: Path | None = None) -> Config:
    """The configuration that holds in folder `start` (default: the current one).

    Raises:
        UsageError: the file can't be read, is not TOML, or has an unknown key or a value of the wrong type.
    """
    folder = (start or Path.cwd()).absolute()
    path = find_config(folder)
    if path is None:
        return Config(folder)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise UsageError(f"{path}: can't be read: it is longer than {FILE_BYTES_MAX >> 20} MiB")
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"{path}: can't be read: {reason}") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Read the text of a `virke.toml` that is at `path`.

    Raises:
        UsageError: see `load`.
    """
    import tomllib  # where there is no such file, a start does without it

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = place[1] if place and place[1] else str(max(1, len(text.splitlines())))
        raise UsageError(f"{path}:{line}: {_TOML_PLACE.sub('', str(error))}") from error
    values = read_tables(tables, str(path))
    _check_store(values["store"], path)
    with _in_table(path, "store"):
        store, store_options = _store_url(values["store"], path.parent), _store_options(values["store"], path.parent)
    with _in_table(path, "deploy"):
        deploy = _deploy_table(values["deploy"], path.parent)
    return Config(
        folder=path.parent,
        path=path,
        project=values["project"].get("name"),
        database=values["database"].get("name"),
        store=store,
        store_options=store_options,
        memory_mb=_memory_mb(values["store"], path),
        entry=values["app"].get("entry"),
        deploy=deploy,
        edge=values["edge"],
    )


@contextmanager
def _in_table(path: Path, table: str) -> Iterator[None]:
    """Let an error say which table of the file it is in."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: [{table}] {error.message}") from error


def _check_store(table: Mapping[str, str], path: Path) -> None:
    if table.keys() & {"url", "kv", "object"} not in (set(), {"url"}, {"kv", "object"}):
        raise UsageError(f"{path}: [store] has either 'url', or 'kv' and 'object' together")
    if "token" in table and not is_node(table.get("url", "")):
        raise UsageError(f"{path}: 'token' in [store] is for a node: url = \"https://HOST\"")
    cache_mb = table.get("cache_mb", "0")
    if not (_WHOLE.fullmatch(cache_mb) and int(cache_mb) <= CACHE_MB_MAX):
        raise UsageError(f"{path}: 'cache_mb' in [store] must be a whole number from 0 to {CACHE_MB_MAX}")


def _memory_mb(table: Mapping[str, str], path: Path) -> int | None:
    return whole_memory_mb(table["memory_mb"], f"{path}: 'memory_mb' in [store]") if "memory_mb" in table else None


def whole_memory_mb(text: str, what: str) -> int:
    """A size of memory in MiB that was given as text.

    Raises:
        UsageError: it is not one, and `what` says where it is written.
    """
    if not (_WHOLE.fullmatch(text) and MEMORY_MB_MIN <= int(text) <= MEMORY_MB_MAX):
        raise UsageError(f"{what} must be a whole number from {MEMORY_MB_MIN} to {MEMORY_MB_MAX}, not {text!r}")
    return int(text)


def memory_mb_of(config: Config | None, environ: Mapping[str, str] = os.environ) -> int | None:
    """How much memory this process may use, in MiB: `VIRKE_MEMORY_MB`, else what the file says; None if neither does.

    Raises:
        UsageError: the variable is not a size.
    """
    if text := environ.get(MEMORY_VARIABLE):
        return whole_memory_mb(text, MEMORY_VARIABLE)
    return config.memory_mb if config else None


def _store_url(table: Mapping[str, str], folder: Path) -> str | None:
    """The URL, or the two URLs, of `[store]`; local ones are relative to the file."""
    urls = store_urls(table["url"]) if "url" in table else [table[key] for key in ("kv", "object") if key in table]
    return ",".join(_from_file(url, folder) for url in urls) or None


def _store_options(table: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What `[store]` has besides URLs; paths are relative to the file."""
    found = {key: value for key, value in table.items() if key in STORE_OPTIONS}
    for key in ("cache_dir", "service_account"):
        if key in found and not (key == "cache_dir" and is_cache_off(found[key])):
            found[key] = str(folder / expanded_path(found[key]))
    return found


def _from_file(url: str, folder: Path) -> str:
    path = local_path(url)
    return url if path is None else _local_url(folder / path)


def _local_url(path: Path) -> str:
    """The URL of a folder, escaped so that no comma in its name looks like the beginning of a second URL."""
    return path.absolute().as_uri()


def _deploy_table(table: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What `[deploy]` has, a local URL relative to the file. Raises `UsageError`."""
    if "token" in table and not is_node(table.get("url", "")):
        raise UsageError("'token' is for a node: url = \"https://HOST\"")
    urls = store_urls(table["url"]) if "url" in table else []
    return {**table, "url": ",".join(_from_file(url, folder) for url in urls)} if urls else dict(table)


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


def store_choice(
    config: Config, option: str | None, environ: Mapping[str, str] = os.environ, *, token: str | None = None
) -> StoreChoice:
    """The store or node to use: `option`, else `VIRKE_URL`, `VIRKE_STORE`, the file's, or the folder `.virke` next to the file.

    A node's token is `token`, else `VIRKE_TOKEN`, else the file's, which goes to the file's node alone.

    Raises:
        UsageError: `VIRKE_URL` names no node.
    """
    node = None if option else environ.get(NODE_VARIABLE)
    if node and not is_node(node):
        raise UsageError(f"{NODE_VARIABLE} names a node (https://HOST); a store is named by {STORE_VARIABLE}")
    chosen = option or node or environ.get(STORE_VARIABLE)
    options = {} if chosen else dict(config.store_options)
    url = chosen or config.store or _local_url(config.folder / STORE_FOLDER)
    if is_node(url):
        given = token or environ.get(TOKEN_VARIABLE)
        return StoreChoice(url, options | ({"token": given} if given else {}))
    if token:
        raise UsageError(f"a token is for a node (https://HOST), and {url} is a store: leave --token out")
    return StoreChoice(url, options)
