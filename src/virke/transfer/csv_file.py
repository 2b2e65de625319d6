"""The records of a CSV file, and what its columns can be.

Knows CSV (RFC 4180, with `,` `;` tab or `|` between fields) and which values SQLite can hold exactly; knows no table.
The first record names the columns.

1. A column is INTEGER or REAL only if every value in the whole file is the same value as such a number: no leading
   zero or `+`, 64 bits, at most 17 digits with a fraction. Every other column is TEXT.
2. An empty field is no value, quoted or not. A blank line is no record.
3. A record with more or fewer fields than there are names, and an unclosed quote, are errors that name the line.
4. Memory is bounded, whatever the file is: a record of more than `RECORD_CHARS_MAX`, or of more than `FIELDS_MAX` fields, is
   refused as soon as that is known, before the csv module (which takes four bytes for a character, and an object for a
   field) has it. Every character is looked at a bounded number of times.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final

from virke.errors import Invalid, TooLarge
from virke.transfer.sniff import DELIMITERS
from virke.transfer.source import Progress, Source, silent

RECORD_CHARS_MAX: Final = 8 << 20
FIELDS_MAX: Final = 32767
"""More than SQLite has columns for."""
SAMPLE_RECORDS: Final = 200
EXACT_INTEGER_MAX: Final = 1 << 53
REAL_DIGITS_MAX: Final = 17
_INTEGER = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?").fullmatch
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+").finditer


class Type(IntEnum):
    """What holds all values of a column, from narrow to wide; BIG integers are not exact as REAL."""

    EMPTY = 0
    INTEGER = 1
    BIG = 2
    REAL = 3
    TEXT = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is like after one reading: the mark between its fields, its column names and their types."""

    delimiter: str
    columns: tuple[str, ...]
    types: tuple[Type, ...]


class Records:
    """The records of a file, in order; `line` is where the latest one begins."""

    def __init__(
        self,
        source: Source,
        encoding: str,
        delimiter: str,
        *,
        progress: Progress = silent,
    ) -> None:
        self.line = 1
        self._name = source.name
        self._delimiter = delimiter
        self._chars = 0  # of the record that is being read
        csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised
        lines = self._bounded(_lines(source.text(encoding, progress)))
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def _bounded(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines, as long as the record that they belong to keeps its bounds (invariant 4)."""
        for line in lines:
            begun, self._chars = self._chars, self._chars + len(line)
            if self._chars > RECORD_CHARS_MAX:
                raise self._too_large(f"a record of more than {RECORD_CHARS_MAX >> 20} MiB, or a quote that never ends")
            if len(line) > FIELDS_MAX and _has_many_fields(line, self._delimiter, quoted=begun > 0):
                raise self._too_large(f"a record of more than {FIELDS_MAX:,} fields")
            yield line

    def _too_large(self, what: str) -> TooLarge:
        return TooLarge(f"{self._name}, line {self.line}: {what}; nothing was changed", line=self.line)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.line = self._reader.line_num + 1
            self._chars = 0
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise Invalid(f"{self._name}, line {self.line}: {_reason(error)}", line=self.line) from error
            if record:
                yield record


def _reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quoted field in this record never ends"
    return f"not CSV: {error}"


def _has_many_fields(line: str, delimiter: str, *, quoted: bool) -> bool:
    """Whether a line, which begins inside of quotes or not, has more than `FIELDS_MAX` fields."""
    if line.count(delimiter) < FIELDS_MAX:
        return False
    if quoted:
        line = '"' + line
    fields = re.finditer(
        rf'(?:"[^"]*+(?>(?:""[^"]*+)*)(?:"|\Z))?[^{re.escape(delimiter)}]*+{re.escape(delimiter)}', line
    )
    return any(count >= FIELDS_MAX for count, _ in enumerate(fields, 1))


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    r"""Lines with their ends (`\n`, `\r\n` or `\r`), as the csv module wants them; one that is too long ends too early."""
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
        for found in _LINES(text, 0, cut):
            yield found.group()
        begun = [text[cut:]]
        chars = len(begun[0])
    for found in _LINES("".join(begun)):
        yield found.group()


def survey(source: Source, encoding: str, progress: Progress = silent) -> Layout:
    """Read the whole file once.

    Raises:
        Invalid: no records, a column without a name of its own, or a ragged record; names the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised
    delimiter = _delimiter(next(source.text(encoding), ""))
    records = Records(source, encoding, delimiter, progress=progress)
    each = iter(records)
    columns = _header(next(each, []), records.line, source.name)
    width, types = len(columns), [Type.EMPTY] * len(columns)
    undecided = list(range(width))
    for record in each:
        if len(record) != width:
            raise Invalid(
                f"{source.name}, line {records.line}: {len(record)} fields, but the header names {width} columns",
                line=records.line,
            )
        for column in undecided:
            if value := record[column]:
                types[column] = _joined(types[column], type_of(value))
        if any(types[column] is Type.TEXT for column in undecided):
            undecided = [column for column in undecided if types[column] is not Type.TEXT]
    return Layout(delimiter, columns, tuple(types))


def _header(names: Sequence[str], line: int, file: str) -> tuple[str, ...]:
    if not names:
        raise Invalid(f"{file} holds no record: its first line must name the columns")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip() or "\0" in name:
            raise Invalid(f"{file}, line {line}: column {number} has no name; the first line must name the columns")
        if (twin := seen.setdefault(name.strip().lower(), number)) != number:
            raise Invalid(f"{file}, line {line}: columns {twin} and {number} have the same name, {name.strip()!r}")
    return tuple(name.strip() for name in names)


def type_of(value: str) -> Type:
    """The narrowest type that holds one value exactly (invariant 1)."""
    if _INTEGER(value):
        if len(value) > 20 or not -(1 << 63) <= (number := int(value)) < 1 << 63:
            return Type.TEXT
        return Type.INTEGER if abs(number) <= EXACT_INTEGER_MAX else Type.BIG
    if _REAL(value):
        digits = re.split("[eE]", value)[0].replace(".", "").lstrip("-0")
        if len(digits) <= REAL_DIGITS_MAX and abs(float(value)) < float("inf") and (float(value) or not digits):
            return Type.REAL
    return Type.TEXT


def _joined(left: Type, right: Type) -> Type:
    if left is not right and {left, right} == {Type.BIG, Type.REAL}:
        return Type.TEXT
    return max(left, right)


def _delimiter(text: str) -> str:
    """The mark that gives most of the first records the width of the header, and the widest if several do."""
    best, best_score = DELIMITERS[0], (0, 0)
    for mark in DELIMITERS:
        widths = [
            len(record) for record in islice(csv.reader(_lines([text]), delimiter=mark), SAMPLE_RECORDS) if record
        ]
        if widths and widths[0] > 1 and (score := (widths.count(widths[0]), widths[0])) > best_score:
            best, best_score = mark, score
    return best
