"""Rows on their way to stdout: results of any size in bounded memory, in every form but the table.

1. A row is read when the row before it was written, or with a few others that are short.
2. Nothing is written before the first row was read: what fails until then leaves stdout empty.
3. What fails later is an error on stderr and an exit code, as always; all rows before it are out, except for the last few
   (`ROWS_AT_ONCE_MAX`) that were read together with it.
4. A statement that writes is not run here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

from virke.cli import render
from virke.cli.state import colour_on, fit_for
from virke.errors import Denied, TooLarge

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.engine.results import Request
    from virke.engine.rows import Rows

ROWS_AT_ONCE_MAX: Final = 256
BYTES_AT_ONCE: Final = 256 << 10


def show_query_rows(database: Database, request: Request, form: str) -> bool:
    """Print the rows of a statement that reads, as they come; False, and nothing was done, if it does not only read."""
    try:
        rows = database.query_rows(*request)
    except Denied:
        return False  # `query` knows whether it may be run
    with rows:
        parts = _growing_parts(rows)
        first = next(parts)
        rest = {"rows_affected": 0, "last_insert_rowid": None, "version": rows.version, "bookmark": rows.bookmark}
        write_lines(lines_of_result(form, rows.columns, chain(first, chain.from_iterable(parts)), rest))
    return True


def _growing_parts(rows: Rows) -> Iterator[Sequence[render.Row]]:
    """The rows, more at once while they are short; at least one part."""
    wanted = 1
    while True:
        part = rows.take(wanted)
        yield part
        if len(part) < wanted:
            return
        length = sum(len(value) for row in part for value in row if isinstance(value, str | bytes))
        wanted = min(2 * wanted, ROWS_AT_ONCE_MAX) if length < BYTES_AT_ONCE else 1


@contextmanager
def hinting_forms(form: str) -> Iterator[None]:
    """Say which forms take a result that is too large for a table."""
    try:
        yield
    except TooLarge as error:
        if form == "table":
            error.context.setdefault("hint", "--csv, --ndjson, --json and --markdown print a result of any size")
        raise


def lines_of_result(
    form: str, columns: Sequence[str], rows: Iterable[render.Row], rest: Mapping[str, object]
) -> Iterable[str]:
    """The lines of a result; `rest` is what JSON says besides."""
    match form:
        case "json":
            return render.json_lines(columns, rows, rest)
        case "csv":
            return (fit_for(sys.stdout, line) for line in render.csv_lines(columns, rows))
        case "ndjson":
            return render.ndjson_lines(columns, rows)
        case "markdown":
            return render.markdown_lines(columns, rows)
        case _ if columns:
            style = ("\x1b[1m", "\x1b[0m") if colour_on(sys.stdout) else ("", "")
            return render.table(columns, list(rows), style)
        case _:
            return ()


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    out = sys.stdout
    for line in lines:
        out.write(line + "\n")
