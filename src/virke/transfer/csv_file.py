"""A CSV file as a table: the names of its columns, their types, and its records made as long as the header.

Knows CSV by its records (`csv_records`), with `,` `;` tab or `|` between fields, and types by their values (`csv_types`); knows no
table of a database. The first record names the columns, unless there is no header.

1. The types of columns are those that hold every value of the whole file. They are known at its end; until then they are those of the
   records so far, and can only become wider.
2. A field of nothing is not a value. A quoted field of nothing (`""`) is the empty text, and no value where a column is of numbers:
   some programs quote everything.
3. A record that is too short has no values at its end; one that is too long is an error, unless the rest of it is empty. Both are
   counted for a warning.
4. A blank line is not a record, except where there is but one column: then it is a record of no value.
5. A column without a name is called by its number, and a name that was there before gets its number.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass
from virke.transfer.csv_records import RECORD_CHARS_MAX, Batch, Records, cut_up
from virke.transfer.csv_types import EMPTY_TEXT, Findings, Type, type_of
from virke.transfer.form import AS_FOUND, Form
from virke.transfer.sniff import DELIMITERS
from virke.transfer.source import Progress, Source, silent_progress

SAMPLE_RECORDS: Final = 200
FIELDS_TOGETHER: Final = 1 << 20
"""Of wide records fewer are looked at together, as short ones are made as wide."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is like after one reading: its column names and their types.

    `warnings`: what its author should look at, though it can be read.
    """

    columns: tuple[str, ...]
    types: tuple[Type, ...]
    warnings: tuple[str, ...] = ()


Columns = list[tuple[str, ...]]


class Rows:
    """The records below the header, in order: read once, looked at, and each with a field for every column.

    Raises:
        Invalid: the file has no record.
    """

    def __init__(
        self,
        source: Source,
        encoding: str,
        progress: Progress = silent_progress,
        *,
        form: Form = AS_FOUND,
        known: Layout | None = None,
    ) -> None:
        """`known`: what the file is like, if it was read before; then no value is looked at."""
        self._name = source.name
        self._form = form
        csv.field_size_limit(max(csv.field_size_limit(), RECORD_CHARS_MAX))  # one for the process: only ever raised
        self._delimiter = _likely_delimiter(next(source.text(encoding), ""))
        self._batches = iter(Records(source, encoding, self._delimiter, progress=progress))
        self._left = list[Batch]()
        self._blank = 0  # lines before the first record, in batches of nothing else
        self._first = self._begin()
        self._blanks = self._blank
        names = self._first if form.has_header else [""] * len(self._first)
        self.columns, self._warnings = _header_names(names, source.name, warn=form.has_header)
        self._each = self._looked_at()
        self._found = Findings(len(self.columns), undecided=form.types == "infer" and known is None)

    def _begin(self) -> list[str]:
        """The first record that is not a blank line; what is read of the others is in `_left`."""
        for batch in self._batches:
            at = next((at for at, record in enumerate(batch.records) if record), -1)
            if at < 0:
                self._blank += len(batch.records)
                continue
            first = batch.records[at]
            self._left.append(batch.part(at + 1) if self._form.has_header else batch)
            return first
        raise Invalid(
            f"{self._name} holds no record" + ": its first line must name the columns" * self._form.has_header
        )

    @property
    def types(self) -> tuple[Type, ...]:
        """What holds every value of the records so far."""
        return self._found.types()

    def __iter__(self) -> Iterator[tuple[Batch, Columns]]:
        """Batches of what is left, as records and by column: whoever goes on does so where the last one stopped.

        Raises:
            Invalid: a record is too long, or is not CSV; names the line. TooLarge: a record is longer than the limit.
        """
        return self._each

    def _looked_at(self) -> Iterator[tuple[Batch, Columns]]:
        width = len(self.columns)
        together = max(1, FIELDS_TOGETHER // width)
        for batch in self._whole():
            for begin in range(0, len(batch.records), together):
                part = batch if len(batch.records) <= together else batch.part(begin, begin + together)
                if set(map(len, part.records)) != {width}:
                    part = self._evened(part, width)
                if part.records:
                    columns = list(zip(*part.records, strict=True))
                    self._found.look_at_all(columns)
                    yield part, columns

    def _whole(self) -> Iterator[Batch]:
        """What is left, as it was read."""
        while self._blank:
            count = min(self._blank, SAMPLE_RECORDS)
            lines = range(self._blanks - self._blank + 1, self._blanks + 1)
            self._blank -= count
            if not self._form.has_header:  # where there is but one column they are records (rule 4)
                yield Batch([[] for _ in range(count)], count, False, lines.__getitem__)
        while batch := self._left.pop() if self._left else next(self._batches, None):
            yield batch

    def _evened(self, batch: Batch, width: int) -> Batch:
        """The records as long as the header (rules 3 and 4)."""
        kept: list[int] = []
        records: list[list[str]] = []
        for at, record in enumerate(batch.records):
            if len(record) != width and not self._found.takes(record, partial(batch.line_of, at)):
                line, names = batch.line_of(at), "the header names" if self._form.has_header else "the first line has"
                raise Invalid(f"{self._name}, line {line}: {len(record)} fields, but {names} {width}", line=line)
            if record or width == 1:
                kept.append(at)
                records.append([*record, *[""] * (width - len(record))][:width])
        return Batch(records, batch.chars, batch.has_marks, lambda index: batch.line_of(kept[index]))

    def finish(self) -> Layout:
        """Read what is left: what the file is like after one whole reading. Raises as `__iter__`."""
        for _ in self:
            pass
        types, first, warnings = self.types, self._first, list(self._warnings)
        if self._form.has_header and all(map(_could_be, first, types)) and any(type_ not in _UNSURE for type_ in types):
            warnings.append(
                f"the first line looks like data: {first[0]!r} is now the name of a column (was there no header?)"
            )
        warnings += self._found.warnings(len(self.columns))
        named = tuple(f"{self._name}: {text}" for text in warnings)
        return Layout(self.columns, types, named)


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
        widths = [len(record) for record in islice(csv.reader(cut_up(text), delimiter=mark), SAMPLE_RECORDS) if record]
        if widths and widths[0] > 1 and (score := (widths.count(widths[0]), widths[0])) > best_score:
            best, best_score = mark, score
    return best
