"""Text that is not valid in its encoding: SQLite keeps it, apsw can neither read nor bind it, and here it goes both ways.

Such text is a `str` with surrogate escapes (PEP 383): `text.encode(errors="surrogateescape")` gives its bytes. In a database
whose encoding is UTF-16 they are those that UTF-8 would have.

1. A statement that reads is run again with each value as its type and its bytes, once a value turned out to be such text.
   One that writes is not: it has written. Rows that were given already are passed over, if they come again as they came:
   SQLite may choose another order for the other text, and then it is an error.
2. A parameter that is such text goes in as a blob, and SQLite makes text of it: `(+CAST(? AS TEXT))`, which has no affinity,
   as a parameter has none. Nothing ran before, for SQLite takes parameters first.
3. What is valid takes neither way, and costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from virke.engine.sqlite.opening import Connection, Cursor
from virke.engine.sqlite.parameters import Parameter, Parameters, Row
from virke.engine.sqlite.statement import Statement
from virke.errors import WrongValue
from virke.lazy_patterns import pattern

_READING: Final = frozenset({"SELECT", "VALUES", "WITH"})
_TOKEN: Final = pattern(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)
      |(?P<parameter>\?[0-9]*|[:@$#](?:[\w$]|::)+(?:\([^)\s]*\))?)|[^\W\d][\w$]*""",
    re.DOTALL | re.VERBOSE,
)


def execute(connection: Connection, statement: Statement, params: Parameters) -> Cursor | EscapedRows:
    """Begin a statement, whatever the text of its parameters is; reading its rows may say that `EscapedRows` is needed."""
    try:
        # SQLite lists an EXPLAIN that it has prepared once without a look at the schema of now
        return connection.execute(statement.runs, params, can_cache=not statement.is_explain)
    except UnicodeEncodeError:
        return EscapedRows(connection, statement, params)


class EscapedRows:
    """The rows of a statement, one by one, whatever their text and that of its parameters is. Raises as apsw does."""

    def __init__(self, connection: Connection, statement: Statement, params: Parameters) -> None:
        self._connection = connection
        self.statement = statement
        self._sql, self._params = statement.runs, params
        self._count = self._seen = 0
        self._encoding: str | None = None
        cursor = connection.cursor()
        try:
            self._cursor = cursor.execute(self._sql, params, can_cache=not statement.is_explain)
        except UnicodeEncodeError:
            self._sql, self._params = bound_as_bytes(self._sql, params, encoding_of(connection))
            self._cursor = connection.cursor().execute(self._sql, self._params, can_cache=False)

    def __iter__(self) -> EscapedRows:
        return self

    def __next__(self) -> Row:
        """The next row."""
        if self._encoding is not None:
            return _joined_row(next(self._cursor), self._encoding)
        try:
            row: Row = next(self._cursor)
        except UnicodeDecodeError:
            self._cursor.close(True)
            if not can_be_spelled_out(self.statement) or not self._spell_out():
                raise
            return next(self)
        self._count += 1
        self._seen = hash((self._seen, row))
        return row

    def _spell_out(self) -> bool:
        """Run it again as pairs, up to where the values can't be read otherwise; whether the rows so far were the same."""
        self._encoding = encoding = encoding_of(self._connection)
        sql = _spelled_out(self._sql, len(self.statement.columns))
        self._cursor = self._connection.cursor().execute(sql, self._params, can_cache=False)
        seen = 0
        for pairs in islice(self._cursor, self._count):
            seen = hash((seen, _joined_row(pairs, encoding)))
        return seen == self._seen

    def close(self, force: bool = False) -> None:
        """End it."""
        self._cursor.close(force)


def can_be_spelled_out(statement: Statement) -> bool:
    """Whether rule 1 holds for a statement."""
    return statement.read_only and statement.keyword in _READING and not statement.is_explain


def encoding_of(connection: Connection) -> str:
    """The encoding of a database's text: UTF-8, UTF-16le or UTF-16be."""
    return str(connection.pragma("encoding"))


def _spelled_out(sql: str, columns: int) -> str:
    names = [f"v{number}" for number in range(columns)]
    pairs = ",".join(f"typeof({n}),CASE typeof({n}) WHEN 'text' THEN CAST({n} AS BLOB) ELSE {n} END" for n in names)
    return f'WITH "its rows"({",".join(names)}) AS ({sql.rstrip().rstrip(";")}\n) SELECT {pairs} FROM "its rows"'


def _joined_row(pairs: Row, encoding: str) -> Row:
    return tuple(
        escaped_text(value, encoding) if kind == "text" and isinstance(value, bytes) else value
        for kind, value in zip(pairs[::2], pairs[1::2], strict=True)
    )


def escaped_text(data: bytes, encoding: str) -> str:
    """A text from its bytes in a database of this encoding."""
    if encoding != "UTF-8":
        data = data.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "surrogateescape")


def bound_as_bytes(sql: str, params: Parameters, encoding: str) -> tuple[str, Parameters]:
    """The same statement with parameters that can be bound (rule 2).

    Raises:
        Invalid: a text is not valid Unicode, and has no bytes.
    """
    items = list(params.items()) if isinstance(params, Mapping) else list(enumerate(params, 1))
    given: dict[str | int, Parameter] = {}
    raw: set[str | int] = set()
    for key, value in items:
        given[key] = _bytes_of(value, encoding) if isinstance(value, str) and not _is_valid(value) else value
        if given[key] is not value:
            raw.add(key)
    numbers: dict[str, int] = {}
    last = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal last
        token = found["parameter"]
        if token is None:
            return found[0]
        if token == "?":
            number = last + 1
            token = f"?{number}"
        elif token[0] == "?":
            number = int(token[1:])
        else:
            number = numbers.setdefault(token, last + 1)
        last = max(last, number)
        key = token[1:] if isinstance(params, Mapping) else number
        return f"(+CAST({token} AS TEXT))" if key in raw else token

    text = _TOKEN.sub(replace, sql)
    return text, {str(key): value for key, value in given.items()} if isinstance(params, Mapping) else [*given.values()]


def _is_valid(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_of(text: str, encoding: str) -> bytes:
    try:
        data = text.encode("utf-8", "surrogateescape")
        return data if encoding == "UTF-8" else data.decode("utf-8", "surrogatepass").encode(encoding, "surrogatepass")
    except UnicodeError as error:
        raise WrongValue(f"text is not valid Unicode: {error}") from error
