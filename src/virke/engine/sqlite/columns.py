"""libSQL's `ALTER TABLE t ALTER COLUMN c TO c <definition>` as text, and where a column stands in its CREATE TABLE.

SQLite does not have the statement; clients of libSQL send it for a changed column. Knows text; asks no SQLite.

1. A definition is taken as it is: from the column's name to the end of the statement, without comments at its end. It
   holds no comma, `;` or `)` of its own outside of parentheses, so that it replaces one column and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

_TOKEN: Final = pattern(
    r"""(?P<nothing>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|.""",
    re.DOTALL,
)
_QUOTES: Final = {'"': '"', "`": "`", "[": "]", "'": "'"}


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A column's new definition, which begins with its name. `text` is the statement."""

    table: str
    column: str
    definition: str
    renames: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The name that it stands for."""
        quote = self.text[0]
        if quote not in _QUOTES:
            return self.text
        return self.text[1:-1].replace(_QUOTES[quote] * 2, _QUOTES[quote])

    def is_word(self, *words: str) -> bool:
        return self.text.upper() in words


def _sql_tokens(sql: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(sql):
        if found["nothing"] is None and found[0] != "\ufeff":
            yield _Token(found[0], found.start(), found.end())


def column_change(sql: str) -> ColumnChange | None:
    """What the first statement of `sql` changes; None if it is another one."""
    tokens = [one for one in _sql_tokens(sql) if one.text != ";" or one.start > len(sql) - len(sql.lstrip(" \t\r\n;"))]
    if len(tokens) > 4 and tokens[3].text == "." and tokens[2].name.lower() == "main":
        del tokens[2:4]
    match tokens:
        case [alter, table, name, change, column, old, to, *rest] if (
            alter.is_word("ALTER")
            and table.is_word("TABLE")
            and change.is_word("ALTER")
            and column.is_word("COLUMN")
            and to.is_word("TO")
        ):
            end = next((place for place, one in enumerate(rest) if one.text == ";"), len(rest))
            definition = rest[:end]
            if not definition or not _is_one_column(definition):
                return None
            text = sql[: rest[end].end] if end < len(rest) else sql
            renames = definition[0].name.lower() != old.name.lower()
            taken = sql[definition[0].start : definition[-1].end]
            return ColumnChange(name.name, old.name, taken, renames, text)
        case _:
            return None


def _is_one_column(definition: list[_Token]) -> bool:
    depth = 0
    for one in definition:
        depth += (one.text == "(") - (one.text == ")")
        if depth < 0 or (depth == 0 and one.text == ","):
            return False
    return depth == 0


def with_definition(create: str, place: int, definition: str) -> tuple[str, str]:
    """A CREATE TABLE with another definition of its column at `place` (0, 1 …): what stands before the columns, and the rest."""
    start, columns = _column_places(create)
    first, last = columns[place]
    return create[:start], create[start:first] + definition + create[last:]


def definition_of(create: str, place: int) -> str:
    """The definition of the column at `place` of a CREATE TABLE."""
    first, last = _column_places(create)[1][place]
    return create[first:last]


def _column_places(create: str) -> tuple[int, list[tuple[int, int]]]:
    """Where the list of a CREATE TABLE begins, and from where to where each of its entries goes; columns come first."""
    depth, begin = 0, -1
    found: list[tuple[int, int]] = []
    entry: list[_Token] = []
    for one in _sql_tokens(create):
        depth += one.text == "("
        if depth == 1 and one.text == "(":
            begin = one.start
        elif depth == 1 and one.text in (",", ")"):
            found.append((entry[0].start, entry[-1].end))
            entry = []
            if one.text == ")":
                break
        elif depth:
            entry.append(one)
        depth -= one.text == ")"
    return begin, found
