"""The records of a CSV file, many at once.

Knows CSV (RFC 4180); knows no header, types or tables.

1. The csv module reads a block of whole lines without Python for each line. Where it finds fault with a block, where a record goes
   on in the next one, or where a bound might be passed, the block is read again record by record, with every check.
2. `""` is `EMPTY_TEXT`, and a field of nothing is the empty string. A blank line is a record of no field.
3. An unclosed quote is an error that names the line where its record begins, and so is what is not CSV.
4. Memory is bounded, whatever the file is: a record of more than `RECORD_CHARS_MAX`, or of more than `FIELDS_MAX` fields, is
   refused as soon as that is known, before the csv module (which takes four bytes for a character, and an object for a
   field) has it. Every character is looked at a bounded number of times.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from io import StringIO
from itertools import islice
from typing import Final

from virke.errors import Invalid, TooLarge
from virke.lazy_dataclasses import dataclass
from virke.transfer.csv_types import EMPTY_TEXT
from virke.transfer.source import Progress, Source, silent_progress

RECORD_CHARS_MAX: Final = 8 << 20
FIELDS_MAX: Final = 32767
"""More than SQLite has columns for."""
TOGETHER_MAX: Final = 200
"""Python looks for garbage after 700 new objects: with more records at once it would at each batch."""
CHARS_TOGETHER: Final = 1 << 20
"""Of long records fewer are taken together."""
BLOCK_CHARS: Final = 1 << 18
CUT_UP_AT_ONCE_CHARS: Final = 4 << 20
_REST_OF_QUOTED = re.compile(r'[^"]*+(?>(?:""[^"]*+)*)"').match
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+").finditer


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records that follow one another; `chars`: how long their text is, about; `has_marks`: `EMPTY_TEXT` may be among the fields."""

    records: list[list[str]]
    chars: int
    has_marks: bool
    line_of: Callable[[int], int]
    """The line on which a record of these begins, by its index."""

    def part(self, begin: int, end: int | None = None) -> Batch:
        """Some of them."""
        return Batch(self.records[begin:end], self.chars, self.has_marks, lambda index: self.line_of(begin + index))


class Records:
    """The records of a file, in order."""

    def __init__(self, source: Source, encoding: str, delimiter: str, *, progress: Progress = silent_progress) -> None:
        self._name = source.name
        self._delimiter = delimiter
        self._fields = _fields_of(delimiter)
        self._up_to_empty = _up_to_empty(delimiter)
        self._blocks = _blocks(source.text(encoding, progress))
        self._line = 1
        self._given: Iterator[str] = iter(())
        self._goes_on = False
        self._chars = 0
        csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised

    def __iter__(self) -> Iterator[Batch]:
        """All of them.

        Raises:
            Invalid: what is not CSV. TooLarge: a record is longer than the limit.
        """
        lines: list[str] = []
        while lines or (lines := list(self._next_block())):
            done = 0
            if self._is_in_bounds(lines):
                done = yield from self._at_once(lines)
                self._line += done
            lines = yield from self._one_by_one(lines[done:])

    def _next_block(self) -> Iterator[str]:
        return cut_up(next(self._blocks, ""))

    def _is_in_bounds(self, lines: list[str]) -> bool:
        """Whether no record of these lines can be too long or have too many fields."""
        if sum(map(len, lines)) > RECORD_CHARS_MAX:
            return False
        return all(line.count(self._delimiter) < FIELDS_MAX for line in lines if len(line) > FIELDS_MAX)

    def _at_once(self, lines: list[str]) -> Generator[Batch, None, int]:
        """What the csv module makes of the lines without a fault; returns how many lines that are."""
        text = "".join(lines)
        has_marks = '""' in text
        given = StringIO(self._with_empty_texts(text), newline="") if has_marks else iter(lines)
        reader = csv.reader(given, delimiter=self._delimiter, strict=True)
        done = 0
        try:
            while records := list(islice(reader, TOGETHER_MAX)):
                yield self._batch(records, lines[done : reader.line_num], done, has_marks)
                done = reader.line_num
        except csv.Error:
            return done
        return len(lines)

    def _batch(self, records: list[list[str]], lines: list[str], begin: int, has_marks: bool) -> Batch:
        first = self._line + begin

        def line_of(index: int) -> int:
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            deque(islice(reader, index), maxlen=0)
            return first + reader.line_num

        return Batch(records, sum(map(len, lines)), has_marks, line_of)

    def _with_empty_texts(self, text: str) -> str:
        """A text that begins a record with its fields that are `""` marked, as far as it is CSV."""
        parts: list[str] = []
        at = 0
        while (found := self._up_to_empty(text, at)) and found.end() > at:
            at = found.end()
            parts += (found[1], EMPTY_TEXT) if found[2] else (found[1],)
        return "".join((*parts, text[at:]))

    def _one_by_one(self, lines: list[str]) -> Generator[Batch, None, list[str]]:
        """The records of the lines, and the rest of the last one; returns what is left of the block in which that ends."""
        self._given, self._goes_on = iter(lines), False
        reader = csv.reader(self._bounded(), delimiter=self._delimiter, strict=True)
        records: list[list[str]] = []
        starts: list[int] = []
        chars, first = 0, self._line
        failure: Invalid | TooLarge | None = None
        while True:
            self._line, self._chars = first + reader.line_num, 0
            try:
                record = None if self._goes_on else next(reader, None)
            except TooLarge as error:
                record, failure = None, error
            except csv.Error as error:
                is_open = "unexpected end" in str(error)
                reason = "a quoted field in this record never ends" if is_open else f"not CSV: {error}"
                record, failure = None, Invalid(f"{self._name}, line {self._line}: {reason}", line=self._line)
            if record is not None:
                records.append(record)
                starts.append(self._line)
                chars += self._chars
            if records and (record is None or len(records) == TOGETHER_MAX or chars > CHARS_TOGETHER):
                yield Batch(records, chars, True, starts.__getitem__)
                records, starts, chars = [], [], 0
            if failure is not None:
                raise failure
            if record is None:
                return list(self._given)

    def _bounded(self) -> Iterator[str]:
        """The lines, as long as the record that they belong to keeps its bounds (invariant 4)."""
        for line in self._whole_records():
            length = len(line)
            begun, self._chars = self._chars, self._chars + length
            if self._chars > RECORD_CHARS_MAX:
                raise self._too_large(f"a record of more than {RECORD_CHARS_MAX >> 20} MiB, or a quote that never ends")
            if length > FIELDS_MAX and _has_many_fields(line, self._delimiter, quoted=begun > 0):
                raise self._too_large(f"a record of more than {FIELDS_MAX:,} fields")
            yield line if '""' not in line else _with_empty_texts(line, self._fields, quoted=begun > 0)

    def _whole_records(self) -> Iterator[str]:
        """The lines that are given, and those of the next blocks as long as a record goes on."""
        yield from self._given
        while self._chars and (lines := list(self._next_block())):
            self._goes_on, self._given = True, iter(lines)
            yield from self._given

    def _too_large(self, what: str) -> TooLarge:
        line = self._line
        return TooLarge(f"{self._name}, line {line}: {what}; nothing was changed", line=line)


def _up_to_empty(delimiter: str) -> Callable[[str, int], re.Match[str] | None]:
    """Matches whole fields, each with what is before it, up to a field that is `""`, if there is one."""
    end = rf"[{re.escape(delimiter)}\r\n]"
    mark = end[1:-1]
    quoted = rf'(?!""(?:{end}|\Z))"[^"]*+(?>(?:""[^"]*+)*)"[^{mark}]*+'
    return re.compile(rf'((?>(?:{end}|[^"{mark}][^{mark}]*+|{quoted})*))(""(?={end}|\Z))?').match


def _fields_of(delimiter: str) -> re.Pattern[str]:
    """Matches the fields of a line, one by one."""
    mark = re.escape(delimiter)
    return re.compile(rf'"[^"]*+(?>(?:""[^"]*+)*)(?:"[^{mark}]*+)?|[^"{mark}\r\n][^{mark}\r\n]*+')


def _with_empty_texts(line: str, fields: re.Pattern[str], *, quoted: bool) -> str:
    """A line with its fields that are `""` marked; it begins inside of quotes or not."""
    begin = 0
    if quoted:
        if not (end := _REST_OF_QUOTED(line)):
            return line
        begin = end.end()
    return line[:begin] + fields.sub(
        lambda found: EMPTY_TEXT if found[0].rstrip("\r\n") == '""' else found[0], line[begin:]
    )


def _has_many_fields(line: str, delimiter: str, *, quoted: bool) -> bool:
    """Whether a line, which begins inside of quotes or not, has more than `FIELDS_MAX` fields."""
    if line.count(delimiter) < FIELDS_MAX:
        return False
    if quoted:
        line = '"' + line
    mark = re.escape(delimiter)
    field = re.compile(rf'(?>(?:"[^"]*+(?>(?:""[^"]*+)*)(?:"|\Z))?)[^{mark}]*+{mark}')
    count = at = 0
    while count < FIELDS_MAX and (found := field.match(line, at)):  # a search would go on inside of quotes
        count, at = count + 1, found.end()
    return count >= FIELDS_MAX


def _blocks(chunks: Iterable[str]) -> Iterator[str]:
    r"""Whole lines with their ends (`\n`, `\r\n` or `\r`), of about `BLOCK_CHARS`; a line that is too long ends too early."""
    begun: list[str] = []
    chars = 0
    for chunk in chunks:
        if begun and not ("\n" in chunk or "\r" in chunk or begun[-1].endswith("\r")) and chars <= RECORD_CHARS_MAX:
            begun.append(chunk)  # joined only when the line ends: a long one is not copied with each chunk
            chars += len(chunk)
            continue
        text = "".join([*begun, chunk])
        # A `\r` at the end may be half of a `\r\n`: it waits for the next chunk.
        cut = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
        if not cut and len(text) > RECORD_CHARS_MAX:
            cut = len(text)
        yield from _pieces(text[:cut])
        begun = [text[cut:]]
        chars = len(begun[0])
    yield from _pieces("".join(begun))


def _pieces(text: str) -> Iterator[str]:
    """A text of whole lines in pieces of about `BLOCK_CHARS`."""
    at = 0
    while len(text) - at > BLOCK_CHARS:
        end = at + BLOCK_CHARS
        cut = (text.rfind("\n", at, end) + 1) or (text.rfind("\r", at, end) + 1)
        if not cut:
            break
        cut += text[cut - 1 : cut + 1] == "\r\n"
        yield text[at:cut]
        at = cut
    if at < len(text):
        yield text[at:]


def cut_up(text: str) -> Iterator[str]:
    """The lines of a text: fast, or where it is long in less memory."""
    if len(text) <= CUT_UP_AT_ONCE_CHARS:
        return iter(StringIO(text, newline=""))
    return (found.group() for found in _LINES(text))
