"""Where in a statement an error is: its line, and a caret under the token that SQLite stopped at.

1. Only people on a terminal get it: what reads stderr elsewhere gets one line for an error; `offset` in JSON says the same.
2. What would act on a terminal is shown instead, and counted as wide as it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from virke.cli.state import printable_text
from virke.cli.terminal import cell_width
from virke.errors import SqlError

SOURCE: Final = "source"
"""The key in the context of an error under which the text of its statement is."""
WIDTH: Final = 100
_LEAD: Final = 60
"""How much of a long line is shown before the token."""


@contextmanager
def attaching_source(sql: str) -> Iterator[None]:
    """Let a `SqlError` of the block know the text of its statement, unless it does already."""
    try:
        yield
    except SqlError as error:
        error.context.setdefault(SOURCE, sql)
        raise


def caret_lines(error: SqlError) -> list[str]:
    """The line of the statement and the one with the caret; none where SQLite does not say where, or the text is not known."""
    sql = error.context.get(SOURCE)
    if error.offset is None or not isinstance(sql, str):
        return []
    raw = sql.encode(errors="surrogateescape")
    if not 0 <= error.offset < len(raw):
        return []
    before = raw[: error.offset].decode(errors="replace")
    at = len(before) - (before.rfind("\n") + 1)
    line = sql[len(before) - at :].split("\n", 1)[0].rstrip("\r")
    indent = min(len(line) - len(line.lstrip()), at)
    line, at = line[indent:], at - indent
    if at > _LEAD:
        line, at = "…" + line[at - _LEAD :], _LEAD + 1
    if len(line) > WIDTH:
        line = line[:WIDTH] + "…"
    return [f"  {printable_text(line)}", " " * (2 + cell_width(printable_text(line[:at]))) + "^"]
