"""SQL text cut into statements and tokens, the way SQLite's own shell does it.

Pure. Knows where strings, comments and trigger bodies begin and end; knows nothing of what a statement means.

1. The statements joined again are the text, except for what follows the last `;` and holds only blanks and comments.
2. A `;` inside a string, a quoted name, a comment or a trigger body ends nothing.
3. Text that never ends (an open string) is one statement: SQLite says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from virke.engine import sqlite
from virke.lazy_dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|\[[^\]]*\]?)
      | (?P<word>[^\W\d][\w$]*)
      | (?P<parameter>\?\d*|[:@#$][\w$]+(?:::\w+)*)
      | (?P<number>\d[\w.]*)
      | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_QUOTES = {"'": "'", '"': '"', "`": "`", "[": "]"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token that is not blank: its kind (a group of the pattern above), text and offset."""

    kind: str
    text: str
    offset: int

    @property
    def upper(self) -> str:
        """The text in capitals: keywords compare so."""
        return self.text.upper()

    @property
    def name(self) -> str:
        """The text without the quotes of a quoted name, in lower case: names compare so."""
        if self.kind != "quoted":
            return self.text.lower()
        close = _QUOTES[self.text[0]]
        return self.text[1:].removesuffix(close).replace(close * 2, close).lower()


@dataclass(frozen=True, slots=True)
class TokenizedStatement:
    """One statement of a text: its SQL, the line (1-based) where its first token is, and its tokens."""

    sql: str
    line: int
    tokens: tuple[Token, ...]

    @property
    def keyword(self) -> str:
        """The first word in capitals; "" if there is none."""
        return self.tokens[0].upper if self.tokens else ""


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of `sql`, without blanks and comments."""
    for found in _TOKEN.finditer(sql):
        kind = found.lastgroup or "other"
        if kind != "blank":
            yield Token(kind, found.group(), found.start())


def split_statements(sql: str) -> Iterator[TokenizedStatement]:
    """The statements of `sql` in order, empty ones left out; their tokens do not include the closing `;`."""
    line, counted = 1, 0  # the line of the offset `counted`: the whole text is counted once
    for start, text in sqlite.split(sql):
        found = [Token(token.kind, token.text, start + token.offset) for token in tokens(text)]
        while found and found[0].text == ";":
            del found[0]
        if found and found[-1].text == ";":
            del found[-1]
        if found:
            line += sql.count("\n", counted, found[0].offset)
            counted = found[0].offset
            yield TokenizedStatement(text, line, tuple(found))


def parameter_names(sql: str) -> list[str]:
    """The names of the named parameters of `sql` in order of appearance, without their sigil."""
    return list(dict.fromkeys(token.text[1:] for token in tokens(sql) if _is_named(token)))


def _is_named(token: Token) -> bool:
    return token.kind == "parameter" and token.text[0] != "?"
