"""Where a node is, and the token that it is shown.

Pure. Knows URLs; opens nothing.

1. A token is in one header of a request and nowhere else: not in a `repr`, not in an error.
2. A URL with a secret in it is refused: URLs are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from virke.config import TOKEN_VARIABLE, is_node
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

TIMEOUT_S: Final = 300.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Address:
    """A node: `url` without a slash at its end; `timeout_s` is how long it may be silent."""

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every request has."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def address_of(url: str, token: str | None = None) -> Address:
    """The node that a URL names. Raises `UsageError`: it names none, or the token can't be one."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("the URL of the node can't be read: write https://HOST[:PORT]") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the URL of a node has no user and no password: give the token with --token or {TOKEN_VARIABLE}"
        )
    if not is_node(url) or not host or parts.fragment:
        raise UsageError(f"{url!r} is not the URL of a node: write https://HOST[:PORT]")
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError("the token has a character that no token has, or is empty: copy it whole, on one line")
    path = parts.path.rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", token, _timeout_s(dict(parse_qsl(parts.query)), url))


def _timeout_s(fields: Mapping[str, str], url: str) -> float:
    if unknown := sorted(fields.keys() - {"timeout_s"}):
        raise UsageError(f"the URL of a node has no {unknown[0]!r}; it may have ?timeout_s=SECONDS")
    text = fields.get("timeout_s")
    if text is None:
        return TIMEOUT_S
    if not _SECONDS.fullmatch(text) or not float(text):
        raise UsageError(f"timeout_s in {url!r} must be a number of seconds")
    return float(text)
