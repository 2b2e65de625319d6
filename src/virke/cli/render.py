"""Rows as text: table, CSV, NDJSON, Markdown, JSON.

Pure except for characters that are not ASCII: their width, and in JSON whether stdout can carry them. Yields lines, so that a large result is never one string;
all forms but the table take rows as they come.

1. Every value can be distinguished from every other: a REAL is printed with the digits that read back as the same REAL and
   never like an INTEGER; a BLOB is `X'…'`, in JSON `{"base64": "…"}`. Only NULL and the text 'NULL' look alike in
   tables; JSON and CSV tell them apart (CSV: NULL is nothing, the empty text is `""`).
2. JSON never loses digits: an integer that a double can't hold (beyond ±(2^53 − 1)) is a string of its digits,
   infinity is the string "Infinity" or "-Infinity". SQLite has no NaN: it stores NULL.
3. One row is one line in tables, Markdown and NDJSON: control characters are escaped.
"""

from __future__ import annotations

import base64
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from virke.cli.state import json_text, printable_text
from virke.cli.terminal import cell_width

Value = None | int | float | str | bytes
Row = Sequence[Value]
Rows = Sequence[Row]
Flow = Iterable[Row]
"""Rows that are asked for once, one after the other."""

EXACT_INTEGER_MAX: Final = (1 << 53) - 1
FORMATS: Final = ("table", "json", "csv", "ndjson", "markdown")
GAP: Final = "  "


def text_of(value: Value) -> str:
    """A value as SQL's reader knows it, text without quotes."""
    match value:
        case None:
            return "NULL"
        case float():
            if math.isinf(value):
                return "Inf" if value > 0 else "-Inf"
            return repr(value)
        case bytes():
            return f"X'{value.hex().upper()}'"
        case _:
            return str(value)


def json_of(value: Value) -> object:
    """A value for JSON (invariant 2)."""
    match value:
        case int() if abs(value) > EXACT_INTEGER_MAX:
            return str(value)
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case _:
            return value


def _json_line(value: object) -> str:
    return json_text(value, sys.stdout)


def table(columns: Sequence[str], rows: Rows, header_style: tuple[str, str] = ("", "")) -> Iterator[str]:
    """An aligned table: header, dashed rule, rows; each column as wide as its widest cell, left aligned."""
    titles = [printable_text(column) for column in columns]
    widths = [cell_width(title) for title in titles]
    for row in rows:
        for at, value in enumerate(row):
            widths[at] = max(widths[at], cell_width(printable_text(text_of(value))))
    before, after = header_style
    yield before + _aligned_row(titles, widths) + after
    yield GAP.join("-" * width for width in widths)
    for row in rows:
        yield _aligned_row([printable_text(text_of(value)) for value in row], widths)


def _aligned_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - cell_width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return GAP.join(padded).rstrip(" ")


def lines_of(columns: Sequence[str], rows: Flow) -> Iterator[str]:
    """Each value on a line of its own, after its column; a blank line between rows."""
    titles = [printable_text(column) for column in columns]
    width = max(map(cell_width, titles), default=0)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for title, value in zip(titles, row, strict=True):
            yield f"{' ' * (width - cell_width(title))}{title} = {printable_text(text_of(value))}"


def markdown_lines(columns: Sequence[str], rows: Flow) -> Iterator[str]:
    """A table in GitHub's Markdown."""
    yield _markdown_row(columns)
    yield _markdown_row(["---"] * len(columns))
    for row in rows:
        yield _markdown_row([text_of(value) for value in row])


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (printable_text(cell.replace("\\", "\\\\").replace("|", "\\|")) for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def csv_lines(columns: Sequence[str], rows: Flow) -> Iterator[str]:
    """CSV (RFC 4180, but with Unix line ends): a header, NULL as nothing, the empty text as `""`."""
    yield ",".join(_csv_cell(column) for column in columns)
    for row in rows:
        yield ",".join("" if value is None else _csv_cell(text_of(value)) for value in row)


def _csv_cell(text: str) -> str:
    if text and text == text.strip() and not any(mark in text for mark in ',"\n\r'):
        return text
    return '"' + text.replace('"', '""') + '"'


def ndjson_lines(columns: Sequence[str], rows: Flow) -> Iterator[str]:
    """One JSON object for each row; the second column of a name is `name_2`, the third `name_3`."""
    names = unique_names(columns)
    for row in rows:
        yield _json_line({name: json_of(value) for name, value in zip(names, row, strict=True)})


def unique_names(columns: Sequence[str]) -> list[str]:
    """The names of columns, made different from each other."""
    taken, seen, names = set(columns), Counter[str](), list[str]()
    for column in columns:
        seen[column] += 1
        name = column
        while seen[column] > 1 and name in taken:
            name = f"{column}_{seen[column]}"
            seen[column] += name in taken
        taken.add(name)
        names.append(name)
    return names


def json_lines(columns: Sequence[str], rows: Flow, rest: Mapping[str, object]) -> Iterator[str]:
    """One JSON object: `columns`, `rows` (arrays, a line each), then the entries of `rest`."""
    yield f'{{"columns": {_json_line(list(columns))},'
    yield ' "rows": ['
    line = None
    for row in rows:
        if line is not None:
            yield line + ","
        line = "  " + _json_line([json_of(value) for value in row])
    if line is not None:
        yield line
    entries = "".join(f",\n {_json_line(key)}: {_json_line(value)}" for key, value in rest.items())
    yield f" ]{entries}}}"
