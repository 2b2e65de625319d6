"""Projects that are deployed to the model of Fastly, and what is then there, told without ids."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

from tests.servers.fastly_account import Account, Named
from tests.servers.fastly_api import FastlyApi
from virke import tokens
from virke.config import StoreChoice
from virke.opening import connect, open_store

TOML: Final = '[project]\nname = "my-app"\n\n[database]\nname = "my-app-db"\n'
USERS: Final = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
POSTS: Final = "CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users);\n"
PROGRAM: Final = b"\0asm\x0d\0\x01\0"


def package(name: str, program: bytes = PROGRAM) -> bytes:
    """A package with a program."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for path, content in (
            (f"{name}/bin/main.wasm", program),
            (f"{name}/fastly.toml", f'name = "{name}"\n'.encode()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def write_project(folder: Path, *, is_two: bool = False, toml: str = TOML) -> None:
    """A project with one migration and what `virke build` makes; `is_two`: with an app in TypeScript."""
    for name in ("migrations", "pkg", *(["src"] if is_two else [])):
        (folder / name).mkdir(exist_ok=True)
    (folder / "virke.toml").write_text(toml)
    (folder / "migrations" / "001_users.sql").write_text(USERS)
    (folder / "pkg" / "my-app.tar.gz").write_bytes(package("my-app"))
    if is_two:
        (folder / "src" / "index.ts").write_text("export default {};\n")
        (folder / "pkg" / "my-app-app.tar.gz").write_bytes(package("my-app-app", b"\0asm\1\0\0\0"))


def there(api: FastlyApi) -> dict[str, Any]:
    """Everything that was made, by names; secrets as they are, but for tokens, of which only their number is told."""
    account = api.account
    return {
        "services": {one.name: _service(account, one.id) for one in account.services.values()},
        "kv": sorted(one.name for one in account.kv.values()),
        "config": {one.name: {**one.content, "deployed": ""} for one in account.config.values()},
        "secrets": {one.name: _secrets(one) for one in account.secret.values()},
        "databases": {one.name: database(api, one.id) for one in account.kv.values()},
    }


def database(api: FastlyApi, kv_id: str) -> dict[str, Any]:
    """What the database of a KV store has, and for which apps there are tokens."""
    url = kv_url(api, kv_id)
    store = open_store(StoreChoice(url, {"cache_dir": "off"}))
    opened = connect("my-app-db", StoreChoice(url, {"cache_dir": "off"}), background=False)
    try:
        names = [
            row[0]
            for row in opened.query("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'virke_%' ORDER BY 1").rows
        ]
    finally:
        opened.close(push=False)
    return {"tables": names, "tokens": sorted(one.name for one in tokens.listing(store))}


def kv_url(api: FastlyApi, kv_id: str) -> str:
    """The URL of a KV store of the model."""
    return f"fastly-kv://{kv_id}?api={api.url}"


def app_token_is_good(api: FastlyApi) -> bool:
    """Whether the token that the app has is one that the database knows, and no other of an app is left."""
    (kv,) = api.account.kv.values()
    secret = next(one for one in api.account.secret.values() if one.name == "virke-my-app-app").content["token"]
    known = [one for one in tokens.listing(open_store(kv_url(api, kv.id))) if one.name.startswith("the app")]
    return [one.hash for one in known] == [hashlib.sha256(secret.encode()).digest()]


def _secrets(found: Named) -> dict[str, str]:
    return {name: "" if name == "token" else value for name, value in found.content.items()}


def _service(account: Account, service_id: str) -> dict[str, Any]:
    service = account.services[service_id]
    active = service.active
    if active is None:
        return {}
    names = {one.id: one.name for stores in (account.kv, account.config, account.secret) for one in stores.values()}
    ids = {one.id.lower(): one.name for one in account.services.values()}

    def told(text: object) -> str:
        found = str(text)
        for own, name in ids.items():
            found = found.replace(own, f"({name})")
        return found

    return {
        "domains": [told(name) for name in active.domains],
        "backends": {
            name: {key: told(value) for key, value in sorted(one.items())} for name, one in active.backends.items()
        },
        "links": sorted(
            (one["resource_type"], one["name"], names[one["resource_id"]]) for one in active.links.values()
        ),
        "package": hashlib.sha256(active.package).hexdigest(),
    }


def as_text(found: dict[str, Any]) -> str:
    """The same as text, that compares and reads well."""
    return json.dumps(found, indent=1, sort_keys=True)
