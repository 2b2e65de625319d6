"""The tokens of a store as a server holds them: what each request is held against, without asking the store each time.

Knows the record and one register; knows no HTTP, no thread and no timer.

1. `check` and `needs_token` never ask the store. `refresh` does, by one conditional read, and is due (`is_due`) at most
   once in `READ_EVERY_S` of traffic: without a request nothing is asked.
2. A token that expired is refused from that millisecond on. One that was revoked is refused after at most
   `READ_EVERY_S` and the time of one read, if the store answers (and shows what is new). A request that comes while the
   store is asked goes on with what is held, unless that is older: after a pause in the traffic all wait for the answer.
3. While the store does not answer, what is held stays good for `STALE_MAX_S` since the last answer; after that nothing is
   granted (`Unavailable`): a token that was revoked must not outlive an outage that an attacker arranged.
4. The record never goes away and never goes back: what is absent or older than what was seen is an old copy, or a store
   that forgot. It counts as no answer, so that it can't open the door.
5. Tokens are found by their hash and compared in constant time.
"""

from __future__ import annotations

import threading
from hmac import compare_digest
from typing import Final

from virke.core.effects import Generation, Record, Unchanged
from virke.engine.environment import Environment
from virke.engine.repeating import repeated
from virke.errors import Denied, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope
from virke.stores.base import Store
from virke.tokens.record import ALL, KEY, PREFIX, TOKEN_CHARS, Token, Tokens, decode_record, hash_of

READ_EVERY_S: Final = 5.0
STALE_MAX_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Granted:
    """The request may do what its scope allows; None: no token was needed."""

    scope: Scope
    token: Token | None = None

    def may_see(self, database: str) -> bool:
        """Whether a listing shows this database to it."""
        return self.token is None or self.token.covers(database)


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """There is no token, or not a good one: 401. It is not said whether it was ever good, except that it has ended."""

    message: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The token is good, and not for this: 403."""

    message: str


_ALL: Final = Granted(Scope.ADMIN)
_NONE: Final = Unauthorized("this needs a token: send it as `Authorization: Bearer vk_…`")
_UNKNOWN: Final = Unauthorized("the token is not valid: it is mistyped, or was revoked")
_EXPIRED: Final = Unauthorized("the token has expired: ask for a new one")


class TokenTable:
    """The tokens of one store, as this server knows them. Shared by all of its threads."""

    def __init__(
        self,
        store: Store,
        *,
        environment: Environment | None = None,
        read_every_s: float = READ_EVERY_S,
        stale_max_s: float = STALE_MAX_S,
    ) -> None:
        self._register = store.register
        self._env = environment or Environment()
        self._read_every_s = read_every_s
        self._stale_max_s = stale_max_s
        self._lock = threading.Lock()
        self._record = Tokens()
        self._by_hash: dict[bytes, Token] = {}
        self._generation: Generation | None = None
        self._asked_s: float | None = None
        self._confirmed_s: float | None = None
        self._is_down = False
        self._why = "the store was not asked yet"

    @property
    def is_due(self) -> bool:
        """Whether a request that comes now should call `refresh` first."""
        return self._is_time() or (self._lock.locked() and not self._may_go_on())

    def refresh(self) -> None:
        """Ask the store if that is due; it may block, once for all callers.

        Those that come meanwhile go on with what is held, unless it is too old for that (rule 2).

        Raises:
            Corrupt: the record is damaged; nothing is granted by it.
        """
        if not self._lock.acquire(blocking=not self._may_go_on()):
            return
        try:
            if self._is_time():
                self._ask_store()
        finally:
            self._lock.release()

    def renew(self) -> None:
        """Ask the store now: this server has just changed the tokens, so what is held is old. Raises as `refresh`."""
        with self._lock:
            self._ask_store()

    def _is_time(self) -> bool:
        return self._asked_s is None or self._env.monotonic() >= self._asked_s + self._read_every_s

    def _may_go_on(self) -> bool:
        """Whether what is held is good enough for those that come while the store is asked."""
        if self._confirmed_s is None:
            return False
        good_s = self._stale_max_s if self._is_down else 2 * self._read_every_s
        return self._env.monotonic() <= self._confirmed_s + good_s

    def _ask_store(self) -> None:
        self._asked_s = began_s = self._env.monotonic()
        try:
            seen = repeated(self._env, lambda: self._register.read(KEY, self._generation))
            if isinstance(seen, Record):
                self._take_record(decode_record(seen.data), seen.generation)
            elif not isinstance(seen, Unchanged) and self._record.version:
                raise Unavailable("the store does not show its tokens any more")
        except Unavailable as error:
            self._why, self._is_down = error.message, True
            return
        except VirkeError as error:
            self._why, self._confirmed_s = error.message, None
            raise
        self._confirmed_s, self._is_down = began_s, False

    def _take_record(self, record: Tokens, generation: Generation) -> None:
        if record.version < self._record.version:
            raise Unavailable("the store shows tokens of an earlier time")
        self._by_hash = {token.hash: token for token in record.tokens}
        self._record, self._generation = record, generation

    @property
    def needs_token(self) -> bool:
        """Whether the store holds any token, expired ones included: then every request needs one. Raises as `check`."""
        self._check_fresh()
        return bool(self._record.tokens)

    def needs_token_now(self) -> bool | None:
        """As `needs_token`, in one look; None: `is_due`. Raises as `check`."""
        asked_s, confirmed_s = self._asked_s, self._confirmed_s
        if asked_s is None or confirmed_s is None or self._lock.locked():
            return None if self.is_due else self.needs_token
        now_s = self._env.monotonic()
        if now_s >= asked_s + self._read_every_s:
            return None
        if now_s > confirmed_s + self._stale_max_s:
            self._check_fresh()
        return bool(self._record.tokens)

    def granted(self, text: str | None, database: str | None, needed: Scope, *, hint: str) -> Granted:
        """As `check`. Raises `Denied`: nothing is granted; `hint` is for who has no good token. `Unavailable`."""
        match self.check(text, database, needed):
            case Granted() as found:
                return found
            case Unauthorized(message):
                raise Denied(message, needs_token=True, hint=hint)
            case Forbidden(message):
                raise Denied(message)

    def check(
        self, text: str | None, database: str | None, needed: Scope, now_ms: int | None = None
    ) -> Granted | Unauthorized | Forbidden:
        """What a request may do that shows this token; `database` is None for what concerns the whole store.

        For the whole store a token has to be one for all databases (`*`), unless only `read` is needed: what it then sees
        is what `Granted.may_see` says.

        Raises:
            Unavailable: the store has not confirmed its tokens for too long.
        """
        self._check_fresh()
        if not self._record.tokens:
            return _ALL
        if not text:
            return _NONE
        token = self._find_token(text)
        if token is None:
            return _UNKNOWN
        if token.is_expired(self._env.now_ms() if now_ms is None else now_ms):
            return _EXPIRED
        if token.scope < needed:
            return Forbidden(f"this needs a token of scope `{needed.word}`; this one has `{token.scope.word}`")
        if database is not None and not token.covers(database):
            return Forbidden(f"this token is not for database {database!r}")
        if database is None and needed > Scope.READ and ALL not in token.databases:
            return Forbidden("this concerns every database: it needs a token for `*`")
        return Granted(token.scope, token)

    def _find_token(self, text: str) -> Token | None:
        if len(text) != TOKEN_CHARS or not text.startswith(PREFIX):
            return None
        hashed = hash_of(text)
        token = self._by_hash.get(hashed)
        return token if token is not None and compare_digest(token.hash, hashed) else None

    def _check_fresh(self) -> None:
        confirmed_s = self._confirmed_s
        if confirmed_s is None or self._env.monotonic() > confirmed_s + self._stale_max_s:
            raise Unavailable(f"the tokens of the store can't be confirmed: {self._why}")
