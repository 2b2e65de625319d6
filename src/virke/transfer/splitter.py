"""SQL text that arrives in chunks, cut into statements with the line on which each begins.

Knows where strings, quoted names, comments and trigger bodies end; knows nothing of what a statement means.
`migrations.tokens` cuts short texts into tokens; this file streams long ones.

1. How the text was cut into chunks never shows: any cutting gives the same statements.
2. A `;` inside a string, a quoted name, a comment or a trigger body ends nothing (the rules of `sqlite3_complete`).
3. Every character is looked at a bounded number of times, however long a statement is: a statement that is not
   complete is looked at again only where the new text begins, and text is joined only when it has doubled.
4. Memory holds at most `LONG_CHARS` of a statement that is not complete, and one chunk; the beginning of a longer one waits
   in a temporary file. A statement may be `STATEMENT_CHARS_MAX` long, strings and BLOBs of more than `LONG_CHARS` in it not
   counted, and `WITH_LITERALS_CHARS_MAX` with them (a CREATE or EXPLAIN may not). A longer one is refused as soon as that
   is known (a chunk too late at most), and the error names the line where it begins.
5. Comments and blanks before a statement are not part of it; a statement of nothing else is left out.
6. A line that begins with a dot where a statement could begin is a command of the sqlite3 shell, and a "statement" of its own, whose keyword is a dot.
7. A caller may have up to `TOGETHER_MAX` INSERTs that follow one another as one text, because a dump is little else.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Final, NamedTuple

from virke.errors import Invalid, TooLarge

STATEMENT_CHARS_MAX: Final = 16 << 20
"""What SQLite makes of a statement of many values takes ten times the room of its text."""
WITH_LITERALS_CHARS_MAX: Final = 144 << 20
"""What a row with a BLOB of 64 MiB (the default of `max_result_mb`) takes in a dump, and some more."""
LONG_CHARS: Final = 4 << 20
TOGETHER_MAX: Final = 100

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
_DOT_COMMAND = re.compile(rf"(?>(?:;|{_BLANK})*)(?<![^\n])(\.(?:[A-Za-z][^\n]*|\Z))(\n)?").match
_END = re.compile(rf"(?>{_BLANK}*)END(?>{_BLANK}*)", re.IGNORECASE).fullmatch
_CLOSING: Final = {"'": "'", '"': '"', "`": "`", "[": "]", "-": "\n", "/": "*/"}
_OPENED: Final = {"'": "a string", '"': "a quoted name", "`": "a quoted name", "]": "a quoted name", "*/": "a comment"}
_MAY_BE_TRIGGER: Final = frozenset({"CREATE", "EXPLAIN"})


class StatementText(NamedTuple):
    """One statement from its first token to its `;`, the line (1-based) of that token, and its first word in capitals.

    `statements`: how many it is, if a caller wants INSERTs together.
    """

    sql: str
    line: int
    keyword: str
    statements: int = 1


def split_statements(chunks: Iterable[str], *, together: bool = False) -> Iterator[StatementText]:
    """The statements of a text; `together`: INSERTs that follow one another may be one `StatementText`.

    Raises:
        Invalid: the text ends inside a string, a quoted name or a comment.
        TooLarge: a statement is longer than the limit.
    """
    splitter = Splitter(together=together)
    try:
        for chunk in chunks:
            yield from splitter.feed(chunk)
        yield from splitter.finish()
    finally:
        splitter.close()


def is_complete(sql: str) -> bool:
    """Whether `sql` ends with a `;` that ends a statement, blanks and comments after it left aside."""
    splitter = Splitter()
    try:
        whole = list(splitter.feed(sql))
        return bool(whole) and not splitter.is_waiting
    finally:
        splitter.close()


class _Beginning:
    """The beginning of a long statement, from its first token on: kept on disk once it is longer than `LONG_CHARS`."""

    def __init__(self, line: int, keyword: str) -> None:
        self.line = line
        self.keyword = keyword
        self.chars = 0
        self.plain_chars = 0
        """Without long literals."""
        self._file = SpooledTemporaryFile(max_size=LONG_CHARS, prefix="virke-")  # noqa: SIM115  # `close` closes it

    def add(self, text: str, plain_chars: int) -> None:
        """Keep more of it, of which the first `plain_chars` are outside of a literal that is still open."""
        self._file.write(text.encode(errors="surrogateescape"))
        self.chars += len(text)
        self.plain_chars += plain_chars

    def whole(self, rest: str) -> StatementText:
        """The statement whose end is `rest`; what was kept is gone."""
        self._file.write(rest.encode(errors="surrogateescape"))
        self._file.seek(0)
        data = self._file.read()
        self.close()
        return StatementText(data.decode(errors="surrogateescape"), self.line, self.keyword)

    def close(self) -> None:
        """Forget what was kept."""
        self._file.close()


class Splitter:
    """What is known of the text so far: one incomplete statement."""

    def __init__(
        self,
        chars_max: int = STATEMENT_CHARS_MAX,
        with_literals_chars_max: int = WITH_LITERALS_CHARS_MAX,
        long_chars: int = LONG_CHARS,
        *,
        together: bool = False,
    ) -> None:
        self._together = together
        self._chars_max = chars_max
        self._with_literals_chars_max = with_literals_chars_max
        self._long_chars = long_chars
        self._text = ""
        self._begins_line = True  # `_text[0]` does
        self._late: list[str] = []
        self._late_chars = 0
        self._line = 1  # of `_text[0]`, where the incomplete statement begins
        self._at = 0  # whole tokens only before it
        self._closing = ""  # what ends the token that begins at `_at`, if that is open …
        self._seek = 0  # … from where to look for it …
        self._opened_line = 0  # … and on which line it began, if that part of the text is gone
        self._body_at = 0  # in a trigger: after its last `;`, else 0
        self._beginning: _Beginning | None = None  # of a long statement: what stood before `_text`
        self._in_comment = False  # `_text` begins inside a comment that stands before a statement

    @property
    def is_waiting(self) -> bool:
        """Whether more than blanks and whole comments stands after the last statement."""
        if self._closing in _OPENED or self._beginning or self._late:
            return True
        return self._head_of(0, len(self._text))[0] < len(self._text)

    def feed(self, chunk: str) -> Iterator[StatementText]:
        """The statements that `chunk` completes.

        Raises:
            TooLarge: the statement is longer than the limit.
        """
        self._late.append(chunk)
        self._late_chars += len(chunk)
        if self._late_chars >= len(self._text):
            yield from self._join_late()
            self._check_length()

    def close(self) -> None:
        """Forget the text; what was kept of it on disk is gone."""
        if self._beginning:
            self._beginning.close()
            self._beginning = None

    def finish(self) -> Iterator[StatementText]:
        """The statements that the end of the text completes: a last one needs no `;`.

        Raises:
            Invalid: the text ends inside a string, a quoted name or a comment.
        """
        yield from self._join_late()
        if self._closing in _OPENED:
            line = self._opened_line or self._line + self._text.count("\n", 0, self._at)
            raise Invalid(
                f"line {line}: {_OPENED[self._closing]} begins here and never ends: "
                f"the file is cut short, or {self._closing} is missing",
                line=line,
            )
        if self._is_before_statement() and (found := self._dot_command(0)):
            yield from self._dotted_statement(found)
        else:
            yield from self._cut_statement(0, len(self._text))

    def _join_late(self) -> Iterator[StatementText]:
        self._text += "".join(self._late)
        self._late.clear()
        self._late_chars = 0
        if self._in_comment and not self._comment_ends():
            return
        begin = (yield from self._read_beginning(0)) if self._is_before_statement() else 0
        if begin < 0:
            return
        while (stop := self._next_semicolon()) >= 0:
            head, keyword = self._head_of(begin, stop + 1)
            if not self._beginning and keyword in _MAY_BE_TRIGGER and self._goes_on(head, stop):
                self._body_at = stop + 1
                continue
            yield from self._cut_statement(begin, stop + 1)
            self._body_at = 0
            begin = yield from self._read_beginning(stop + 1)
            if begin < 0:
                return
        self._drop_before(begin)
        if len(self._text) > self._long_chars:
            self._shorten_text()

    def _is_before_statement(self) -> bool:
        """Whether all that was looked at is before the first token of a statement; then it is looked at again."""
        if self._beginning or (self._closing in _OPENED and self._closing != "*/"):
            return False
        if self._at and self._head_of(0, self._at)[0] < self._at:
            return False
        self._closing, self._seek, self._at = "", 0, 0
        return True

    def _read_beginning(self, begin: int) -> Generator[StatementText, None, int]:
        """What is at `begin` and can be read at once; returns where the rest begins, -1 if the rest is to wait for more."""
        begin = yield from self._plain_statements(begin)
        while found := self._dot_command(begin):
            if not found[2]:  # the line may go on
                self._drop_before(begin)
                return -1
            yield from self._dotted_statement(found)
            begin = yield from self._plain_statements(found.end())
        return begin

    def _dot_command(self, begin: int) -> re.Match[str] | None:
        found = _DOT_COMMAND(self._text, begin)
        return found if found and (found.start(1) or self._begins_line) else None

    def _dotted_statement(self, found: re.Match[str]) -> Iterator[StatementText]:
        head = self._line + self._text.count("\n", found.start(), found.start(1))
        self._line = head + bool(found[2])
        yield StatementText(found[1].rstrip(), head, ".")

    def _drop_before(self, begin: int) -> None:
        """Forget the text before `begin`, whose lines were counted."""
        if begin:
            self._begins_line = self._text[begin - 1] == "\n"
        self._text = self._text[begin:]
        self._at -= begin
        self._seek -= begin
        self._body_at = max(0, self._body_at - begin)

    def _shorten_text(self) -> None:
        """Keep only what is still to be looked at of a long text that is not complete (invariant 4)."""
        looked = self._seek if self._closing else self._at
        if not self._beginning:
            head, keyword = self._head_of(0, len(self._text))
            if head + len(keyword) == len(self._text) > head:
                return  # the word may go on
            blank = min(head, looked)
            self._move_past(blank)
            looked -= blank
            self._in_comment = bool(self._closing) and head == blank + len(self._text)
            if keyword in _MAY_BE_TRIGGER or self._in_comment or len(self._text) <= self._long_chars:
                return
            self._beginning = _Beginning(self._line, keyword)
        self._beginning.add(self._text[:looked], self._at if self._closing else looked)
        self._move_past(looked)

    def _move_past(self, cut: int) -> None:
        """Take `cut` characters that were looked at from the text, and count their lines."""
        if self._closing and self._at < cut and not self._opened_line:
            self._opened_line = self._line + self._text.count("\n", 0, self._at)
        self._line += self._text.count("\n", 0, cut)
        self._drop_before(cut)
        self._at = max(0, self._at)

    def _comment_ends(self) -> bool:
        """Forget what is in the text of a comment before a statement; whether its end is there."""
        found = self._text.find(self._closing, self._seek)
        if found < 0:
            self._seek = max(0, len(self._text) + 1 - len(self._closing))
            self._move_past(self._seek)
            return False
        self._at = found + len(self._closing)
        self._closing, self._opened_line, self._in_comment = "", 0, False
        self._move_past(self._at)
        return True

    def _check_length(self) -> None:
        """Refuse a statement that is too long. Raises `TooLarge`."""
        chars_max, line = self._chars_max, self._line
        if begun := self._beginning:
            is_too_long, line = begun.plain_chars > chars_max, begun.line
            if begun.chars > self._with_literals_chars_max:
                is_too_long, chars_max = True, self._with_literals_chars_max
        elif is_too_long := len(self._text) > chars_max:
            line += self._text.count("\n", 0, self._head_of(0, len(self._text))[0])
        if is_too_long:
            is_open = self._closing in _OPENED and chars_max == self._with_literals_chars_max
            quote = f", or {_OPENED[self._closing]} in it that never ends" if is_open else ""
            raise TooLarge(
                f"line {line}: a statement of more than {chars_max >> 20} MiB{quote}; nothing was changed", line=line
            )

    def _plain_statements(self, begin: int) -> Generator[StatementText, None, int]:
        """The run of plain statements from `begin`, which is most of a dump; returns where it ends, as `_at` does."""
        text, line = self._text, self._line
        while some := _plain_ones(text, begin):
            are_one = self._together and all(found[1].upper() == "INSERT" for found in some)
            for ones in [some] if are_one else [[found] for found in some]:
                head = ones[0].start(1)
                if head > begin:
                    line += text.count("\n", begin, head)
                begin = ones[-1].end()
                sql = text[head:begin]
                yield StatementText(sql, line, ones[0][1].upper(), len(ones))
                line += sql.count("\n")
        self._at, self._line = begin, line
        return begin

    def _head_of(self, begin: int, end: int) -> tuple[int, str]:
        found = _HEAD(self._text, begin, end)
        assert found, "the pattern matches the empty text"
        return found.start(1), found[1].upper()

    def _cut_statement(self, begin: int, end: int) -> Iterator[StatementText]:
        text = self._text
        if self._beginning:
            yield self._beginning.whole(text[begin:end])
            self._beginning = None
            self._line += text.count("\n", begin, end)
            return
        head, keyword = self._head_of(begin, end)
        if head < end:
            yield StatementText(text[head:end], self._line + text.count("\n", begin, head), keyword)
        self._line += text.count("\n", begin, end)

    def _goes_on(self, head: int, stop: int) -> bool:
        """Whether the `;` at `stop` is inside the body of a trigger."""
        if not self._body_at:
            return _TRIGGER(self._text, head, stop) is not None
        return _END(self._text, self._body_at, stop) is None

    def _next_semicolon(self) -> int:
        """The offset of the next `;` that is a token, with `_at` moved behind it; -1 if there is none yet."""
        text = self._text
        while True:
            if self._closing:
                found = text.find(self._closing, self._seek)
                if found < 0:
                    self._seek = max(self._seek, len(text) + 1 - len(self._closing))
                    return -1
                self._at = found + len(self._closing)
                self._closing, self._opened_line = "", 0
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


def _plain_ones(text: str, at: int) -> list[re.Match[str]]:
    """The plain statements from `at`, up to `TOGETHER_MAX`."""
    some: list[re.Match[str]] = []
    while len(some) < TOGETHER_MAX and (found := _PLAIN(text, at)):
        some.append(found)
        at = found.end()
    return some
