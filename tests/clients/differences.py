"""Where a node answers other than a real sqld, check by check: the row of docs/hrana.md that says so.

A difference that is not here fails the test, and so does one that is here and is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final = "the words of an error"
ROWS_BREAK: Final = "`ALTER COLUMN` that rows contradict"
READONLY: Final = "a write in a batch or transaction of mode `read`"
ATTACH: Final = "ATTACH, `load_extension()`"
WHOLE: Final = "errors of a request as a whole"
PLACES: Final = "positional arguments for named parameters"
BATON: Final = "a baton, where no transaction, stored SQL or mode would be missed"

_LIBSQL: Final = {
    "refused: too few arguments": WORDS,
    "refused: too many arguments": WORDS,
    "refused: syntax": WORDS,
    "refused: syntax further on": WORDS,
    "explain query plan": "the estimate in EXPLAIN QUERY PLAN (`notused`)",
    "refused: batch with bad syntax": "a step that can't be parsed",
    "refused: a reader's batch that writes": READONLY,
    "a reader's transaction that writes": READONLY,
    "refused: alter column to what it can't become": WORDS,
    "refused: alter column that rows contradict": ROWS_BREAK,
    "refused: alter column and rename it": WORDS,
    "refused: attach": ATTACH,
    "refused: load_extension": ATTACH,
    "vacuum": "VACUUM",
    "temporary tables in a transaction": "temporary tables",
}
DIFFERENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "libsql.mjs": _LIBSQL,
    "serverless.mjs": {"refused: syntax": WORDS},
    "libsql_program.py": {"refused: syntax": WORDS},
    "raw_program.py": {
        "version 1: error": "an SQL error in version 1",
        "a named argument that the statement does not have": "names of arguments that the statement does not have",
        "places for named parameters": PLACES,
        "rows that are not wanted": "`want_rows: false`",
        "stored SQL that is not there": "`sql_id` that is not stored, or twice",
        "cursor": BATON,
        "cursor of one": BATON,
        "cursor with an error": BATON,
        "a condition that looks ahead": WHOLE,
        "an invalid baton": WHOLE,
        "no JSON": WHOLE,
        "a request that is not known": WHOLE,
    },
}
"""Programs that are not here have no difference."""
