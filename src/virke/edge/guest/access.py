"""Access at the edge: for holders of tokens, as on a node, and for no one else.

Knows headers and the table of tokens.

1. There is no loopback here: a store without tokens answers 401 to every request. Only a service that was configured as open
   serves one; which host or address a request names is never asked.
2. The tokens are read at most once in some seconds, in a sandbox that is used again (`TokenTable`), in one round with the
   root of the database that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from virke.api.messages import bearer_token
from virke.engine.environment import Environment
from virke.errors import Denied
from virke.scopes import Scope
from virke.stores.base import Store
from virke.tokens import Granted, TokenTable

HINT: Final = "create a token with the CLI, on this KV store: virke token create --scope admin --db '*'"
NO_TOKENS: Final = "this store holds no tokens yet, and the edge answers no request without one"


class Access:
    """What holds requests against the tokens of the service's store."""

    def __init__(self, store: Store, environment: Environment, *, is_open: bool) -> None:
        self._table = TokenTable(store, environment=environment)
        self._is_open = is_open

    @property
    def is_due(self) -> bool:
        """Whether the store has to be asked before a request is held against its tokens."""
        return self._table.is_due

    def enter(self, headers: Mapping[str, str]) -> str | None:
        """The token of a request that may ask anything at all; None where none is needed.

        Raises:
            Denied: it may not. Unavailable: the store has not confirmed its tokens for too long.
        """
        if self._table.is_due:
            self._table.refresh()
        if not self._table.needs_token:
            if not self._is_open:
                raise Denied(NO_TOKENS, needs_token=True, hint=HINT)
            return None
        token = bearer_token(headers)
        self.check(token, None, Scope.READ)
        return token

    def renew(self) -> None:
        """The tokens were changed by this sandbox: the next request is held against the new ones. Raises `Corrupt`."""
        self._table.renew()

    def check(self, token: str | None, database: str | None, needed: Scope) -> Granted:
        """What a token grants for a database, or for the whole store. Raises `Denied`, `Unavailable`."""
        return self._table.granted(token, database, needed, hint=HINT)
