"""What a shell does with statements: runs them in one thread, in the transaction that is open if one is, and shows what they answered.

1. Statements run in a thread of their own, so that Ctrl-C is heard while SQLite computes or a store is asked.
2. Outside of a transaction each statement is one, as for `virke db query`; BEGIN opens an interactive one.
3. What a cancelled statement changed is not in history, or the error says that this is not known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from virke.cli.caret import attaching_source
from virke.cli.shell_show import show_result
from virke.cli.state import State, counted_noun
from virke.engine.results import QueryResult, receipted_result
from virke.engine.terms import Cancel
from virke.errors import Invalid, SqlError, TimedOut
from virke.interrupts import Ended, mark_signals_met
from virke.migrations.tokens import split_statements

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.engine.results import Meta
    from virke.engine.sqlite import Parameters, Row
    from virke.engine.transaction import Transaction
    from virke.migrations.tokens import TokenizedStatement

T = TypeVar("T")
_NAMES = "SELECT m.name, c.name FROM main.sqlite_schema AS m LEFT JOIN pragma_table_xinfo(m.name) AS c WHERE m.type IN ('table', 'view')"


class ShellSession:
    """One database, and what the shell has set: the mode of its output, whether it shows receipts, an open transaction."""

    def __init__(self, database: Database, state: State) -> None:
        self.database, self.state = database, state
        self.mode = "json" if state.json else "table"
        self.shows_meta = False
        self.bails = True
        self.meta: Meta | None = None
        self._transaction: Transaction | None = None
        self._worker = ThreadPoolExecutor(1, "virke-shell")
        self._names: list[str] | None = None

    def prompt(self, *, is_begun: bool) -> str:
        """What stands before the next line: the database, `*` in a transaction, dots within a statement."""
        name = self.database.name
        if is_begun:
            return f"{'...':>{len(name)}}> "
        return f"{name}{'*' if self.in_transaction else ''}> "

    @property
    def in_transaction(self) -> bool:
        """Whether one is open; SQLite or a node may have ended it."""
        if self._transaction is not None and self._transaction.is_over:
            self._transaction = None
        return self._transaction is not None

    def run(self, text: str) -> None:
        """Run the statements of a text one after the other, and show what each answers. Raises the first error."""
        for statement in split_statements(text):
            began = time.perf_counter()
            result = self._run_statement(statement)
            elapsed_ms = (time.perf_counter() - began) * 1000
            self.meta = result.meta if result else None
            if statement.keyword not in ("SELECT", "VALUES", "EXPLAIN"):
                self._names = None
            show_result(self, result, elapsed_ms)

    def _run_statement(self, statement: TokenizedStatement) -> QueryResult | None:
        """The result of one statement; None of one that begins or ends a transaction."""
        match statement.keyword:
            case "BEGIN":
                self._begin_transaction(statement)
            case "COMMIT" | "END":
                self._end_transaction(commits=True)
            case "ROLLBACK" if "TO" not in [token.upper for token in statement.tokens]:
                self._end_transaction(commits=False)
            case "SAVEPOINT" | "RELEASE" | "ROLLBACK" if not self.in_transaction:
                raise SqlError("no transaction is open", hint="BEGIN one first: a savepoint is a part of it")
            case _:
                with attaching_source(statement.sql):
                    return self._run_query(statement.sql)
        return None

    def _begin_transaction(self, statement: TokenizedStatement) -> None:
        if self.in_transaction:
            raise SqlError("cannot start a transaction within a transaction")
        words = {token.upper for token in statement.tokens}
        immediate = bool(words & {"IMMEDIATE", "EXCLUSIVE"})
        self._transaction = self.call(lambda: self.database.transaction(immediate=immediate))

    def _end_transaction(self, *, commits: bool) -> None:
        if not self.in_transaction:
            raise SqlError(f"cannot {'commit' if commits else 'rollback'} - no transaction is active")
        transaction, self._transaction = self._transaction, None
        assert transaction is not None, "it is open"
        if not commits:
            self.call(transaction.rollback)
            return
        version = self.call(transaction.commit)
        if sys.stdin.isatty():
            self.state.note(f"committed, version {version}")

    def _run_query(self, sql: str) -> QueryResult:
        if not self.in_transaction:
            cancel = Cancel()
            return self.call(partial(self.database.query, sql, meta=True, cancel=cancel), cancel.cancel)
        transaction = self._transaction
        assert transaction is not None, "it is open"
        call = partial(transaction.query, sql)
        if hasattr(self.database, "session"):  # a node's: what a statement of a transaction costs is not known
            return self.call(call, transaction.interrupt)
        return self.call(partial(receipted_result, call, time.monotonic), transaction.interrupt)

    def call(self, work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
        """Do something in the shell's own thread; Ctrl-C cancels it, if it can be (rule 1). Raises what it raises."""
        running = self._worker.submit(work)
        interrupt: KeyboardInterrupt | None = None
        while not running.done():
            try:
                wait([running])
            except KeyboardInterrupt as error:
                interrupt = error
                mark_signals_met()
                if cancel is not None:
                    cancel()
                else:
                    self.state.note("this can't be cancelled: waiting for its end")
        if interrupt is not None and (isinstance(interrupt, Ended) or not sys.stdin.isatty()):
            raise interrupt  # it ends the shell, now that nothing runs any more
        try:
            return running.result()
        except TimedOut as error:
            if interrupt is None:
                raise
            raise TimedOut("the statement was cancelled; nothing of it is in history") from error

    def ask(self, sql: str, params: Parameters = ()) -> list[Row]:
        """The rows of a query of the shell's own, in the transaction that is open if one is."""
        cancel = Cancel()
        if self.in_transaction and self._transaction is not None:
            return self.call(partial(self._transaction.query, sql, params), self._transaction.interrupt).rows
        return self.call(partial(self.database.query, sql, params, cancel=cancel), cancel.cancel).rows

    def names(self) -> list[str]:
        """The names of tables, views and their columns, for completion; asked for again after a statement that may change them."""
        if self._names is None:
            self._names = sorted({str(name) for row in self.ask(_NAMES) for name in row if name is not None})
        return self._names

    def check_no_transaction(self, what: str) -> None:
        """Raise `Invalid` where a transaction is open, which `what` would break."""
        if self.in_transaction:
            raise Invalid(f"a transaction is open, and {what} is one of its own", hint="COMMIT or ROLLBACK first")

    def close(self) -> None:
        """Roll back what is open (rule 4 of the shell)."""
        if self.in_transaction and self._transaction is not None:
            self._worker.submit(self._transaction.rollback).result()
            self.state.note("the open transaction was rolled back")
        self._worker.shutdown()

    def summary(self, result: QueryResult, elapsed_ms: float) -> str:
        """What a statement without rows did, on one line."""
        where = "not committed yet" if self.in_transaction else f"version {result.version}"
        return f"{counted_noun(result.rows_affected, 'row')} affected, {where}, {elapsed_ms:.1f} ms"
