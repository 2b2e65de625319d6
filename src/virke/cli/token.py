"""`virke token create`, `list` and `revoke`: who may do what with which databases of a store.

1. The text of a token is data: it goes to stdout, alone, so that a script can keep it. It is printed once.
2. They are those of a store, or, through a node, those of its store.
3. `--db` is a pattern here. Without it, the database that VIRKE_DB or virke.toml names is meant.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import click

from virke.cli.render import table
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import store_of
from virke.cli.times import instant_text
from virke.config import database_name, load_config
from virke.errors import UsageError

if TYPE_CHECKING:
    from virke.tokens import Token

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LIFETIME = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SCOPES: Final = ("read", "write", "schema", "admin")


def lifetime_s(text: str) -> int | None:
    """Seconds of `30d`, `12h`, `90m` or `45s`; None for `never`. Raises `UsageError`."""
    if text == "never":
        return None
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise UsageError(f"--expires takes a time such as 30d, 12h, 90m or 45s, or `never`, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


@click.command()
@click.option("--also", multiple=True, metavar="PATTERN", help="More databases. May be given several times.")
@click.option("--scope", type=click.Choice(_SCOPES), required=True, help="What it may do.")
@click.option("--expires", default="never", metavar="TIME", show_default=True, help="30d, 12h, 90m or 45s from now.")
@click.option("--name", default="", help="What it is for, as `virke token list` shows it.")
@global_options
@pass_state
def create(state: State, *, also: tuple[str, ...], scope: str, expires: str, name: str) -> None:
    """Create a token, and print it once.

    It is for the databases whose names fit --db: 'app-*' fits app-1, '*' fits all. From the first token on, a node
    answers nothing without one.
    """
    store, databases = store_of(state), [database_name(load_config(), state.db), *also]
    seconds = lifetime_s(expires)
    from virke import tokens
    from virke.opening import node_of, open_store
    from virke.scopes import Scope

    wanted = Scope.named(scope)
    if (node := node_of(store)) is not None:
        with closing(node):
            text, token = node.create_token(databases, wanted, lifetime_s=seconds, name=name)
    else:
        opened = open_store(store, create=True)
        text, token = tokens.create(opened, databases, wanted, lifetime_s=seconds, name=name)
    if state.json:
        state.data({"token": text} | token.as_dict())
        return
    click.echo(text)
    until = "" if token.expires_ms is None else f" until {instant_text(token.expires_ms)}"
    state.note(f"token {token.id}: {scope} on {', '.join(token.databases)}{until}; it is not shown again")


@click.command(name="list")
@global_options
@pass_state
def list_(state: State) -> None:
    """List the tokens of the store, without their text; expired ones stay until they are revoked."""
    store = store_of(state)
    from virke import tokens
    from virke.opening import node_of, open_store

    if (node := node_of(store)) is not None:
        with closing(node):
            found = node.tokens()
    else:
        found = tokens.listing(open_store(store))
    now_ms = time.time_ns() // 1_000_000
    if state.json:
        state.data({"tokens": [one.as_dict() | {"expired": one.is_expired(now_ms)} for one in found]})
        return
    rows = [(one.id, one.scope.word, " ".join(one.databases), _expiry_text(one, now_ms), one.name) for one in found]
    for line in table(("id", "scope", "databases", "expires", "name"), rows):
        click.echo(line)


def _expiry_text(token: Token, now_ms: int) -> str:
    if token.expires_ms is None:
        return "never"
    return "expired" if token.is_expired(now_ms) else instant_text(token.expires_ms)


@click.command()
@click.argument("token_id", metavar="ID")
@global_options
@pass_state
def revoke(state: State, token_id: str) -> None:
    """Make a token no longer good; ID is what `virke token list` shows.

    Nodes refuse it a few seconds later.
    """
    store = store_of(state)
    from virke import tokens
    from virke.opening import node_of, open_store

    if (node := node_of(store)) is not None:
        with closing(node):
            revoked, left = node.revoke_token(token_id)
    else:
        token, left = tokens.revoke(open_store(store), token_id)
        revoked = token.id
    if state.json:
        state.data({"revoked": revoked, "left": left})
        return
    state.result(f"revoked {revoked}")
    if not left:
        state.note("note: that was the last token; without any, nodes answer requests from their own machine")
