"""The service of a database, with all that belongs to it, and the service of an app that asks it.

Knows in which order things are made; each step is in a file of its own.

1. Each step looks first and makes what is missing, so it can be run again after it was killed anywhere.
2. What a service reads is there before the service: stores and their items come before the version that needs them.
3. An app has a token of its own, in a Secret Store of its own, and reads the database's name where the database does. That it is there is noted only after both were written. A
   token that was made and never got there is revoked by the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import Final

from virke import tokens
from virke.edge.deploying.account import Account
from virke.edge.deploying.package import Package
from virke.edge.deploying.services import Backend, Brought, Wanted, bring_service
from virke.edge.deploying.settings import LINK, OWN_ITEMS, Settings
from virke.edge.deploying.stores import (
    CONFIG,
    SECRET,
    STATE_ITEM,
    Noted,
    config_items,
    ensure_store,
    noted_state,
    remove_item,
    secret_digest,
    secret_names,
    set_item,
    set_secret,
)
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope
from virke.stores.base import Store

APP_TOKEN: Final = "token"
"""The secret that the JavaScript runtime reads."""
APP_TOKEN_NAME: Final = "the app, by virke deploy"
FIRST_TOKEN_NAME: Final = "the first, by virke deploy"


@dataclass(slots=True)
class Stores:
    """The stores of a database's service, and what the last deployment noted there."""

    name: str
    kv: str
    config: str = ""
    secret: str = ""
    state: Noted = field(default_factory=Noted)


def configure_stores(account: Account, kv_id: str, name: str, settings: Settings) -> Stores:
    """Make the Config Store and the Secret Store, and write what they lack. Raises as `Account.change`."""
    found = Stores(name, kv_id, config=ensure_store(account, CONFIG, name), secret=ensure_store(account, SECRET, name))
    items = config_items(account, found.config)
    found.state = noted_state(items)
    wanted = settings.items()
    for key, value in wanted.items():
        if items.get(key) != value:
            set_item(account, found.config, key, value)
    for key in OWN_ITEMS:
        if key in items and key not in wanted:
            remove_item(account, found.config, key)
    there = secret_names(account, found.secret)
    for secret, value in settings.secrets().items():
        mark = secret_digest(found.secret, secret, value)
        if secret not in there or found.state.secrets.get(secret) != mark:
            set_secret(account, found.secret, secret, value)
            _note_state(account, found, replace(found.state, secrets={**found.state.secrets, secret: mark}))
    return found


def bring_database(
    account: Account, stores: Stores, settings: Settings, package: Package, *, name: str, service_id: str | None
) -> Brought:
    """Make, or change, the database's service. Raises as `Account.change`."""
    links = {"kv": stores.kv, "config": stores.config, "secret": stores.secret}
    return bring_service(account, Wanted(name, package, LINK, links, settings.backends(), service_id))


def bring_app(
    account: Account,
    stores: Stores,
    database: Brought,
    package: Package,
    *,
    name: str,
    tokens_of: Store | None,
    database_name: str,
) -> Brought:
    """Make, or change, the service of an app, which reaches the database through its backend. Raises as `Account.change`."""
    secret = ensure_store(account, SECRET, f"{stores.name}-app")
    _give_token(account, stores, secret, tokens_of=tokens_of, database=database_name)
    backend = Backend(LINK, database.domain)
    return bring_service(account, Wanted(name, package, LINK, {"config": stores.config, "secret": secret}, (backend,)))


def first_token(tokens_of: Store, database: str, show: Callable[[str], None]) -> bool:
    """Make a token if the store has none at all; it is shown before it is good, so that none is ever good and unseen."""
    if tokens.listing(tokens_of):
        return False
    text = tokens.new_text()
    show(text)
    tokens.create(tokens_of, [database], Scope.WRITE, name=FIRST_TOKEN_NAME, text=text)
    return True


def _give_token(account: Account, stores: Stores, secret: str, *, tokens_of: Store | None, database: str) -> None:
    """Rule 3."""
    known = stores.state.tokens.get(APP_TOKEN)
    ours = [] if tokens_of is None else [one.id for one in tokens.listing(tokens_of) if one.name == APP_TOKEN_NAME]
    is_there = known in ours and APP_TOKEN in secret_names(account, secret)
    if account.is_rehearsal or tokens_of is None:
        if not is_there:
            set_secret(account, secret, APP_TOKEN, "")
            _note_state(account, stores, stores.state)
        return
    if not is_there:
        text, token = tokens.create(tokens_of, [database], Scope.WRITE, name=APP_TOKEN_NAME)
        set_secret(account, secret, APP_TOKEN, text)
        _note_state(account, stores, replace(stores.state, tokens={**stores.state.tokens, APP_TOKEN: token.id}))
        known = token.id
    for old in ours:
        if old != known:
            tokens.revoke(tokens_of, old)


def _note_state(account: Account, stores: Stores, state: Noted) -> None:
    stores.state = state
    set_item(account, stores.config, STATE_ITEM, state.text())
