"""One migration file, run in one transaction.

Knows a file's text, what it asks of foreign keys, and an open transaction; knows no folder and no records.

1. `PRAGMA foreign_keys` does nothing inside a transaction, so what the file asks for is set before it begins; the
   caller's own value is left alone.
2. Violations that a file with keys off, or with their checks put off, adds are refused before the commit.
3. An error names the file, and the line if there is one, in its message and in `context` (`file`, `line`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from virke.errors import Conflict, Invalid, VirkeError
from virke.migrations.derive import Ran
from virke.migrations.keys import key_violations, must_check, refuse_new, wish_of
from virke.migrations.target import Step, Target
from virke.migrations.tokens import TokenizedStatement, split_statements

T = TypeVar("T")
HINT: Final = "nothing of this file was kept: correct it and run it again"
_LINE: Final = re.compile(r" \(line (\d+)\)$")


def retry_lost_races(attempts: int, label: str, action: Callable[[], T]) -> T:
    """Do `action`, again after each lost race.

    Raises:
        Conflict: `attempts` races were lost; nothing of the last attempt was kept.
    """
    for attempt in range(attempts):
        try:
            return action()
        except Conflict as error:
            if attempt == attempts - 1:
                raise Conflict(
                    f"{label} was not applied: other writers committed first {attempts} times; run it again", file=label
                ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


@contextmanager
def running_file(target: Target, sql: str, label: str) -> Iterator[Step]:
    """A transaction for the file `sql`, with foreign keys as it asks for; an error of the commit names the file.

    It is an immediate one: after a lost race it takes a turn, so a long file gets through among busy writers (P15).
    """
    is_run = False
    try:
        with target.transaction(immediate=True, foreign_keys=wish_of(sql).foreign_keys) as step:
            yield step
            is_run = True
    except Conflict:
        raise
    except VirkeError as error:
        if is_run:
            _name_place(error, label, None)
        raise


def run_file(step: Step, sql: str, label: str) -> list[Ran]:
    """Run the statements of a file in `step`; what each of them did.

    Raises:
        SqlError: a statement failed, or foreign keys that held before would be broken (invariant 2).
        Invalid: the file says ROLLBACK.
    """
    checks = must_check(step, wish_of(sql))
    before = key_violations(step) if checks else None
    ran = _run_statements(step, sql, label)
    if before is not None:
        try:
            refuse_new(before, key_violations(step))
        except Conflict:
            raise
        except VirkeError as error:
            _name_place(error, label, None)
            raise
    return ran


def _run_statements(step: Step, sql: str, label: str) -> list[Ran]:
    ran = []
    for statement in split_statements(sql):
        if _is_transaction_mark(statement, label):
            continue
        first, last = statement.tokens[0], statement.tokens[-1]
        text = sql[first.offset : last.offset + len(last.text)]
        try:
            ran.append(Ran(statement, step.run_script(text).rows_affected))
        except Conflict:
            raise
        except VirkeError as error:
            _name_place(error, label, statement.line)
            raise
    return ran


def _is_transaction_mark(statement: TokenizedStatement, label: str) -> bool:
    """Whether this is a file's own BEGIN or COMMIT, which mean nothing: the file is one transaction anyway."""
    if statement.keyword == "ROLLBACK":
        raise Invalid(
            f"{label}: ROLLBACK has no place in a migration (line {statement.line})",
            file=label,
            line=statement.line,
            hint=HINT,
        )
    return statement.keyword in {"BEGIN", "COMMIT", "END"}


def _name_place(error: VirkeError, label: str, line: int | None) -> None:
    """Put the file into an error, and the line: `line` is where the statement begins, SQLite counts from there."""
    found = _LINE.search(error.message)
    if line and found:
        line += int(found[1]) - 1
    error.message = f"{label}: {_LINE.sub('', error.message)}" + (f" (line {line})" if line else "")
    error.args = (error.message,)
    error.context.pop("statement", None)  # the line says more
    error.context |= {"file": label, "line": line}
    if isinstance(error, Invalid):
        error.context.setdefault("hint", HINT)
