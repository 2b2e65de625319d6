"""Runs an SQL dump on a connection, statement by statement.

Knows which statements of dumps mean nothing inside one transaction, and how to name the one that failed;
knows no database of Virke: the caller gives a scratch connection with a transaction open, and throws it away on errors.

1. The whole dump is one transaction: BEGIN, COMMIT and VACUUM are skipped, ROLLBACK is an error, and a dump that ends inside the
   transaction that it began is cut short: an error too. Savepoints are as everywhere.
2. Every error names the line and the statement, shortened. INSERTs that follow one another run as one text, without Python between
   them; the one that fails is found again by the number of statements that SQLite had prepared.
3. What a dump of Virke or of the shell says of tables that SQLite or Virke keep for themselves is not an error where they are
   not there: `sqlite_sequence` is made (the last table with AUTOINCREMENT was dropped), statistics that this SQLite does
   not keep are passed over, and so are the keyed writes of the database that was dumped: they are not this one's.
4. Text that is no UTF-8 comes in byte for byte, as a BLOB that is cast.
5. What is said to another program is passed over, and a warning says so: a PRAGMA that Virke does not know, and those commands
   of the sqlite3 shell that change nothing in a database. The others, which would, are errors.
6. PRAGMA foreign_keys has no effect inside a transaction: constraints between tables are not checked, as in a dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from virke.engine.schema import REQUESTS_TABLE
from virke.engine.sqlite import Connection, Error, Guard, prepared, total_changes, translate
from virke.errors import Corrupt, Denied, Invalid, SqlError, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.transfer.sniff import BROKEN, CONVERT, foreign_product
from virke.transfer.splitter import StatementText, split_statements

SHOWN_CHARS: Final = 120
_CONTROL: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "VACUUM"})
_BACK_TO = re.compile(r"ROLLBACK\s+(?:TRANSACTION\s+)?TO\b", re.IGNORECASE).match
_OF_THE_SHELL: Final = frozenset(
    ".bail .binary .changes .crlf .crnl .databases .dbconfig .echo .eqp .explain .header .headers .help .indexes .indices "
    ".limit .mode .nullvalue .parameter .print .progress .prompt .scanstats .schema .separator .show .stats .tables .timeout "
    ".timer .version .vfsinfo .vfslist .vfsname .width".split()
)
"""Commands of the shell that change what it shows, or how it goes on, but nothing in a database."""
_NOTES_MAX: Final = 20
_FAILURES: Final = (Error, ValueError, TypeError, UnicodeError, MemoryError)
_KEYED_WRITES = re.compile(
    rf"(?:CREATE TABLE (?:IF NOT EXISTS )?|INSERT INTO )[\"'`\[]?{REQUESTS_TABLE}\b", re.IGNORECASE
).match
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*(?s:.*?)(?:\*/|\Z)""")
_MISSING = re.compile(r"no such table: (?:main\.)?sqlite_(sequence|stat[1-4])$").search
_MAKE_SEQUENCE: Final = "CREATE TABLE virke_sequence(id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE virke_sequence"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file did: statements run, rows inserted, updated or deleted, and whether it asked to write the schema.

    `warnings`: what its author should look at, though all of it came in.
    """

    statements: int
    rows: int
    wrote_schema: bool = False
    warnings: tuple[str, ...] = ()


def load_sql(connection: Connection, guard: Guard, chunks: Iterable[str]) -> Loaded:
    """Run all statements of a text.

    Raises:
        Invalid: a statement failed (`SqlError` if SQLite refused it), or the dump is cut short; the connection is
            then in no usable state.
        Denied: a statement wants out of its database.
        TooLarge: a statement or value is beyond the limits.
    """
    before = total_changes(connection)
    execute = connection.cursor().execute
    count, began, wrote_schema, has_keyed = 0, None, False, False
    notes: list[str] = []
    savepoints = _Savepoints(connection, guard)
    inserts = _Inserts(connection, guard)
    for statement in inserts.apart(split_statements(chunks, together=True)):
        if not statement.sql.isascii() and BROKEN.search(statement.sql):
            statement = _with_raw_text(connection, statement)
        sql, keyword = statement.sql, statement.keyword
        if keyword == ".":
            notes.append(_passed_over(statement))
            continue
        if keyword == "SAVEPOINT" or (keyword == "ROLLBACK" and _BACK_TO(sql)):
            savepoints.begin()
        elif keyword in _CONTROL:
            _refuse_statement(statement)
            began = statement if keyword == "BEGIN" else None if keyword in ("COMMIT", "END") else began
            continue
        if (keyword == "CREATE" or (has_keyed and keyword == "INSERT")) and _KEYED_WRITES(sql):
            has_keyed = inserts.are_looked_at = True
            continue
        wrote_schema |= keyword == "PRAGMA" and "writable_schema" in sql.lower()
        try:
            for _ in execute(sql, None, can_cache=False):  # each text comes once
                pass  # the rows of a SELECT go nowhere; what it calls may matter
        except _FAILURES as error:
            try:
                _without_its_table(connection, error, sql)
            except _FAILURES as failure:
                meant = _failure_at(failure, guard, statement)
                if keyword != "PRAGMA" or not isinstance(meant, Denied):
                    raise meant from failure
                notes.append(f"line {statement.line}: passed over, for it means nothing here: {shortened_sql(sql)}")
                continue
        count += 1
    if began:
        raise Invalid(
            f"line {began.line}: the dump begins a transaction here and ends without COMMIT: it is cut short; "
            "nothing was changed",
            line=began.line,
        )
    more = [f"and {len(notes) - _NOTES_MAX:,} more of this kind"] if len(notes) > _NOTES_MAX else []
    warnings = (*map(printable_message, notes[:_NOTES_MAX]), *more)
    return Loaded(count + inserts.count, total_changes(connection) - before, wrote_schema, warnings)


class _Inserts:
    """Runs INSERTs that come as one text, and gives back those that have to be looked at one by one."""

    def __init__(self, connection: Connection, guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self._execute = connection.cursor().execute
        self.count = 0
        """How many were run."""
        self.are_looked_at = False
        """Whether all are to be looked at."""

    def apart(self, statements: Iterable[StatementText]) -> Iterator[StatementText]:
        """All other statements, and INSERTs that can't be run as they are, in order. Raises as `load_sql`."""
        for statement in statements:
            if statement.statements == 1:
                yield statement
                continue
            if self.are_looked_at:
                yield from _statements_of(statement)
                continue
            before = prepared(self._connection)
            try:
                for _ in self._execute(statement.sql, None, can_cache=False):
                    pass  # as above; text that is no UTF-8 is an error before the first one runs
            except _FAILURES as error:
                yield from self._rest_after(error, statement, prepared(self._connection) - before)
            else:
                self.count += statement.statements

    def _rest_after(self, error: Exception, statement: StatementText, begun: int) -> Iterator[StatementText]:
        """The INSERTs that did not run: SQLite had prepared `begun`, and refused the last of them, unless the next can't be prepared."""
        each = list(_statements_of(statement))
        if begun and (begun == len(each) or self._refusal_of(each[begun]) != str(error)):
            raise _failure_at(error, self._guard, each[begun - 1]) from error
        self.count += begun
        yield from each[begun:]

    def _refusal_of(self, statement: StatementText) -> str:
        """What SQLite says of a statement that it is to prepare, and not to run; nothing if it can."""
        denied = self._guard.denied
        try:
            self._execute(f"EXPLAIN {statement.sql}", None, can_cache=False).fetchall()
        except _FAILURES as error:
            return str(error)
        finally:
            self._guard.denied = denied  # what this one is denied is not why the one before it failed
        return ""


def _statements_of(statement: StatementText) -> Iterator[StatementText]:
    """The statements that came as one."""
    for each in split_statements([statement.sql]):
        yield each._replace(line=each.line + statement.line - 1)


class _Savepoints:
    """Makes the connection one that can go back to a savepoint, from the first one on: that takes a journal."""

    def __init__(self, connection: Connection, guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self._is_ready = False

    def begin(self) -> None:
        """Before a savepoint, or before going back to one. What was done so far is only in the scratch copy."""
        if self._is_ready:
            return
        self._connection.set_authorizer(None)
        allowed, self._guard.allow_transactions = self._guard.allow_transactions, True
        for sql in ("COMMIT", "PRAGMA journal_mode=DELETE", "BEGIN"):
            self._connection.execute(sql).fetchall()
        self._guard.allow_transactions = allowed
        self._connection.set_authorizer(self._guard.authorize)
        self._is_ready = True


def _passed_over(statement: StatementText) -> str:
    """What to say of a command of the shell that means nothing here. Raises `Invalid`: it would do something."""
    command = statement.sql.split(maxsplit=1)[0].lower()
    if command not in _OF_THE_SHELL:
        raise error_with_place(
            Invalid(f"{command} is a command of the sqlite3 shell, not SQL: remove it from the file"), statement
        )
    return (
        f"line {statement.line}: passed over, for it is a command of the sqlite3 shell: {shortened_sql(statement.sql)}"
    )


def _with_raw_text(connection: Connection, statement: StatementText) -> StatementText:
    """A statement whose strings that are no UTF-8 are casts of their bytes; comments say `?` for such a byte."""

    def replaced(found: re.Match[str]) -> str:
        text = found[0]
        if not BROKEN.search(text):
            return text
        if text[0] in "-/":
            return BROKEN.sub("?", text)
        if text[0] != "'":
            raise error_with_place(Invalid("a name that is not valid UTF-8"), statement)
        if connection.execute("PRAGMA encoding").fetchall() != [("UTF-8",)]:
            raise error_with_place(
                Invalid("text that is not valid UTF-8 can't be kept in a database of UTF-16"), statement
            )
        return f"(CAST(X'{text[1:-1].replace(chr(39) * 2, chr(39)).encode(errors='surrogateescape').hex()}' AS TEXT))"

    sql = _QUOTED.sub(replaced, statement.sql)
    if BROKEN.search(sql):
        raise error_with_place(Invalid("not valid UTF-8 outside of a string"), statement)
    return statement._replace(sql=sql)


def _without_its_table(connection: Connection, error: Exception, sql: str) -> None:
    """Do what is meant by a statement that failed for a table of SQLite's own that is not there (rule 3); else raise `error`."""
    missing = _MISSING(str(error)) if isinstance(error, Error) else None
    if missing is None:
        raise error
    if missing[1] == "sequence":
        connection.execute(_MAKE_SEQUENCE).fetchall()
        connection.execute(sql).fetchall()


def _refuse_statement(statement: StatementText) -> None:
    """Raise for the statements about transactions that can't be skipped."""
    if statement.keyword == "ROLLBACK":
        raise error_with_place(
            Invalid("ROLLBACK: the dump takes back what it did (its source was damaged?)"), statement
        )
    if statement.keyword == "VACUUM" and " INTO " in " ".join(statement.sql[:1000].upper().split()):
        raise error_with_place(Denied("VACUUM INTO is not allowed: SQL stays inside its database"), statement)


def _failure_at(error: Exception, guard: Guard, statement: StatementText) -> VirkeError:
    """What `error` means, with its place and, if there is one, the likely reason."""
    sql = statement.sql
    meant = translate(error, guard)
    offset = getattr(error, "error_offset", -1)
    line = statement.line + sql.encode()[:offset].count(b"\n") if offset > 0 else statement.line
    if isinstance(meant, SqlError) and (product := foreign_product(sql[:100_000])):
        meant = SqlError(f"{meant.message} (this looks like {product}: {CONVERT})", sqlite_code=meant.sqlite_code)
    return error_with_place(meant, statement, line)


def error_with_place(error: VirkeError, statement: StatementText, line: int | None = None) -> VirkeError:
    """`error` with the place where it happened: `line` if that is not where the statement begins."""
    at = line or statement.line
    begins = f" (the statement begins on line {statement.line})" if at != statement.line else ""
    message = printable_message(
        f"line {at}: {error.message}{begins}, in: {shortened_sql(statement.sql)}; nothing was changed"
    )
    if isinstance(error, SqlError):
        return SqlError(message, sqlite_code=error.sqlite_code, line=at)
    # Scratch pages that don't fit together are the dump's fault (PRAGMA writable_schema), not a store's.
    kind = Invalid if isinstance(error, Corrupt) else type(error)
    return kind(message, line=at)


def shortened_sql(sql: str) -> str:
    """A statement on one line, cut to `SHOWN_CHARS`."""
    line = " ".join(sql[: 4 * SHOWN_CHARS].split()).rstrip(";")
    return line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]}…"


def printable_message(message: str) -> str:
    """A message without characters that could steer a terminal: a dump is anybody's text."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in message)
