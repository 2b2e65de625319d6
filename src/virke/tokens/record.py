"""What a store keeps of its tokens: one record in its register, without a single secret.

Pure. The byte table is in docs/format.md.

1. Of a token its SHA-256 is kept: 256 random bits can't be found from it, so no salt and no slow hash is needed.
2. Each change raises `version` by one and leaves its random id in `changes`, newest last, of which `CHANGES_KEPT` are
   kept: whoever lost the answer of a change finds it there.
3. What was not written by this format is `Corrupt`, never an empty record: that would let anybody in.
4. Patterns know two signs, `*` (any characters, none too) and `?` (one character), and are case-sensitive. Matching takes
   time in proportion to the lengths of both.
"""

from __future__ import annotations

import json
import re
from dataclasses import field, replace
from hashlib import sha256
from typing import Final
from zlib import crc32

from virke.core.ids import NAME_BYTES_MAX
from virke.errors import Corrupt, Invalid, TooLarge
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

KEY: Final = "tokens/main"
PREFIX: Final = "vk_"
SECRET_BYTES: Final = 32
TOKEN_CHARS: Final = len(PREFIX) + 43
MAGIC: Final = b"VRKT"
FORMAT_VERSION: Final = 1
HEAD_BYTES: Final = 9
CHANGES_KEPT: Final = 64
TOKENS_MAX: Final = 1000
PATTERNS_MAX: Final = 16
LABEL_CHARS_MAX: Final = 100
RECORD_BYTES_MAX: Final = 8 << 20
ALL: Final = "*"
_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]+")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: how it is called, what its text hashes to, what it may do with which databases, and until when."""

    id: str
    hash: bytes
    databases: tuple[str, ...]
    scope: Scope
    created_ms: int
    expires_ms: int | None = None
    name: str = ""

    def is_expired(self, now_ms: int) -> bool:
        """Whether its time is over; at `expires_ms` it is."""
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def covers(self, database: str) -> bool:
        """Whether one of its patterns fits the name of a database."""
        return any(matches(pattern, database) for pattern in self.databases)

    def as_dict(self) -> dict[str, object]:
        """All but the hash."""
        return {
            "id": self.id,
            "name": self.name,
            "databases": list(self.databases),
            "scope": self.scope.word,
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
        }


@dataclass(frozen=True, slots=True)
class Tokens:
    """The record: every token in the order of creation, and the ids of the last changes."""

    version: int = 0
    tokens: tuple[Token, ...] = ()
    changes: tuple[str, ...] = field(default=())

    def changed(self, tokens: tuple[Token, ...], change_id: str) -> Tokens:
        """With these tokens instead. Raises `TooLarge`: they are more than a record takes."""
        if len(tokens) > TOKENS_MAX:
            raise TooLarge(f"a store holds at most {TOKENS_MAX} tokens; revoke those that are not used any more")
        return replace(
            self, version=self.version + 1, tokens=tokens, changes=(*self.changes, change_id)[-CHANGES_KEPT:]
        )


def hash_of(token: str) -> bytes:
    """What is kept of a token's text."""
    return sha256(token.encode(errors="surrogatepass")).digest()


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it can fit the name of a database. Raises `Invalid`."""
    if len(pattern) > NAME_BYTES_MAX or not _PATTERN.fullmatch(pattern):
        raise Invalid(
            f"invalid pattern {pattern!r}: use the characters of database names, `*` for any of them and `?` for one, "
            f"at most {NAME_BYTES_MAX} characters"
        )
    return pattern


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern fits the whole name."""
    at = on = 0
    star, resume = -1, 0
    while on < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, on
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[on]):
            at, on = at + 1, on + 1
        elif star >= 0:  # the last `*` takes one character more; those before it need not
            resume += 1
            at, on = star + 1, resume
        else:
            return False
    return all(sign == "*" for sign in pattern[at:])


def encode_record(record: Tokens) -> bytes:
    """The bytes of a record."""
    body = {
        "version": record.version,
        "changes": record.changes,
        "tokens": [one.as_dict() | {"hash": one.hash.hex()} for one in record.tokens],
    }
    packed = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    return MAGIC + bytes([FORMAT_VERSION]) + crc32(packed).to_bytes(4, "big") + packed


def decode_record(data: bytes) -> Tokens:
    """The record of these bytes. Raises `Corrupt`: they are damaged, or of a later format."""
    if data[:4] != MAGIC or len(data) > RECORD_BYTES_MAX:
        raise Corrupt(f"register {KEY} holds no tokens of Virke", key=KEY)
    if data[4:5] != bytes([FORMAT_VERSION]):
        raise Corrupt(f"the tokens of this store have format {data[4:5].hex()}: a newer Virke wrote them", key=KEY)
    packed = data[HEAD_BYTES:]
    if crc32(packed).to_bytes(4, "big") != data[5:HEAD_BYTES]:
        raise Corrupt("the tokens of this store are damaged: the checksum does not fit", key=KEY)
    try:
        body = json.loads(packed)
        return Tokens(int(body["version"]), tuple(map(_token_of, body["tokens"])), tuple(map(str, body["changes"])))
    except (ValueError, KeyError, TypeError, Invalid) as error:
        raise Corrupt(f"the tokens of this store are not as they were written: {error}", key=KEY) from error


def _token_of(stored: dict[str, object]) -> Token:
    databases, expires = stored["databases"], stored["expires_ms"]
    if not isinstance(databases, list) or not isinstance(expires, int | None):
        raise TypeError("a field has another type")
    found = Token(
        id=str(stored["id"]),
        hash=bytes.fromhex(str(stored["hash"])),
        databases=tuple(check_pattern(str(pattern)) for pattern in databases),
        scope=Scope.named(str(stored["scope"])),
        created_ms=int(str(stored["created_ms"])),
        expires_ms=expires,
        name=str(stored["name"]),
    )
    if len(found.hash) != sha256().digest_size:
        raise ValueError("a hash has another length")
    return found
