"""SQL text that arrives in chunks, cut into statements with the line on which each begins.

Knows where strings, quoted names, comments and trigger bodies end; knows nothing of what a statement means.
`virke.migrations.statements` cuts short texts into tokens; this file streams long ones.

1. How the text was cut into chunks never shows: any cutting gives the same statements.
2. A `;` inside a string, a quoted name, a comment or a trigger body ends nothing (the rules of `sqlite3_complete`).
3. Every character is looked at a bounded number of times, however long a statement is: a statement that is not
   complete is looked at again only where the new text begins, and text is joined only when it has doubled.
4. What is held is one statement and one chunk; a statement beyond `STATEMENT_CHARS_MAX` is refused.
5. Comments and blanks before a statement are not part of it; a statement of nothing else is left out.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple

from virke.errors import Invalid, TooLarge

STATEMENT_CHARS_MAX: Final = 256 << 20

# Groups are repeated as `(?>(?:…)*)` and not as `(?:…)*+`, which Python 3.11.2 ends within a repetition that failed.
# A run of whole tokens: stops before a `;`, or before a token whose end is not there (yet).
_TOKENS: Final = r"""[^;'"`\[\-/]*+
    (?>(?: (?: '[^']*+' | "[^"]*+" | `[^`]*+` | \[[^\]]*+\]
          | --[^\n]*+\n | /\*(?s:.*?)\*/ | -(?=[^-]) | /(?=[^*]) )
        [^;'"`\[\-/]*+ )*)"""
_RUN = re.compile(_TOKENS, re.VERBOSE).match
# A whole statement of the plain kind: no comment before it, and no trigger.
_PLAIN = re.compile(rf"[\ \n\r\t]*+((?![Cc][Rr]|[Ee][Xx])[A-Za-z]++)\b{_TOKENS};", re.VERBOSE).match
_BLANK: Final = r"(?:[ \t\n\f\r\ufeff]++|--[^\n]*+\n?|/\*(?s:.*?)(?:\*/|\Z))"
_BLANKS: Final = f"(?>{_BLANK}+)"
_HEAD = re.compile(rf"(?>(?:;|{_BLANK})*)([A-Za-z_]*+)").match
_TRIGGER = re.compile(
    rf"(?>(?:EXPLAIN{_BLANKS}(?>(?:QUERY{_BLANKS}PLAN{_BLANKS})?))?)CREATE{_BLANKS}(?>(?:TEMP(?:ORARY)?{_BLANKS})*)TRIGGER\b",
    re.IGNORECASE,
).match
_END = re.compile(rf"(?>{_BLANK}*)END(?>{_BLANK}*)", re.IGNORECASE).fullmatch
_CLOSING: Final = {"'": "'", '"': '"', "`": "`", "[": "]", "-": "\n", "/": "*/"}
_OPENED: Final = {"'": "a string", '"': "a quoted name", "`": "a quoted name", "]": "a quoted name", "*/": "a comment"}
_MAY_BE_TRIGGER: Final = frozenset({"CREATE", "EXPLAIN"})


class Statement(NamedTuple):
    """One statement from its first token to its `;`, the line (1-based) of that token, and its first word in capitals."""

    sql: str
    line: int
    keyword: str


def split(chunks: Iterable[str], *, chars_max: int = STATEMENT_CHARS_MAX) -> Iterator[Statement]:
    """The statements of a text.

    Raises:
        Invalid: the text ends inside a string, a quoted name or a comment.
        TooLarge: a statement is longer than `chars_max`.
    """
    splitter = Splitter(chars_max)
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.finish()


def is_complete(sql: str) -> bool:
    """Whether `sql` ends with a `;` that ends a statement, blanks and comments after it left aside."""
    splitter = Splitter()
    whole = list(splitter.feed(sql))
    return bool(whole) and not splitter.is_waiting


class Splitter:
    """What is known of the text so far: one incomplete statement."""

    def __init__(self, chars_max: int = STATEMENT_CHARS_MAX) -> None:
        self._chars_max = chars_max
        self._text = ""
        self._late: list[str] = []
        self._late_chars = 0
        self._line = 1  # of `_text[0]`, where the incomplete statement begins
        self._at = 0  # whole tokens only before it
        self._closing = ""  # what ends the token that begins at `_at`, if that is open …
        self._seek = 0  # … and from where to look for it
        self._body_at = 0  # in a trigger: after its last `;`, else 0

    @property
    def is_waiting(self) -> bool:
        """Whether more than blanks and whole comments stands after the last statement."""
        return self._closing in _OPENED or self._head(0, len(self._text))[0] < len(self._text) or bool(self._late)

    def feed(self, chunk: str) -> Iterator[Statement]:
        """The statements that `chunk` completes.

        Raises:
            TooLarge: the statement is longer than the limit.
        """
        self._late.append(chunk)
        self._late_chars += len(chunk)
        if self._late_chars >= len(self._text):
            yield from self._join()
            if len(self._text) > self._chars_max:
                line = self._line + self._text.count("\n", 0, self._head(0, len(self._text))[0])
                raise TooLarge(f"line {line}: a statement of more than {self._chars_max >> 20} MiB", line=line)

    def finish(self) -> Iterator[Statement]:
        """The statements that the end of the text completes: a last one needs no `;`.

        Raises:
            Invalid: the text ends inside a string, a quoted name or a comment.
        """
        yield from self._join()
        if self._closing in _OPENED:
            line = self._line + self._text.count("\n", 0, self._at)
            raise Invalid(
                f"line {line}: {_OPENED[self._closing]} begins here and never ends: "
                f"the file is cut short, or {self._closing} is missing",
                line=line,
            )
        yield from self._cut(0, len(self._text))

    def _join(self) -> Iterator[Statement]:
        self._text += "".join(self._late)
        self._late.clear()
        self._late_chars = 0
        begin = 0 if self._at else (yield from self._plain(0))
        while (stop := self._semicolon()) >= 0:
            head, keyword = self._head(begin, stop + 1)
            if keyword in _MAY_BE_TRIGGER and self._goes_on(head, stop):
                self._body_at = stop + 1
                continue
            yield from self._cut(begin, stop + 1)
            self._body_at = 0
            begin = yield from self._plain(stop + 1)
        self._text = self._text[begin:]
        self._at -= begin
        self._seek -= begin
        self._body_at = max(0, self._body_at - begin)

    def _plain(self, begin: int) -> Generator[Statement, None, int]:
        """The run of plain statements from `begin`, which is most of a dump; returns where it ends, as `_at` does."""
        text, line = self._text, self._line
        while found := _PLAIN(text, begin):
            head = found.start(1)
            if head > begin:
                line += text.count("\n", begin, head)
            begin = found.end()
            sql = text[head:begin]
            yield Statement(sql, line, found[1].upper())
            line += sql.count("\n")
        self._at, self._line = begin, line
        return begin

    def _head(self, begin: int, end: int) -> tuple[int, str]:
        found = _HEAD(self._text, begin, end)
        assert found, "the pattern matches the empty text"
        return found.start(1), found[1].upper()

    def _cut(self, begin: int, end: int) -> Iterator[Statement]:
        text = self._text
        head, keyword = self._head(begin, end)
        if head < end:
            yield Statement(text[head:end], self._line + text.count("\n", begin, head), keyword)
        self._line += text.count("\n", begin, end)

    def _goes_on(self, head: int, stop: int) -> bool:
        """Whether the `;` at `stop` is inside the body of a trigger."""
        if not self._body_at:
            return _TRIGGER(self._text, head, stop) is not None
        return _END(self._text, self._body_at, stop) is None

    def _semicolon(self) -> int:
        """The offset of the next `;` that is a token, with `_at` moved behind it; -1 if there is none yet."""
        text = self._text
        while True:
            if self._closing:
                found = text.find(self._closing, self._seek)
                if found < 0:
                    self._seek = max(self._seek, len(text) + 1 - len(self._closing))
                    return -1
                self._at = found + len(self._closing)
                self._closing = ""
            run = _RUN(text, self._at)
            assert run, "the pattern matches the empty text"
            self._at = run.end()
            if self._at == len(text):
                return -1
            opener = text[self._at]
            if opener == ";":
                self._at += 1
                return self._at - 1
            if opener in "-/":
                if self._at + 1 == len(text):  # the next chunk says if it is a comment
                    return -1
                self._seek = self._at + 2
            else:
                self._seek = self._at + 1
            self._closing = _CLOSING[opener]
