"""The records of a CSV file, and what its columns can be.

Knows CSV (RFC 4180, with `,` `;` tab or `|` between fields) and which values SQLite can hold exactly; knows no table.
The first record names the columns, unless there is no header.

1. The types of columns are those that hold every value of the whole file (`csv_types`).
2. A field of nothing is not a value. A quoted field of nothing (`""`) is the empty text, and no value where a column is of numbers:
   some programs quote everything.
3. A record that is too short has no values at its end; one that is too long is an error, unless the rest of it is empty. Both are
   counted for a warning. An unclosed quote is an error that names the line.
4. A blank line is not a record, except where there is but one column: then it is a record of no value.
5. A column without a name is called by its number, and a name that was there before gets its number.
6. Memory is bounded, whatever the file is: a record of more than `RECORD_CHARS_MAX`, or of more than `FIELDS_MAX` fields, is
   refused as soon as that is known, before the csv module (which takes four bytes for a character, and an object for a
   field) has it. Every character is looked at a bounded number of times.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import islice
from typing import Final

from virke.errors import Invalid, TooLarge
from virke.lazy_dataclasses import dataclass
from virke.transfer.csv_types import EMPTY_TEXT, Findings, Type, type_of
from virke.transfer.form import AS_FOUND, Form
from virke.transfer.sniff import DELIMITERS
from virke.transfer.source import Progress, Source, silent_progress

RECORD_CHARS_MAX: Final = 8 << 20
FIELDS_MAX: Final = 32767
"""More than SQLite has columns for."""
SAMPLE_RECORDS: Final = 200
_REST_OF_QUOTED = re.compile(r'[^"]*+(?>(?:""[^"]*+)*)"').match
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+").finditer
CUT_UP_AT_ONCE_CHARS: Final = 4 << 20
LOOKED_AT_TOGETHER: Final = 500
CHARS_TOGETHER: Final = 1 << 20
"""Of long records it is fewer."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is like after one reading: the mark between its fields, its column names and their types.

    `warnings`: what its author should look at, though it can be read.
    """

    delimiter: str
    columns: tuple[str, ...]
    types: tuple[Type, ...]
    has_header: bool = True
    warnings: tuple[str, ...] = ()


class Records:
    """The records of a file, in order, blank lines as records of no field; `line` is where the latest one begins."""

    def __init__(
        self,
        source: Source,
        encoding: str,
        delimiter: str,
        *,
        progress: Progress = silent_progress,
    ) -> None:
        self.line = 1
        self._name = source.name
        self._delimiter = delimiter
        self._fields = _fields_of(delimiter)
        self.chars = 0
        """How long the latest record is, as far as it was read."""
        csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised
        lines = self._bounded_lines(_lines_of(source.text(encoding, progress)))
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def _bounded_lines(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines, as long as the record that they belong to keeps its bounds (invariant 6)."""
        for line in lines:
            length = len(line)
            begun, self.chars = self.chars, self.chars + length
            if self.chars > RECORD_CHARS_MAX:
                raise self._too_large(f"a record of more than {RECORD_CHARS_MAX >> 20} MiB, or a quote that never ends")
            if length > FIELDS_MAX and _has_many_fields(line, self._delimiter, quoted=begun > 0):
                raise self._too_large(f"a record of more than {FIELDS_MAX:,} fields")
            yield line if '""' not in line else _with_empty_texts(line, self._fields, quoted=begun > 0)

    def _too_large(self, what: str) -> TooLarge:
        return TooLarge(f"{self._name}, line {self.line}: {what}; nothing was changed", line=self.line)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.line = self._reader.line_num + 1
            self.chars = 0
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise Invalid(f"{self._name}, line {self.line}: {_reason_of(error)}", line=self.line) from error
            yield record


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


def _reason_of(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quoted field in this record never ends"
    return f"not CSV: {error}"


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


def _lines_of(chunks: Iterable[str]) -> Iterator[str]:
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
        yield from _cut_up(text[:cut])
        begun = [text[cut:]]
        chars = len(begun[0])
    yield from _cut_up("".join(begun))


def _cut_up(text: str) -> Iterator[str]:
    """The lines of a text: fast, or where it is long in less memory."""
    if len(text) <= CUT_UP_AT_ONCE_CHARS:
        return iter(StringIO(text, newline=""))
    return (found.group() for found in _LINES(text))


def body_records(records: Records, layout: Layout) -> Iterator[list[str]]:
    """The records below the header, each with as many fields as there are columns (rules 3 and 4)."""
    each, width = iter(records), len(layout.columns)
    if layout.has_header:
        _first_record(each)
    for record in each:
        if len(record) == width:
            yield record
        elif record or width == 1:
            yield [*record, *[""] * (width - len(record))][:width]


def _first_record(each: Iterator[list[str]]) -> list[str]:
    """The first record that is not a blank line; none in a file without."""
    return next(filter(None, each), [])


def survey_file(
    source: Source, encoding: str, progress: Progress = silent_progress, *, form: Form = AS_FOUND
) -> Layout:
    """Read the whole file once.

    Raises:
        Invalid: no records, or a record that is too long; names the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised
    delimiter = _likely_delimiter(next(source.text(encoding), ""))
    records = Records(source, encoding, delimiter, progress=progress)
    each = iter(records)
    if not (first := _first_record(each)):
        raise Invalid(f"{source.name} holds no record" + ": its first line must name the columns" * form.has_header)
    columns, warnings = _header_names(
        first if form.has_header else [""] * len(first), source.name, warn=form.has_header
    )
    found = Findings(len(columns), undecided=form.types == "infer")
    some, chars = list[list[str]](), 0
    for record in each if form.has_header else itertools.chain([first], each):
        if len(record) != len(columns) and not found.takes(record, records.line):
            raise Invalid(
                f"{source.name}, line {records.line}: {len(record)} fields, but "
                f"{'the header names' if form.has_header else 'the first line has'} {len(columns)}",
                line=records.line,
            )
        some.append(record)
        chars += records.chars
        if len(some) == LOOKED_AT_TOGETHER or chars > CHARS_TOGETHER:
            found.look_at_all(some)
            some.clear()
            chars = 0
    found.look_at_all(some)
    types = found.types()
    if form.has_header and all(map(_could_be, first, types)) and any(type_ not in _UNSURE for type_ in types):
        warnings.append(
            f"the first line looks like data: {first[0]!r} is now the name of a column (was there no header?)"
        )
    warnings += found.warnings(len(columns))
    named = tuple(f"{source.name}: {text}" for text in warnings)
    return Layout(delimiter, columns, types, form.has_header, named)


_UNSURE: Final = (Type.EMPTY, Type.TEXT)


def _could_be(value: str, type_: Type) -> bool:
    return type_ in _UNSURE or (bool(value) and type_of(value) not in _UNSURE)


def _header_names(names: Sequence[str], file: str, *, warn: bool) -> tuple[tuple[str, ...], list[str]]:
    """A name of its own for each column (rule 5), and a warning for each that the file did not give."""
    taken = {name.strip().lower() for name in names}
    seen: set[str] = set()
    columns, warnings = [], []
    for number, given in enumerate(names, 1):
        if "\0" in given:
            raise Invalid(f"{file}: the name of column {number} holds a NUL")
        name = "" if given == EMPTY_TEXT else given.strip()
        if not name or name.lower() in seen:
            wanted = f"{name or 'column'}_{number}"
            while wanted.lower() in taken | seen:
                wanted += "_"
            warnings.append(
                f"column {number} has {'the name of another' if name else 'no name'}: it is called {wanted!r}"
            )
            name = wanted
        seen.add(name.lower())
        columns.append(name)
    return tuple(columns), warnings if warn else []


def _likely_delimiter(text: str) -> str:
    """The mark that gives most of the first records the width of the header, and the widest if several do."""
    best, best_score = DELIMITERS[0], (0, 0)
    for mark in DELIMITERS:
        widths = [
            len(record) for record in islice(csv.reader(_lines_of([text]), delimiter=mark), SAMPLE_RECORDS) if record
        ]
        if widths and widths[0] > 1 and (score := (widths.count(widths[0]), widths[0])) > best_score:
            best, best_score = mark, score
    return best
