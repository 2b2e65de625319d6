"""One node: requests carried out by blocking, and what is asked of it as a whole.

Knows how requests are sent and sent again; knows no SQL.

1. Safe to share between threads: each request has a connection of its own while it runs.
2. What sends and what waits can be given: at the edge there are no sockets, and a request may not wait for long.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from virke.client import asking, reading
from virke.client.address import Address
from virke.client.exchange import Again, Answer, NoAnswer, NotSent, Request, Send, exchange_request
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.engine.terms import Cancel
from virke.scopes import Scope
from virke.tokens import Token


class Transport(Protocol):
    """Sends requests to one node."""

    def send(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """Send one request, once. Raises `NotSent`, `NoAnswer`; `TimedOut`: it was cancelled."""

    def close(self) -> None:
        """Close the connections that no request uses."""


class Node:
    """A node, by its address."""

    def __init__(
        self, address: Address, transport: Transport | None = None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """`transport` is, unless one is given, sockets of this process. `pause` waits; what it raises ends a request."""
        self.address = address
        self._transport = transport or _socket_transport(address)
        self._pause = pause

    def __repr__(self) -> str:
        return f"Node({self.address.url!r})"

    def ask(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """Send a request, again where that is safe. Raises what the node says, `Unavailable`, `OutcomeUnknown`, `TimedOut`."""
        doing = exchange_request(request)
        effect = next(doing)
        while True:
            try:
                if isinstance(effect, Send):
                    try:
                        answer = self._transport.send(effect.request, cancel)
                    except (NotSent, NoAnswer) as error:
                        effect = doing.throw(error)
                    else:
                        effect = doing.send(answer)
                else:
                    self._pause(effect.seconds * (1 + random.random() / 2))
                    effect = doing.send(None)
            except StopIteration as end:
                found: Answer = end.value
                return found

    def json(self, request: Request, cancel: Cancel | None = None) -> Any:
        """The body of the answer. Raises as `ask`."""
        return reading.json_of(self.ask(request, cancel))

    def names(self) -> list[str]:
        """The names of the databases that the token may see. Raises as `ask`."""
        return reading.understand_value(reading.names_of, self.json(asking.get_request("/db")))

    def create(self, name: str, *, if_not_exists: bool, page_size: int = PAGE_SIZE_DEFAULT) -> bool:
        """Create a database; False if it was there. Raises `Exists`, `Invalid`, and as `ask`."""
        again = Again.SAFE if if_not_exists else Again.IF_REFUSED
        path = asking.path_of(name) + ("?if_not_exists=1" if if_not_exists else "")
        found = self.json(Request("PUT", path, asking.body_of({"page_size": page_size}), again=again))
        return reading.understand_value(lambda one: bool(one["created"]), found)

    def delete(self, name: str) -> None:
        """Delete a database and its history. Raises `NotFound`, `Invalid`, `Conflict`, and as `ask`."""
        self.ask(Request("DELETE", asking.path_of(name), patience_s=asking.LONG_S))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens of the node's store, without their text and its hash. Raises as `ask`."""
        return reading.understand_value(reading.tokens_of, self.json(asking.get_request("/tokens")))

    def create_token(
        self, databases: Sequence[str], scope: Scope, *, lifetime_s: int | None, name: str
    ) -> tuple[str, Token]:
        """A new token: its text, which is shown now only, and the rest. Raises as `tokens.create`, and as `ask`."""
        body: dict[str, object] = {"db": list(databases), "scope": scope.word, "name": name}
        found = self.json(
            asking.post_request("/tokens", body if lifetime_s is None else body | {"expires_s": lifetime_s})
        )
        return reading.understand_value(lambda one: (str(one["token"]), reading.token_of(one)), found)

    def revoke_token(self, token_id: str) -> tuple[str, int]:
        """Make a token no longer good: its id, and how many are left. Raises `NotFound`, and as `ask`."""
        found = self.json(Request("DELETE", f"/tokens/{quote(token_id, safe='')}"))
        return reading.understand_value(lambda one: (str(one["revoked"]), int(one["left"])), found)

    def close(self) -> None:
        """Close the connections that no request uses."""
        self._transport.close()


def _socket_transport(address: Address) -> Transport:
    from virke.client.http import Connections  # not at the edge, which has no sockets

    return Connections(address)
