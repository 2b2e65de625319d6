"""One connection's transactions: when one begins and ends, and what a statement outside of one is.

Knows `Database` and `Transaction`; knows no cursor. What PEP 249 and `sqlite3` promise of transactions is here:

1. A transaction begins in the store with its first statement. One that only read so far makes no writer wait; at its first write it
   goes on if nothing was committed since (else `OperationalError`, SQLITE_BUSY_SNAPSHOT, as in SQLite's WAL mode).
2. One that writes is first in line: others of this machine wait up to their `timeout`, and are `OperationalError` (SQLITE_BUSY) then.
3. A statement outside of a transaction is one by itself; where it lost a race it is run again.
4. Whatever one connection of this process committed, the others see in their next read or transaction, whatever the store's reads promise.
5. A commit that fails leaves no transaction open: nothing of it is in history, or the error says that this is not known.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TypedDict
from weakref import WeakKeyDictionary

from virke.api.hrana.sql import Begin, Commit, Rollback, Savepoint, control_of
from virke.dbapi.errors import DatabaseError, Error, NotSupportedError, OperationalError, Translating, with_code
from virke.engine.database import Database
from virke.engine.results import QueryResult
from virke.engine.rows import Rows
from virke.engine.sqlite import Parameters, Row, Value
from virke.engine.terms import Cancel
from virke.engine.transaction import Transaction
from virke.errors import Conflict, Denied, ReadOnly, TooLarge, VirkeError
from virke.scopes import Scope

LEGACY: Final = -1
SMALL_ROWS: Final = 200
CHUNK_ROWS_MAX: Final = 256
CHUNK_BYTES: Final = 64 << 10
SMALL_KEPT: Final = 500
CHANGING: Final = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
CONTROL: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})
READING: Final = frozenset({"SELECT", "VALUES", "EXPLAIN"})
_ASKED: Final = frozenset({"WITH", "PRAGMA"})
"""What may read or write: the database is asked."""
_WRITES_WITHIN: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_TEMPORARY: Final = re.compile(
    r"[\s;]*CREATE\s+(?:TEMP(?:ORARY)?\b|(?:TABLE|VIEW|TRIGGER)\s+(?:IF\s+NOT\s+EXISTS\s+)?[\"'`\[]?temp[\"'`\]]?\s*\.)",
    re.IGNORECASE,
)

_newest: Final[dict[str, tuple[int, str]]] = {}
"""By history: the newest version that a connection of this process committed, and its bookmark (rule 4)."""
HISTORIES_KEPT: Final = 1000


class _Terms(TypedDict):
    """How a statement outside of a transaction is read."""

    consistency: str | None
    bookmark: str | None
    cancel: Cancel


class Answer(NamedTuple):
    """What a statement answered; `rows` come as they are asked for."""

    columns: list[str]
    decltypes: list[str | None]
    rows: Iterator[Row]
    changed: int = -1
    rowid: int | None = None


class Session:
    """The transactions of one connection."""

    def __init__(
        self,
        database: Database,
        errors: Translating,
        *,
        wait_s: float,
        consistency: str | None,
        autocommit: int,
        read_only: bool,
    ) -> None:
        self.database, self.errors = database, errors
        self.autocommit = autocommit
        self.level: str | None = ""
        self.trace: Callable[[str], object] | None = None
        self.changes = self.rowid = 0
        self.is_asked = False
        """Whether an authorizer has to see each statement: describing it asks, running one that is known does not."""
        self._wait_s, self._consistency, self._read_only = wait_s, consistency, read_only
        self._transaction: Transaction | None = None
        self._is_open = autocommit == 0
        self._marks: list[str] = []
        self._began_by_mark = False
        self._serving = getattr(database, "serving", None)
        """None for a database of a node, which has its own line of writers."""
        self._history = self._serving.history if self._serving else ""
        self._open_rows: WeakKeyDictionary[Rows, list[list[Row]]] = WeakKeyDictionary()
        self._small: dict[str, None] = {}
        self._running: Cancel | None = None
        self._lock = threading.Lock()

    @property
    def in_transaction(self) -> bool:
        """Whether one is open. SQLite itself may have ended it (INSERT OR ROLLBACK)."""
        if self._transaction is not None and self._transaction.is_over:
            self._forget_transaction()
        return self._is_open

    def tell(self, sql: str) -> None:
        """Say to the trace callback what runs."""
        if self.trace is not None:
            self.trace(sql)

    # Beginning and ending

    def begin(self, mode: str) -> None:
        """Begin a transaction: `IMMEDIATE` or `EXCLUSIVE` at once, else with its first statement."""
        if self.in_transaction:
            raise OperationalError("cannot start a transaction within a transaction")
        self._is_open = True
        if mode.upper() in ("IMMEDIATE", "EXCLUSIVE"):
            try:
                self._transaction_for(writes=True)
            except BaseException:
                self._is_open = False
                raise

    @contextmanager
    def beginning(self, word: str, sql: str) -> Iterator[None]:
        """While a statement runs: DML begins a transaction by itself, unless it is not even SQL."""
        begins = self.autocommit == LEGACY and word in CHANGING and self.level is not None and not self.in_transaction
        if begins:
            self.tell(f"BEGIN {self.level}")
            self.begin(self.level or "")
        try:
            yield
        except Error as error:
            if begins and error.kind == "sql_error" and not self._is_sql(sql):
                self.end(commits=False)
            raise

    def _is_sql(self, sql: str) -> bool:
        try:
            self.names(sql)
        except Error:
            return False
        return True

    def end(self, *, commits: bool, sql: str | None = None) -> None:
        """Commit or roll back, if a transaction is open; with `autocommit` False the next one begins."""
        if not self.in_transaction:
            return
        self.tell(sql or ("COMMIT" if commits else "ROLLBACK"))
        self._keep_rows()
        transaction = self._transaction
        self._forget_transaction()
        with self.errors:
            if transaction is not None and commits:
                transaction.commit()
                self._publish_version()
            elif transaction is not None:
                transaction.rollback()

    def _publish_version(self) -> None:
        """Something was committed here: let the other connections know (rule 4). A node sees to its own."""
        if self._serving is not None and (version := self.database.version) > _newest.get(self._history, (0, ""))[0]:
            if len(_newest) >= HISTORIES_KEPT:
                _newest.clear()
            _newest[self._history] = version, self.database.bookmark

    def _bookmark_of_others(self) -> str | None:
        """What another connection committed and this one has not seen."""
        version, bookmark = _newest.get(self._history, (0, None))
        return bookmark if version > self.database.version else None

    def restart(self) -> None:
        """With `autocommit` False: what begins after each end."""
        if self.autocommit == 0 and not self._is_open:
            self.tell("BEGIN")
            self._is_open = True

    def _forget_transaction(self) -> None:
        self._transaction, self._is_open, self._began_by_mark = None, False, False
        self._marks.clear()

    def _transaction_for(self, *, writes: bool) -> Transaction:
        """The transaction that is open, in the store too; one that reads becomes one that writes (rule 1)."""
        now = self._transaction
        if now is not None and (not writes or not now.read_only):
            return now
        with self.errors:
            serving = self._serving
            if not writes:
                self._transaction = (
                    serving.begin_reading(foreign_keys=None, scope=Scope.ADMIN, bookmark=self._bookmark_of_others())
                    if serving
                    else self.database.transaction(read_only=True)
                )
                return self._transaction
            if self._read_only:
                raise ReadOnly("attempt to write a readonly database: this connection only reads")
            made = serving.begin_writing(wait_s=self._wait_s) if serving else self.database.transaction(immediate=True)
            if now is not None and not now.begins_as(made):
                made.rollback()
                raise Conflict("another commit came first, and this transaction has read what it changed; run it again")
            for name in self._marks:
                made.query(f"SAVEPOINT {_quoted_name(name)}")
            self._keep_rows()
            self._transaction = made
            if now is not None:
                now.rollback()
            return made

    def control(self, word: str, sql: str) -> bool:
        """Whether the statement is one of transaction control; then it was done."""
        if word not in CONTROL:
            return False
        match control_of(sql):
            case Begin(mode):
                self.tell(sql)
                self.begin("IMMEDIATE" if mode == "write" else "")
            case Savepoint(verb, name):
                self.tell(sql)
                self._mark_savepoint(verb, _unquoted_name(name).lower())
            case Commit() | Rollback() as ending:
                commits = isinstance(ending, Commit)
                if not self.in_transaction:
                    raise OperationalError(f"cannot {'commit' if commits else 'rollback'} - no transaction is active")
                self.end(commits=commits, sql=sql)
            case _:
                raise OperationalError(f"syntax error: this {word} is not transaction control that SQLite has")
        return True

    def _mark_savepoint(self, word: str, name: str) -> None:
        if word == "SAVEPOINT":
            self._began_by_mark = self._began_by_mark or not self.in_transaction
            self._is_open = True
            self._marks.append(name)
        elif not self.in_transaction or name not in self._marks:
            raise OperationalError(f"no such savepoint: {name}")
        elif word == "RELEASE":
            del self._marks[len(self._marks) - 1 - self._marks[::-1].index(name) :]
            if not self._marks and self._began_by_mark:
                self.end(commits=True)
                return
        else:
            del self._marks[len(self._marks) - self._marks[::-1].index(name) :]
        if self._transaction is not None and not self._transaction.read_only:
            verb = "ROLLBACK TO" if word == "ROLLBACK" else word
            with self.errors:
                self._transaction.query(f"{verb} {_quoted_name(name)}")

    # Statements

    def run(self, word: str, sql: str, params: Parameters) -> Answer:
        """Run one statement that is not transaction control."""
        with self.errors:
            if self.is_asked:
                self._ask_authorizer(sql)
            if self._read_only and word in CHANGING:
                raise ReadOnly("attempt to write a readonly database: this connection only reads")
            if self.in_transaction:
                return self._run_within(word, sql, params)
            if word in READING or (word == "WITH" and not _WRITES_WITHIN.search(sql)):
                return self._read_rows(sql, params)
            if word == "CREATE" and _TEMPORARY.match(sql):
                raise NotSupportedError(
                    "a temporary table lives until its transaction ends, and none is open: BEGIN one first"
                )
            self._check_free(word, sql)
            return self._answer_of_write(word, self.database.query(sql, params))

    def _check_free(self, word: str, sql: str) -> None:
        """A write past what this thread is writing elsewhere can't wait for it, and is locked out."""
        if self._serving is not None and not (word in _ASKED and self.database.describe(sql).read_only):
            self._serving.check_free()

    def _run_within(self, word: str, sql: str, params: Parameters) -> Answer:
        reads = self._only_reads(word, sql)
        transaction = self._transaction_for(writes=not reads)
        if not reads or word == "PRAGMA" or self._serving is None:
            if word not in CHANGING:  # SQLite takes no change of the schema while rows are open
                self._keep_rows()
            return self._answer_of_write(word, transaction.query(sql, params))
        rows = transaction.query_rows(sql, params)
        kept: list[list[Row]] = []
        self._open_rows[rows] = kept
        return Answer(rows.columns, rows.decltypes, self._stream_rows(sql, rows, rows.take(2), kept))

    def _keep_rows(self) -> None:
        """Before what their statements would not outlive: read the rows that are left, as far as there is room."""
        room = self.database.known_settings.max_result_mb << 20
        for rows, kept in list(self._open_rows.items()):
            with suppress(VirkeError):  # the reader of these rows meets it
                while room > 0 and (chunk := rows.take(CHUNK_ROWS_MAX)):
                    kept.append(chunk)
                    room -= sum(map(_row_size, chunk))
            rows.cut_off()
        self._open_rows.clear()

    def _ask_authorizer(self, sql: str) -> None:
        try:
            (self._transaction or self.database).describe(sql)
        except Denied as error:
            raise with_code(DatabaseError, "access prohibited by the authorizer", "SQLITE_AUTH") from error

    def _current_runner(self) -> Transaction | Database:
        if self.in_transaction:
            return self._transaction_for(writes=True)
        self._check_free("", "")
        return self.database

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement with each row; the rows changed."""
        with self.errors:
            runner = self._current_runner()
            changed = runner.executemany(sql, rows)
        self._note_changes(changed)
        return changed

    def run_script(self, sql: str) -> None:
        """Run statements that hold no transaction control, all or none."""
        with self.errors:
            runner = self._current_runner()
            result = runner.run_script(sql)
        self._note_changes(result.rows_affected)
        self.rowid = result.last_insert_rowid or self.rowid

    def _note_changes(self, changed: int) -> None:
        self.changes += changed
        if not self._is_open:
            self._publish_version()

    def names(self, sql: str) -> tuple[str | None, ...]:
        """The names of a statement's parameters."""
        with self.errors:
            return (self._transaction or self.database).describe(sql).parameter_names

    def _only_reads(self, word: str, sql: str) -> bool:
        return word in READING or (word in _ASKED and self._transaction_for(writes=False).describe(sql).read_only)

    def _answer_of_write(self, word: str, result: QueryResult) -> Answer:
        self._note_changes(result.rows_affected)
        if word != "UPDATE" and word != "DELETE":  # which say the id of an INSERT before them, if of any
            self.rowid = result.last_insert_rowid or self.rowid
        changed = result.rows_affected if word in CHANGING else -1
        return Answer(result.columns, result.decltypes, iter(result.rows), changed)

    def _read_rows(self, sql: str, params: Parameters) -> Answer:
        """Rows in bounded memory: all at once where they were few the last time, else as they are asked for."""
        bookmark, cancel = self._bookmark_of_others(), Cancel()
        self._running = cancel
        terms: _Terms = {"consistency": self._consistency, "bookmark": bookmark, "cancel": cancel}
        if sql in self._small:
            try:
                result = self.database.query(sql, params, **terms)
                if len(result.rows) > SMALL_ROWS:
                    del self._small[sql]
                return Answer(result.columns, result.decltypes, iter(result.rows))
            except TooLarge:
                del self._small[sql]
        rows = self.database.query_rows(sql, params, **terms)
        chunk = rows.take(2)
        if len(chunk) < 2:
            self._remember_small(sql)
        return Answer(rows.columns, rows.decltypes, self._stream_rows(sql, rows, chunk, []))

    def _stream_rows(self, sql: str, rows: Rows, chunk: list[Row], kept: list[list[Row]]) -> Iterator[Row]:
        count = 0
        while chunk:
            yield from chunk
            count += len(chunk)
            limit = max(1, min(CHUNK_ROWS_MAX, CHUNK_BYTES // max(map(_row_size, chunk[-2:]))))
            with self.errors:
                chunk = kept.pop(0) if kept else rows.take(limit)
        if count <= SMALL_ROWS:
            self._remember_small(sql)

    def _remember_small(self, sql: str) -> None:
        if len(self._small) >= SMALL_KEPT:
            self._small.clear()
        self._small[sql] = None

    def interrupt(self) -> None:
        """End what runs now, from any thread."""
        if (transaction := self._transaction) is not None:
            transaction.interrupt()
        elif (running := self._running) is not None:
            running.cancel()

    def close(self, *, push: bool = True) -> None:
        """Roll back what is open, and close the database."""
        try:
            self.end(commits=False)
        finally:
            self.database.close(push=push)


def _row_size(row: tuple[Value, ...]) -> int:
    return 64 + sum(len(value) for value in row if isinstance(value, str | bytes))


def _unquoted_name(name: str) -> str:
    """A name as SQLite has it, of the one that a statement has."""
    if name[0] not in "\"'`[":
        return name
    end = "]" if name[0] == "[" else name[0]
    return name[1:-1].replace(end * 2, end)


def _quoted_name(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
