"""Creating, listing and revoking the tokens of a store.

1. A change is one compare-and-swap of the whole record; one that lost a race is made again on the newer record.
2. A change whose answer was lost is looked for in the record by its id: it is answered as done, made again, or is
   `OutcomeUnknown`, never both done and reported as failed.
3. The text of a token leaves `create` once and is kept nowhere.
"""

from __future__ import annotations

from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Generator, Sequence
from typing import Final

from virke.core.effects import Absent, Effect, Generation, Outcome, Pause, Record, SwapRoot
from virke.core.placing import Beaten, Placed, Unproved, place_record, read_record
from virke.engine.driver import Driver
from virke.engine.environment import Environment
from virke.errors import Conflict, Invalid, NotFound, OutcomeUnknown, Unavailable
from virke.scopes import Scope
from virke.stores.base import Store
from virke.tokens.record import (
    CHANGES_KEPT,
    KEY,
    LABEL_CHARS_MAX,
    PATTERNS_MAX,
    PREFIX,
    SECRET_BYTES,
    Token,
    Tokens,
    check_pattern,
    decode_record,
    encode_record,
    hash_of,
)

ATTEMPTS: Final = 16
ID_BYTES: Final = 5
LIFETIME_S_MAX: Final = 36_525 * 86_400
_CHANGE_BYTES: Final = 16
Edit = Callable[[Tokens], tuple[Token, ...]]


def create(
    store: Store,
    databases: Sequence[str],
    scope: Scope,
    *,
    lifetime_s: int | None = None,
    name: str = "",
    environment: Environment | None = None,
    text: str | None = None,
) -> tuple[str, Token]:
    """A new token for databases whose names fit one of the patterns: its text, which is shown now only, and the rest.

    `text` is one of `new_text`, for a caller who has to show it before it is good.

    Raises:
        Invalid: a pattern, the name or the lifetime can't be one. TooLarge: the store holds too many tokens.
        Unavailable, Conflict: nothing was changed. OutcomeUnknown: list the tokens. Corrupt: the record is damaged.
    """
    if not 1 <= len(databases) <= PATTERNS_MAX:
        raise Invalid(f"a token has from 1 to {PATTERNS_MAX} patterns of databases")
    if len(name) > LABEL_CHARS_MAX or not (name.isprintable() or not name):
        raise Invalid(f"the name of a token has at most {LABEL_CHARS_MAX} printable characters")
    if lifetime_s is not None and not 1 <= lifetime_s <= LIFETIME_S_MAX:
        raise Invalid("a token lives for at least one second and at most 100 years, or for ever")
    env = environment or Environment()
    text = new_text(env) if text is None else text
    now_ms = env.now_ms()
    token = Token(
        id=b32encode(env.random_bytes(ID_BYTES)).decode().lower(),
        hash=hash_of(text),
        databases=tuple(map(check_pattern, databases)),
        scope=scope,
        created_ms=now_ms,
        expires_ms=None if lifetime_s is None else now_ms + lifetime_s * 1000,
        name=name,
    )
    _run_change(store, env, lambda record: (*record.tokens, token))
    return text, token


def new_text(environment: Environment | None = None) -> str:
    """The text of a token that does not exist yet."""
    random = (environment or Environment()).random_bytes(SECRET_BYTES)
    return PREFIX + urlsafe_b64encode(random).rstrip(b"=").decode()


def listing(store: Store, environment: Environment | None = None) -> tuple[Token, ...]:
    """Every token of a store, oldest first, those that are expired too. Raises `Unavailable`, `Corrupt`."""
    seen = Driver(store, KEY, environment or Environment()).run(read_record(KEY))
    return _decoded_record(seen).tokens


def revoke(store: Store, token_id: str, environment: Environment | None = None) -> tuple[Token, int]:
    """A token is no longer good; returns what it was, and how many are left.

    Raises:
        NotFound: there is none with this id. Unavailable, Conflict: nothing was changed.
        OutcomeUnknown: list the tokens. Corrupt: the record is damaged.
    """
    revoked: list[Token] = []
    left = 0

    def edit(record: Tokens) -> tuple[Token, ...]:
        nonlocal left
        revoked[:] = [one for one in record.tokens if one.id == token_id]
        if not revoked:
            raise NotFound(f"there is no token {token_id!r}")
        kept = tuple(one for one in record.tokens if one.id != token_id)
        left = len(kept)
        return kept

    _run_change(store, environment or Environment(), edit)
    return revoked[0], left


def _run_change(store: Store, env: Environment, edit: Edit) -> None:
    change_id = env.random_bytes(_CHANGE_BYTES).hex()
    Driver(store, KEY, env).run(change_tokens(edit, change_id))


def change_tokens(edit: Edit, change_id: str) -> Generator[Effect, Outcome, None]:
    """Replace the tokens by those that `edit` makes of them, whatever others change meanwhile. Raises as `revoke`."""
    for attempt in range(ATTEMPTS):
        seen = yield from read_record(KEY)
        base = _decoded_record(seen)
        if change_id in base.changes:
            return
        changed = base.changed(edit(base), change_id)
        generation: Generation | None = seen.generation if isinstance(seen, Record) else None
        match (
            yield from place_record(SwapRoot(encode_record(changed), generation, KEY), _looking_for(base, change_id))
        ):
            case Placed():
                return
            case Beaten(by):
                if (
                    _decoded_record(by).version > base.version + CHANGES_KEPT
                ):  # ours may have been among those forgotten
                    raise OutcomeUnknown(f"the answer was lost among other changes of the tokens: {_LIST}")
            case Unproved(reason, is_surely_not=True):
                raise Unavailable(f"the store did not take the change, and nothing was changed: {reason}")
            case Unproved(reason):
                raise OutcomeUnknown(f"it is not known whether the tokens were changed ({reason}): {_LIST}")
        yield Pause(attempt)
    raise Conflict("other changes of the tokens kept coming first; nothing was changed, try again")


_LIST: Final = "`virke token list` says"


def _looking_for(base: Tokens, change_id: str) -> Callable[[Record | Absent], Placed | Beaten | None]:
    """What the register shows of a change that was made on `base`."""

    def look(seen: Record | Absent) -> Placed | Beaten | None:
        now = _decoded_record(seen)
        if change_id in now.changes:
            return Placed()
        return Beaten(seen) if now.version > base.version else None  # an older one is an old copy

    return look


def _decoded_record(seen: Record | Absent) -> Tokens:
    return decode_record(seen.data) if isinstance(seen, Record) else Tokens()
