"""The stores of an account that a service is linked to: KV, Config and Secret Stores, and their items.

Knows their paths; knows nothing of databases.

1. A store is found by its name, and made if there is none.
2. An item that has its value is not written again. What a secret was is not to be read back, so a digest of it is kept where the
   caller says (`Deployed`), written after the secret.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from virke.edge.deploying.account import Account, form_body, json_body, path_segment, text_of
from virke.errors import Unavailable
from virke.lazy_dataclasses import dataclass

KV: Final = "/resources/stores/kv"
CONFIG: Final = "/resources/stores/config"
SECRET: Final = "/resources/stores/secret"
_WORDS: Final = {KV: "KV store", CONFIG: "config store", SECRET: "secret store"}
STATE_ITEM: Final = "deployed"
"""The item of the Config Store in which a deployment notes what it can't read back."""
_DIGEST_CHARS: Final = 16


def found_store(account: Account, kind: str, name: str) -> str | None:
    """The id of a store. Raises `Unavailable`, `Denied`."""
    rows = account.rows(kind, name=name)
    return next((text_of(row, "id") for row in rows if row.get("name") == name), None)


def ensure_store(account: Account, kind: str, name: str) -> str:
    """The id of a store; makes it. Raises as `Account.change`."""
    found = found_store(account, kind, name)
    if found is not None:
        return found
    body = form_body(name=name) if kind == CONFIG else json_body({"name": name})
    made = account.change(
        "POST", kind, body, f"created {_WORDS[kind]} {name}", made={"id": f"{{{_WORDS[kind]} {name}}}"}
    )
    if not (new := text_of(made, "id")):
        raise Unavailable(f"Fastly made {_WORDS[kind]} {name} but gave no id; run it again")
    return new


@dataclass(frozen=True, slots=True)
class Noted:
    """What a deployment notes for the next: digests of secrets, and whose tokens are in them, by name."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As an item of a Config Store."""
        return json.dumps({"secrets": dict(self.secrets), "tokens": dict(self.tokens)}, sort_keys=True)


def noted_state(items: Mapping[str, str]) -> Noted:
    """What the last deployment noted; nothing if it can't be read."""
    try:
        found = json.loads(items.get(STATE_ITEM, "{}"))
        return Noted(*({str(k): str(v) for k, v in found.get(name, {}).items()} for name in ("secrets", "tokens")))
    except (ValueError, AttributeError):
        return Noted()


def secret_digest(store_id: str, name: str, value: str) -> str:
    """What shows whether a secret is another: too little to find it by."""
    return hashlib.sha256(f"virke\0{store_id}\0{name}\0{value}".encode()).hexdigest()[:_DIGEST_CHARS]


def config_items(account: Account, store_id: str) -> dict[str, str]:
    """The items of a Config Store. Raises `Unavailable`, `Denied`."""
    rows = account.rows(f"{CONFIG}/{path_segment(store_id)}/items") if "{" not in store_id else []
    return {text_of(row, "item_key"): text_of(row, "item_value") for row in rows}


def set_item(account: Account, store_id: str, key: str, value: str) -> None:
    """Write an item of a Config Store. Raises as `Account.change`."""
    path = f"{CONFIG}/{_id_in_path(store_id)}/item/{path_segment(key)}"
    account.change("PUT", path, form_body(item_value=value), f"set {key} in the config store")


def remove_item(account: Account, store_id: str, key: str) -> None:
    """Delete an item of a Config Store. Raises as `Account.change`."""
    account.change(
        "DELETE",
        f"{CONFIG}/{_id_in_path(store_id)}/item/{path_segment(key)}",
        form_body(),
        f"removed {key} from the config store",
    )


def secret_names(account: Account, store_id: str) -> set[str]:
    """The names of the secrets of a Secret Store. Raises `Unavailable`, `Denied`."""
    return {text_of(row, "name") for row in account.rows(f"{SECRET}/{_id_in_path(store_id)}/secrets")}


def set_secret(account: Account, store_id: str, name: str, value: str) -> None:
    """Write a secret, whether there is one of this name or not. Raises as `Account.change`."""
    body = json_body({"name": name, "secret": b64encode(value.encode()).decode()}, hidden="secret")
    account.change("PUT", f"{SECRET}/{_id_in_path(store_id)}/secrets", body, f"set the secret {name}")


def _id_in_path(store_id: str) -> str:
    return store_id if store_id.startswith("{") else path_segment(store_id)
