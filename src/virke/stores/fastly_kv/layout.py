"""How a database is laid out in a Fastly KV Store: the names of its items and their sizes.

Pure. What reaches the store by its REST API and what runs next to it use the same, so each reads what the other wrote.
"""

from __future__ import annotations

import re
from typing import Final

from virke.errors import Invalid
from virke.stores.base import check_key

VALUE_BYTES_MAX: Final = 25_000_000
"""The vendor's 25 MB, read strictly."""
PART_BYTES_MAX: Final = 256 << 10
"""Objects have no ranges here: one page costs a whole part, so parts are small. (Until November 2026 they had up to 1 MiB.)"""
NAME_BYTES_MAX: Final = 1024
REGISTER: Final = "register/"
BLOBS: Final = "blobs/"


def item_name(space: str, key: str) -> str:
    """The name of the item for `key` in a space (`PREFIX/register/`). Raises `Invalid`."""
    if "./" in check_key(key):  # such names are refused where Fastly's own tools run
        raise Invalid(f"Fastly KV takes no key with './' in it: {key!r}")
    return space + key


_MODIFIED: Final = re.compile(r"modified_ms=([0-9]{1,15})")


def modified_metadata(now_ms: int) -> str:
    """The metadata that says when an object was written."""
    return f"modified_ms={now_ms}"


def modified_ms(metadata: str) -> int | None:
    """What that metadata says; None if it says nothing of it."""
    found = _MODIFIED.fullmatch(metadata)
    return int(found[1]) if found else None
