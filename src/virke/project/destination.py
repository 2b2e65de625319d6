"""Where `virke deploy` takes a database: a node or a store, found by option, environment and `virke.toml`.

Knows URLs and whose token goes where; opens nothing. What `--target fastly` makes is said in `fastly`.

1. What was asked for (`--target`, else `[deploy] target`) holds, or is an error: nothing else is deployed to in its place.
2. Where nothing was asked, a node that is known comes before a store, and a local store counts only where it was named for this.
3. A node's token goes to that node alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Final

from virke.config import (
    NODE_VARIABLE,
    STORE_VARIABLE,
    TOKEN_VARIABLE,
    Config,
    StoreChoice,
    is_node,
    local_path,
    store_urls,
)
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

HINT: Final = (
    "name one: --target node with --store https://HOST, --target store with --store s3://BUCKET/PREFIX (or both "
    "in [deploy] of virke.toml), or --target fastly"
)


@dataclass(frozen=True, slots=True)
class Destination:
    """`target` is `node` or `store`."""

    target: str
    store: StoreChoice


@dataclass(frozen=True, slots=True)
class _Known:
    """A URL that is known, and what comes with it; `is_meant`: it was named to be deployed to."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_meant: bool = False

    @property
    def is_remote(self) -> bool:
        return not all(local_path(url) is not None for url in store_urls(self.url))


def destination_of(
    config: Config,
    target: str | None,
    option: str | None,
    environ: Mapping[str, str] = os.environ,
    *,
    token: str | None = None,
) -> Destination:
    """Where to deploy to; `target` and `option` (a URL) are what the command line says.

    Raises:
        UsageError: it says nothing that can be done, or nothing is known.
    """
    asked = target or config.deploy.get("target")
    known = [_Known(option, is_meant=True)] if option else list(_known_urls(config, environ))
    nodes = [one for one in known if is_node(one.url)]
    stores = [one for one in known if not is_node(one.url)]
    match asked:
        case "node":
            chosen = nodes[:1]
        case "store":
            chosen = stores[:1]
        case _:
            chosen = [*nodes, *(one for one in stores if one.is_meant or one.is_remote)][:1]
    if not chosen:
        if asked and option:
            raise UsageError(f"{option} is not a {asked}", hint=HINT)
        raise UsageError(f"where to deploy to? No {asked or 'node and no store but this folder'} is known", hint=HINT)
    return _destination_of(chosen[0], token or environ.get(TOKEN_VARIABLE), is_given=token is not None)


def _known_urls(config: Config, environ: Mapping[str, str]) -> Iterator[_Known]:
    """All URLs that are known, those that weigh most first."""
    if node := environ.get(NODE_VARIABLE):
        if not is_node(node):
            raise UsageError(f"{NODE_VARIABLE} names a node (https://HOST); a store is named by {STORE_VARIABLE}")
        yield _Known(node)
    if store := environ.get(STORE_VARIABLE):
        yield _Known(store)
    if "url" in config.deploy:
        own = {"token": config.deploy["token"]} if "token" in config.deploy else {}
        yield _Known(config.deploy["url"], own, is_meant=True)
    if config.store:
        yield _Known(config.store, config.store_options)


def _destination_of(chosen: _Known, token: str | None, *, is_given: bool) -> Destination:
    if is_node(chosen.url):
        return Destination("node", StoreChoice(chosen.url, {**chosen.options, **({"token": token} if token else {})}))
    if is_given:
        raise UsageError(f"a token is for a node (https://HOST), and {chosen.url} is a store: leave --token out")
    return Destination("store", StoreChoice(",".join(map(_absolute_url, store_urls(chosen.url))), chosen.options))


def _absolute_url(url: str) -> str:
    """A URL that means the same in every folder: it is shown, to be put into an app's environment."""
    path = local_path(url)
    return url if path is None else path.absolute().as_uri()
