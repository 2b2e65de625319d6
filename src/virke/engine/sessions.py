"""A program whose steps begin and end transactions: answered as a connection would have answered it, step by step.

Knows one connection that is inside the program's own transaction; knows no queue and no commit. A libSQL client's batch
(`BEGIN; …; COMMIT; ROLLBACK unless it was committed`) is such a program: it rides in group commits and is run again
after a lost race, which a transaction of its own could not.

1. What the steps left open at the end, or SQLite took back whole, can't be distinguished from the program's own
   transaction: then it is `NotOneProgram`, nothing of it is in history, and the caller runs the steps one by one.
2. COMMIT says what it says on a connection: a foreign key that is broken at that moment keeps the transaction open.
3. A step outside of a transaction is a transaction by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from virke.core.root import Root
from virke.engine import sqlite
from virke.engine.programs import Answer, Program, Skipped, Step, check_deferred_keys, condition_holds, run_apart
from virke.engine.results import QueryResult
from virke.engine.units import Unit
from virke.errors import NotHere, SqlError, TimedOut, TooLarge, VirkeError

if TYPE_CHECKING:
    from virke.engine.budget import ResultBudget
    from virke.engine.connection import Connection

_SESSION: Final = Unit("session")
_MARKS: Final = ("SAVEPOINT", "RELEASE", "ROLLBACK")


class NotOneProgram(NotHere):
    """These steps can't be run as one unit; nothing was changed, and they can be run one by one."""


class _Session:
    """The transaction that the steps have open, if any, inside that of their program."""

    def __init__(self, connection: Connection, root: Root, budget: ResultBudget) -> None:
        self._connection = connection
        self._root = root
        self._budget = budget
        self._is_clean = not sqlite.has_broken_keys(
            connection.raw
        )  # else by another program, which will be tried alone
        self.is_open = False

    def run(self, step: Step) -> Answer:
        """One step. Raises what ends the whole program."""
        word = sqlite.keyword(step.sql)
        try:
            match word:
                case "BEGIN":
                    return self._begin_transaction()
                case "COMMIT" | "END":
                    return self._commit()
                case "ROLLBACK" if not _names_savepoint(step.sql):
                    return self._roll_back()
                case _ if word in _MARKS:
                    return self._run_savepoint(step)
                case _:
                    is_transaction = self._is_clean and not self.is_open
                    return run_apart(self._connection, step, self._root, self._budget, is_transaction=is_transaction)
        except VirkeError as error:
            if error.is_stores or isinstance(error, TimedOut | TooLarge | NotHere):
                raise
            if not self._connection.raw.in_transaction:
                raise NotOneProgram("SQLite took back the transaction") from error
            return error

    def _begin_transaction(self) -> QueryResult:
        if self.is_open:
            raise SqlError("cannot start a transaction within a transaction")
        _SESSION.begin(self._connection)
        self.is_open = True
        return self._empty_result()

    def _commit(self) -> QueryResult:
        if not self.is_open:
            raise SqlError("cannot commit - no transaction is active")
        if self._is_clean:
            check_deferred_keys(self._connection)
        _SESSION.keep(self._connection)
        self._end_transaction()
        return self._empty_result()

    def _roll_back(self) -> QueryResult:
        if not self.is_open:
            raise SqlError("cannot rollback - no transaction is active")
        _SESSION.undo(self._connection)
        self._end_transaction()
        return self._empty_result()

    def _end_transaction(self) -> None:
        self._connection.raw.pragma("defer_foreign_keys", False)  # as the end of every transaction does
        self.is_open = False

    def _run_savepoint(self, step: Step) -> QueryResult:
        """A savepoint of the steps' own, which outlives its step."""
        if not self.is_open:  # it would be a transaction
            raise NotOneProgram("a savepoint outside of a transaction")
        self._connection.change(step.sql, step.params, self._budget)
        return self._empty_result()

    def _empty_result(self) -> QueryResult:
        return QueryResult([], [], self._root)


def run_session(connection: Connection, program: Program, root: Root, budget: ResultBudget) -> list[Answer]:
    """Run the steps of such a program on a connection that is inside a transaction.

    Raises:
        NotOneProgram: see the module's rules.
        VirkeError: what ends the whole program: the store, or a limit.
    """
    session = _Session(connection, root, budget)
    answers: list[Answer] = []
    for step in program.steps:
        if step.condition is not None and not condition_holds(
            step.condition, answers, is_autocommit=not session.is_open
        ):
            answers.append(Skipped())
        else:
            answers.append(session.run(step))
    if session.is_open:
        raise NotOneProgram("the steps leave a transaction open")
    return answers


def _names_savepoint(sql: str) -> bool:
    return "TO" in sql.upper().split()
