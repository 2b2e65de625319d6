"""Foreign keys in a migration file: what the file asks for, and which rows break a key.

Rebuilding a table (create the new one, copy, drop the old one, rename) needs keys off, or DROP TABLE deletes the
children by cascade; and `PRAGMA foreign_keys` does nothing inside a transaction, which a file is. So the file is asked
first.

1. Only SQLite decides what a PRAGMA means: each one is run on an empty database in memory, and its effect read back.
2. `OFF` anywhere in a file wins over any `ON` in it.
3. Violations are compared as multisets, so that those which were there before are not blamed on the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from virke.engine.sqlite import Error, Guard, Value, open_connection
from virke.errors import SqlError
from virke.lazy_dataclasses import dataclass
from virke.migrations.tokens import TokenizedStatement, split_statements

if TYPE_CHECKING:
    from virke.engine.sqlite import Connection
    from virke.migrations.target import Step

CONSTRAINT_FOREIGN_KEY: Final = "SQLITE_CONSTRAINT_FOREIGNKEY"
"""SQLite's extended result code SQLITE_CONSTRAINT_FOREIGNKEY."""
SHOWN_MAX: Final = 3

_SWITCH: Final = "foreign_keys"
_DEFER: Final = "defer_foreign_keys"
_CHILDREN: Final = (
    "SELECT DISTINCT s.name FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) WHERE s.type = 'table'"
)

Violation = tuple[Value, ...]
"""Table, rowid (None: it has none), parent, number of the key; or table and message of a key that can't be checked."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a file asks for: keys on, off, or (None) as they are; and whether it puts their checks off to its end."""

    foreign_keys: bool | None
    defers: bool


def wish_of(sql: str) -> Wish:
    """What the PRAGMAs of a file ask for; one that SQLite refuses asks for nothing."""
    if _SWITCH not in sql.lower():  # no name can be written without its letters, and most files are data
        return Wish(foreign_keys=None, defers=False)
    pragmas = [statement for statement in split_statements(sql) if statement.keyword == "PRAGMA"]
    switches = [statement for statement in pragmas if _mentions_name(statement, _SWITCH)]
    values = set(_effects_of(switches)) if switches else set()
    return Wish(
        foreign_keys=False if False in values else True if True in values else None,
        # `defer_foreign_keys = OFF` makes SQLite forget what was put off, so that COMMIT checks nothing.
        defers=any(_mentions_name(statement, _DEFER) for statement in pragmas),
    )


def _mentions_name(statement: TokenizedStatement, name: str) -> bool:
    return any(token.name == name for token in statement.tokens[1:])


def _effects_of(switches: Iterable[TokenizedStatement]) -> Iterable[bool | None]:
    connection = open_connection(":memory:", vfs=None, guard=Guard(), cache_kib=256, value_bytes_max=1 << 30)
    try:
        return [_effect_of(connection, statement.sql) for statement in switches]
    finally:
        connection.close()


def _effect_of(connection: Connection, sql: str) -> bool | None:
    """The value that `sql` sets, None if it leaves it as it was."""
    values = set()
    for value in (True, False):
        connection.pragma(_SWITCH, value)
        try:
            connection.execute(sql).fetchall()
        except Error:
            return None  # running the file says what is wrong with it
        values.add(bool(connection.pragma(_SWITCH)))
    return values.pop() if len(values) == 1 else None


def must_check(step: Step, wish: Wish) -> bool:
    """Whether a file that runs in `step` may leave violations that SQLite does not see."""
    return wish.foreign_keys is False or (wish.defers and bool(step.query(f"PRAGMA {_SWITCH}").rows[0][0]))


def key_violations(step: Step) -> Counter[Violation]:
    """All rows that break a foreign key, and all keys that can't be checked because the schema is wrong."""
    found = Counter[Violation]()
    for (table,) in step.query(_CHILDREN).rows:
        quoted = str(table).replace('"', '""')
        try:
            found.update(step.query(f'PRAGMA foreign_key_check("{quoted}")').rows)
        except SqlError as error:  # a mismatch: the parent has no unique index for the key
            found[table, error.message] += 1
    return found


def refuse_new(before: Counter[Violation], after: Counter[Violation]) -> None:
    """Raise `SqlError` if `after` has violations that `before` does not have."""
    new = sorted((after - before).elements(), key=repr)
    if new:
        shown = ", ".join(_described_violation(violation) for violation in new[:SHOWN_MAX])
        more = f" and {len(new) - SHOWN_MAX:,} more" if len(new) > SHOWN_MAX else ""
        raise SqlError(
            f"foreign keys that hold now would be broken: {shown}{more}",
            sqlite_code=CONSTRAINT_FOREIGN_KEY,
            hint="keep the rows that are referred to, or delete or change those that refer to them, in the same file",
        )


def _described_violation(violation: Violation) -> str:
    if len(violation) == 2:
        return str(violation[1])
    table, rowid, parent, _ = violation
    where = "" if rowid is None else f"row {rowid!r} "
    return f"{table!s} {where}→ {parent!s}"
