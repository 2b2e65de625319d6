"""What a stream has to know of a statement's text: transaction control, `PRAGMA foreign_keys`, and what it does to rows.

Knows SQL's words; asks no SQLite. A text that looks like none of these is SQLite's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, Literal

from virke.engine.sqlite import RESERVED_PREFIX, keyword
from virke.lazy_dataclasses import dataclass

_TOKEN: Final = re.compile(
    r"""\s+|--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|.""", re.DOTALL
)
_PARAMETER: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|([:@$]\w+)""", re.DOTALL
)
_CONTROLS: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA"})
_TAKES: Final = frozenset({"DROP", "ALTER"})
_ROWS: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_READS: Final = frozenset({"SELECT", "VALUES", "EXPLAIN"})
_WORDS_MAX: Final = 8
TEXTS_KEPT: Final = 1024
TEXT_CHARS_KEPT: Final = 1000
"""Shorter texts that came last are remembered with what they are: programs send the same ones again and again."""
_YES: Final = frozenset({"on", "yes", "true"})


@dataclass(frozen=True, slots=True)
class Begin:
    """`write` waits for other writers at once, `read` refuses to write, `deferred` decides with its first write."""

    mode: Literal["deferred", "write", "read"]


@dataclass(frozen=True, slots=True)
class Commit:
    """COMMIT or END."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """ROLLBACK of the whole transaction."""


@dataclass(frozen=True, slots=True)
class Savepoint:
    """SAVEPOINT, RELEASE or ROLLBACK TO, of this name."""

    word: Literal["SAVEPOINT", "RELEASE", "ROLLBACK"]
    name: str


@dataclass(frozen=True, slots=True)
class ForeignKeys:
    """PRAGMA foreign_keys: the mode that it sets, or None if it asks."""

    value: bool | None


Control = Begin | Commit | Rollback | Savepoint | ForeignKeys


def control_of(sql: str) -> Control | None:
    """What a statement does to its stream and not to the database; None for all others."""
    word = keyword(sql)
    if word not in _CONTROLS:
        return None
    *words, end = islice(_words_of(sql), _WORDS_MAX)
    if end:  # longer than any of these
        return None
    rest = [one.upper() for one in words[1:]]
    match word:
        case "BEGIN":
            return _begin_of(rest)
        case "COMMIT" | "END":
            return Commit() if rest in ([], ["TRANSACTION"]) else None
        case "ROLLBACK":
            if rest in ([], ["TRANSACTION"]):
                return Rollback()
            return Savepoint("ROLLBACK", words[-1]) if "TO" in rest else None
        case "SAVEPOINT" | "RELEASE":
            return Savepoint(word, words[-1]) if rest else None
        case _:
            return _foreign_keys([one.lower() for one in words[1:]])


def _begin_of(rest: list[str]) -> Begin | None:
    left = [word for word in rest if word != "TRANSACTION"]
    if left in (["READONLY"], ["DEFERRED", "READONLY"]):
        return Begin("read")
    if left in (["IMMEDIATE"], ["EXCLUSIVE"]):
        return Begin("write")
    return Begin("deferred") if left in ([], ["DEFERRED"], ["CONCURRENT"]) else None


def _foreign_keys(rest: list[str]) -> ForeignKeys | None:
    if rest[1:2] == ["."]:
        rest = rest[2:]
    if rest[:1] != ["foreign_keys"]:
        return None
    match rest[1:]:
        case []:
            return ForeignKeys(None)
        case ["=", value] | ["(", value, ")"]:
            value = value.strip("'\"")
            return ForeignKeys(value in _YES or (value.isdigit() and int(value) != 0))
        case _:
            return None


def _words_of(sql: str) -> Iterator[str]:
    """The words and signs of a text, without white space, comments and `;`; "" is its end."""
    for token in _TOKEN.finditer(sql):
        text = token[0]
        if text == ";" or text == "\ufeff":
            continue
        if not text.isspace() and not text.startswith(("--", "/*")):
            yield text
    yield ""


def takes_own_table(sql: str) -> str | None:
    """The name of a table of Virke's own that a statement would drop or alter; None for all others.

    Tools that make a database look like their schema send that for every table that they do not know.
    """
    if keyword(sql) not in _TAKES:
        return None
    words = [word.strip("\"'`[]") for word in islice(_words_of(sql), _WORDS_MAX)]
    name = next((word for word in words[1:] if word.upper() not in ("TABLE", "IF", "EXISTS", "MAIN", ".")), "")
    return name if name.lower().startswith(RESERVED_PREFIX) else None


def is_plain(sql: str) -> bool:
    """Whether a statement is for SQLite alone: it controls no stream, and takes nothing of Virke's own."""
    return _is_plain_known(sql) if len(sql) <= TEXT_CHARS_KEPT else _is_plain_known.__wrapped__(sql)


@lru_cache(TEXTS_KEPT)
def _is_plain_known(sql: str) -> bool:
    word = keyword(sql)
    if word not in _CONTROLS and word not in _TAKES:
        return True
    return control_of(sql) is None and takes_own_table(sql) is None


def verb_of(sql: str) -> str:
    """The first word of a statement; of one that begins with WITH the word that says what it does."""
    word = keyword(sql)
    if word != "WITH":
        return word
    depth = 0
    for text in _words_of(sql):
        depth += (text == "(") - (text == ")")
        if depth == 0 and text.upper() in _ROWS | _READS:
            return text.upper()
    return word


def changes_rows(word: str) -> bool:
    """Whether a statement with this verb has rows affected."""
    return word in _ROWS


def inserts_rows(word: str) -> bool:
    """Whether a statement with this verb has a rowid that it inserted last."""
    return word in ("INSERT", "REPLACE")


def only_reads(word: str) -> bool:
    """Whether a statement that begins with this word can't write."""
    return word in _READS


def parameter_names(sql: str, names: tuple[str | None, ...]) -> list[str | None]:
    """The names of parameters with the sign that they have in the text."""
    signed = {found[1][1:]: found[1] for found in _PARAMETER.finditer(sql) if found[1]}
    return [name and (f"?{name}" if name.isdigit() else signed.get(name, f":{name}")) for name in names]
