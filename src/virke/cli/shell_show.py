"""How the shell shows what a statement answered.

Rows go to stdout, in the mode that is set; what a statement did, and its receipt, are notes for people, on stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from virke.cli import receipts
from virke.cli.db_sql import show_rows
from virke.cli.render import lines_of

if TYPE_CHECKING:
    from virke.cli.shell_session import ShellSession
    from virke.engine.results import QueryResult


def show_result(session: ShellSession, result: QueryResult | None, elapsed_ms: float) -> None:
    """Show the rows, at a terminal what else there is to say, and the receipt if it is wanted."""
    if result is not None and (result.columns or session.mode == "json"):
        if session.mode == "line":
            for line in lines_of(result.columns, result.rows):
                sys.stdout.write(line + "\n")
        else:
            show_rows(result, session.mode)
    elif result is not None and sys.stdin.isatty():
        session.state.note(session.summary(result, elapsed_ms))
    sys.stdout.flush()  # notes of the next statement come after these rows
    if session.shows_meta:
        session.state.note(receipt_of(session))


def receipt_of(session: ShellSession) -> str:
    """The receipt of the last statement, on one line."""
    return (
        receipts.receipt_line(session.meta)
        if session.meta
        else "no receipt: none was asked for yet, or it is counted by COMMIT"
    )
