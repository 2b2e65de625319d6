"""JSON objects as rows of one table, in and out.

Knows JSON and tables; a value is written as over HTTP (`engine.values`). What comes in are objects one after the other, each on a
line of its own (NDJSON) or not, or one array of them.

1. A table that is missing is made: its columns are all keys that the file has, in the order of their first appearance, INTEGER, REAL, TEXT
   or BLOB where all values of a column are, else without a type.
2. Into a table that is there, values go by key, and a file without objects adds nothing; a key that it does not have is an error.
   One that an object lacks is NULL, or the default where the table refuses NULL.
3. true and false are 1 and 0, an object or an array is its JSON as text, an integer beyond 64 bits is its digits as text.
4. Memory holds one object, of at most `OBJECT_CHARS_MAX`. Every error names the line where its object begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from virke.engine.sqlite import Connection, Error, Guard, Value, total_changes
from virke.engine.values import decode_value, encode_value
from virke.errors import Invalid, TooLarge, VirkeError
from virke.transfer.dump import joined_pieces
from virke.transfer.source import Progress, Source, silent_progress
from virke.transfer.sql_dump import Loaded
from virke.transfer.table import by_name, columns_of, create_sql, insert_sql, names_of, refused_error, rows_of

OBJECT_CHARS_MAX: Final = 144 << 20
"""What a row with a BLOB of 64 MiB takes, and some more."""
_BLANK: Final = " \t\r\n"
_WRAPPED: Final = frozenset({"int64", "real", "base64", "text_base64"})
_TYPES: Final[Mapping[type, str]] = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}


class Objects:
    """The objects of a file, in order; `line` is where the latest one begins."""

    def __init__(self, source: Source, encoding: str, progress: Progress = silent_progress) -> None:
        self.line = self._end_line = 1
        self.name = source.name
        self._chunks = source.text(encoding, progress)
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[dict[str, Any]]:
        in_array = self._next_char() == "["
        if in_array:
            self._at += 1
        while (char := self._next_char(skipped="," if in_array else "")) not in ("", "]" if in_array else ""):
            if char != "{":
                raise self._error_at_line("an object is expected here: a row is {…}")
            found = self._next_object()
            if "" in found or any("\0" in key for key in found):
                raise self._error_at_line("a key is empty, or holds a NUL")
            yield found
        if in_array:
            if self._next_char() != "]":
                raise self._error_at_line("the array never ends: the file is cut short")
            self._at += 1
            if self._next_char():
                raise self._error_at_line("there is more after the array")

    def _next_object(self) -> dict[str, Any]:
        wanted = 1
        while True:
            try:
                found, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > OBJECT_CHARS_MAX:
                    message = f"an object of more than {OBJECT_CHARS_MAX >> 20} MiB, or one that never ends"
                    raise TooLarge(f"{self.name}, line {self.line}: {message}; nothing was changed") from error
                if not self._take_more(wanted):
                    raise self._error_at_line(f"not JSON: {getattr(error, 'msg', error)}") from error
                wanted *= 2  # an object is looked at again only when its text has doubled
                continue
            self._at, begin = end, self._at
            self._end_line = self.line + self._text.count("\n", begin, end)
            assert isinstance(found, dict), "it begins with a brace"
            return found

    def _take_more(self, chunks: int = 1) -> bool:
        """Take more of the file; whether there was more."""
        taken = [chunk for _, chunk in zip(range(chunks), self._chunks, strict=False)]
        self._text = self._text[self._at :] + "".join(taken)
        self._at = 0
        return bool(taken)

    def _next_char(self, skipped: str = "") -> str:
        """The next character that is not a blank; "" at the end. Lines are counted."""
        self.line = self._end_line
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANK + skipped:
                self.line += text[at] == "\n"
                at += 1
            self._at = at
            if at < len(text) or not self._take_more():
                self._end_line = self.line
                return self._text[self._at : self._at + 1]

    def _error_at_line(self, what: str) -> Invalid:
        return Invalid(f"{self.name}, line {self.line}: {what}", line=self.line)


def load_json(
    connection: Connection,
    guard: Guard,
    source: Source,
    *,
    encoding: str,
    table: str,
    progress: Progress = silent_progress,
) -> Loaded:
    """Insert all objects of `source` into `table`.

    Raises:
        Invalid: the file is not JSON, its keys are not the table's columns, or SQLite refuses a row (`SqlError`).
    """
    names, types = _survey_objects(Objects(source, encoding, progress))
    before = total_changes(connection)
    try:
        there = columns_of(connection, table)
        if not names and not there:
            raise Invalid(
                f"{source.name} holds no object with a key, and there is no table {table!r} that it could be of"
            )
        if not names:
            return Loaded(0, 0)
        if not there:
            connection.execute(create_sql(table, names, types)).fetchall()
    except Error as error:
        raise refused_error(f"can't make table {table!r}", error, guard) from error
    into = by_name(names, there, table) if there else []
    objects = Objects(source, encoding)
    try:
        connection.executemany(insert_sql(table, names, into), _rows_of(objects, names)).fetchall()
    except Error as error:
        raise refused_error(f"{source.name}, line {objects.line}", error, guard) from error
    return Loaded(1 if there else 2, total_changes(connection) - before)


def _survey_objects(objects: Objects) -> tuple[list[str], list[str]]:
    """The columns that the objects have, and what holds all their values."""
    found: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for each in objects:
        for key, value in each.items():
            name = names.setdefault(key.lower(), key)
            types = found.setdefault(name, set())
            if value is not None:
                types.add(_TYPES[type(_sqlite_value(value, objects))])
    return list(found), [_joined_type(types) for types in found.values()]


def _joined_type(types: set[str]) -> str:
    if len(types) == 1:
        return next(iter(types))
    return "REAL" if types == {"INTEGER", "REAL"} else ""


def _rows_of(objects: Objects, names: Sequence[str]) -> Iterator[tuple[Value, ...]]:
    place = {name.lower(): at for at, name in enumerate(names)}
    for each in objects:
        row: list[Value] = [None] * len(names)
        for key, value in each.items():
            row[place[key.lower()]] = _sqlite_value(value, objects)
        yield tuple(row)


def _sqlite_value(value: Any, objects: Objects) -> Value:
    """A value of JSON as SQLite's (rule 3)."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, dict) and len(value) == 1 and value.keys() <= _WRAPPED:
        try:
            return decode_value(value)
        except (VirkeError, ValueError) as error:
            message = f"{objects.name}, line {objects.line}: {json.dumps(value)[:60]} is not a value"
            raise Invalid(message, line=objects.line) from error
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_lines(connection: Connection, table: str) -> Iterator[str]:
    """A table or view as NDJSON, in pieces of whole lines; the connection must not change meanwhile.

    Raises:
        NotFound: there is no such table. Invalid: a text in it is not valid Unicode.
        apsw's errors: the table can't be read (`virke.engine.sqlite.translate` says what they mean).
    """
    names = names_of(connection, table)
    dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    rows = rows_of(connection, table)
    return joined_pieces(dumps(dict(zip(names, map(encode_value, row), strict=True))) + "\n" for row in rows)
