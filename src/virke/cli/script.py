"""The SQL of `virke db execute`: one statement or several, run as one transaction, with the result of each.

1. Several statements are a batch, so that each has a result. Where one of them can't stand in a transaction (VACUUM, PRAGMA) they are a
   script, of which the last result is known.
2. BEGIN and COMMIT around them are passed over; parameters are for the first statement that takes any.
3. An error of one of several statements, or of a file's, names the line and the statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from virke.cli.caret import SOURCE
from virke.engine.sqlite import ALONE
from virke.errors import Denied, Invalid, SqlError, TimedOut, TooLarge
from virke.lazy_dataclasses import dataclass
from virke.migrations.tokens import TokenizedStatement, split_statements

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.engine.results import QueryResult
    from virke.engine.sqlite import Parameters

_AROUND: Final = ("BEGIN", "COMMIT", "END")


@dataclass(frozen=True, slots=True)
class Script:
    """Statements, and the file that they are of, if any."""

    text: str
    statements: tuple[TokenizedStatement, ...]
    file: str | None = None

    def run(self, database: Database, params: Parameters, *, meta: bool = False) -> list[QueryResult]:
        """The result of each statement that has one, in order; at least one. Raises as `Database.run_script`."""
        within = [one for one in self.statements if one.keyword not in _AROUND]
        is_batch = len(within) > 1 and not any(one.keyword in ALONE for one in within)
        with self._naming_place(within if is_batch else list(self.statements)):
            if is_batch:
                return database.batch(list(_with_parameters(within, params)), meta=meta)
            return [database.run_script(self.text, params, meta=meta)]

    @contextmanager
    def _naming_place(self, statements: Sequence[TokenizedStatement]) -> Iterator[None]:
        """Let an error say where it is (rule 3)."""
        try:
            yield
        except (SqlError, Invalid, Denied, TooLarge, TimedOut) as error:  # what a statement can be at fault for
            number = error.context.pop("statement", 1 if len(statements) == 1 else 0)
            is_alone = len(statements) == 1 and not self.file
            if isinstance(number, int) and 0 < number <= len(statements):
                error.context[SOURCE] = statements[number - 1].sql
            if is_alone or not isinstance(number, int) or not 0 < number <= len(statements):
                raise
            from virke.transfer.sql_dump import shortened_sql  # only for an error: it takes a while to load

            at = statements[number - 1]
            place = f"{self.file}, line {at.line}" if self.file else f"line {at.line}"
            message = f"{place}: {error.message}, in: {shortened_sql(at.sql)}; nothing was changed"
            context = {**error.context, "line": at.line, "statement": number}
            if isinstance(error, SqlError):
                raise SqlError(message, sqlite_code=error.sqlite_code, offset=error.offset, **context) from error
            raise type(error)(message, **context) from error


def script_of(text: str, file: str | None = None) -> Script:
    """The statements of a text."""
    return Script(text, tuple(split_statements(text)), file)


def _with_parameters(
    statements: Sequence[TokenizedStatement], params: Parameters
) -> Iterator[str | tuple[str, Parameters]]:
    left: Parameters | None = params or None
    for one in statements:
        if left is not None and any(token.kind == "parameter" for token in one.tokens):
            yield one.sql, left
            left = None
        else:
            yield one.sql
    if left:
        raise Invalid(f"{len(left)} parameters given, but no statement takes any")
