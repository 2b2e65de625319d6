"""Identifiers and counters as types of their own, so that they can't be mixed up.

Pure. Randomness comes in as an argument.

1. A page number is 1-based; page 0 does not exist.
2. A version counts the swaps of one branch's root: 1, 2, 3 …, never reused, also after a restore.
3. A commit id is 128 bits, drawn at random; two swaps never share one. Its last `TAG_BYTES` are the same for all
   commits of a process (core/pace), its first ones are in bookmarks.
"""

from __future__ import annotations

from typing import Final, NewType

from virke.errors import Invalid
from virke.lazy_patterns import pattern

PageNo = NewType("PageNo", int)
PageCount = NewType("PageCount", int)
Version = NewType("Version", int)
Epoch = NewType("Epoch", int)
CommitId = NewType("CommitId", bytes)
DatabaseId = NewType("DatabaseId", bytes)

ID_BYTES: Final = 16
TAG_BYTES: Final = 4
MAIN_BRANCH: Final = "main"
NAME_BYTES_MAX: Final = 128

_NAME = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _name_hint(name: str) -> dict[str, str]:
    if name == ":memory:":
        return {
            "hint": "a database in memory has a name in the store `memory://`; virke.dbapi.connect takes `:memory:`, too"
        }
    if name.endswith((".db", ".sqlite", ".sqlite3")):
        return {"hint": "a database lives in a store; `virke db import FILE` brings a file of SQLite there"}
    return {}


def check_name(name: str) -> str:
    """Return `name` if it can name a database.

    Raises:
        Invalid: it is empty, longer than 128 bytes, or has a character outside `A-Z a-z 0-9 _ . -`
            (`/` would reach into another database's keys), or starts with `.` or `-`.
    """
    if len(name) > NAME_BYTES_MAX or not _NAME.fullmatch(name):
        raise Invalid(
            f"invalid database name {name!r}: use letters, digits, '_', '-' and '.', "
            f"starting with a letter, digit or '_', at most {NAME_BYTES_MAX} characters",
            **_name_hint(name),
        )
    return name
