"""The undo of a migration, found from the difference that it made to the schema, when that is exact.

Knows the schema before and after and what each statement did. Rehearses on an empty database in memory;
never touches the database that is migrated.

1. An undo is returned only if the migration dropped nothing that existed and changed no row that existed.
2. An undo is returned only if, run on the schema after, it gives the schema before, letter for letter.
3. Otherwise the answer is None: no undo is better than one that loses something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from virke.engine.sqlite import Connection, Error, Guard, lend_all, open_connection
from virke.lazy_dataclasses import dataclass
from virke.migrations.tokens import TokenizedStatement

if TYPE_CHECKING:
    from virke.migrations.target import Step

RECORDS: Final = "virke_migrations"
SEED: Final = "virke_seed"
"""The record of the seed that a new database got (`virke.project.seed`)."""

_OBJECTS: Final = (
    "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_' "
    f"AND name <> '{RECORDS}' ORDER BY rowid"
)
_COLUMNS: Final = (
    "SELECT s.name, c.name FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c "
    f"WHERE s.type = 'table' AND s.name <> '{RECORDS}' ORDER BY s.rowid, c.cid"
)
_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
_PARENTS: Final = (
    "SELECT f.\"table\" FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f WHERE s.type = 'table'"
)
"""Where foreign keys are on, to drop one of these deletes the rows that refer to it."""

_READING: Final = frozenset("SELECT VALUES EXPLAIN ANALYZE REINDEX CREATE".split())
_QUIET_PRAGMAS: Final = frozenset(
    "foreign_keys defer_foreign_keys legacy_alter_table recursive_triggers foreign_key_check integrity_check "
    "quick_check journal_mode synchronous optimize case_sensitive_like".split()
)
_INSERT_WORDS: Final = frozenset("INSERT OR ABORT FAIL IGNORE ROLLBACK INTO".split())


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database contains, shadow tables and our own records left out; names in lower case are the keys."""

    objects: Mapping[tuple[str, str], tuple[str, str]]
    """(type, key) → (name, SQL), in order of creation."""
    columns: Mapping[str, tuple[str, ...]]

    def has(self, name: str) -> bool:
        """Whether anything is called `name` (lower case)."""
        return any(key == name for _, key in self.objects)

    def has_type(self, kind: str) -> bool:
        """Whether there is any object of this type."""
        return any(found == kind for found, _ in self.objects)


@dataclass(frozen=True, slots=True)
class Ran:
    """A statement of the migration and the rows that it changed."""

    statement: TokenizedStatement
    rows_affected: int


def read_schema(step: Step) -> Schema:
    """The schema that the open transaction `step` sees."""
    shadows = {str(name) for (name,) in step.query(_SHADOWS).rows}
    return _schema_from_rows(step.query(_OBJECTS).rows, step.query(_COLUMNS).rows, shadows)


def _schema_from_rows(
    objects: Sequence[Sequence[object]], columns: Sequence[Sequence[object]], shadows: set[str]
) -> Schema:
    by_table: dict[str, list[str]] = {}
    for table, column in columns:
        by_table.setdefault(str(table).lower(), []).append(str(column))
    return Schema(
        objects={(str(t), str(n).lower()): (str(n), str(sql)) for t, n, sql in objects if n not in shadows},
        columns={table: tuple(names) for table, names in by_table.items() if table not in {s.lower() for s in shadows}},
    )


def derive_undo(before: Schema, after: Schema, ran: Sequence[Ran]) -> str | None:
    """SQL that takes `after` back to `before`, "" if there is nothing to take back, None if no exact one is known."""
    has_triggers = after.has_type("trigger") or any(_makes_trigger(step.statement) for step in ran)
    if not all(_is_safe(step, before, has_triggers) for step in ran):
        return None
    undo = "".join(f"{line};\n" for line in _undo_steps(before, after))
    return undo if _is_undone_by(before, after, undo) else None


def _undo_steps(before: Schema, after: Schema) -> list[str]:
    """DROPs of what is new, newest first: indexes, views and triggers, then columns, then tables."""
    new = [(kind, name) for (kind, key), (name, _) in after.objects.items() if (kind, key) not in before.objects]
    drops = [f"DROP {kind.upper()} {_quoted_name(name)}" for kind, name in reversed(new) if kind != "table"]
    for table, columns in after.columns.items():
        old = before.columns.get(table)
        if old is not None and columns[: len(old)] == old:
            name = after.objects["table", table][0] if ("table", table) in after.objects else table
            added = reversed(columns[len(old) :])
            drops += [f"ALTER TABLE {_quoted_name(name)} DROP COLUMN {_quoted_name(column)}" for column in added]
    # Last, when no column of ours refers to them: where foreign keys are on, DROP TABLE deletes what refers to its rows.
    return drops + [f"DROP TABLE {_quoted_name(name)}" for kind, name in reversed(new) if kind == "table"]


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _makes_trigger(statement: TokenizedStatement) -> bool:
    return statement.keyword == "CREATE" and "TRIGGER" in [word.upper for word in statement.tokens[1:3]]


def _is_safe(step: Ran, before: Schema, has_triggers: bool) -> bool:
    """Whether a statement took nothing away that existed before (invariant 1)."""
    words = step.statement.tokens
    match step.statement.keyword:
        case keyword if keyword in _READING:
            return True
        case "PRAGMA":
            return _last_name(step.statement, 1)[0] in _QUIET_PRAGMAS
        case "ALTER":  # ALTER TABLE name ADD …
            name, at = _last_name(step.statement, 2)
            return not before.has(name) or (at < len(words) and words[at].upper == "ADD")
        case "DROP":  # DROP kind [IF EXISTS] name
            skip = 4 if len(words) > 3 and words[2].upper == "IF" else 2
            return not before.has(_last_name(step.statement, skip)[0])
        case "INSERT" if not has_triggers:
            at = next((i for i, word in enumerate(words) if word.upper not in _INSERT_WORDS), 0)
            if words[at].upper != "REPLACE" and not before.has(_last_name(step.statement, at)[0]):
                return True
    # Views may have INSTEAD OF triggers, which change rows that are not counted.
    return step.rows_affected == 0 and not (has_triggers or before.has_type("trigger"))


def _last_name(statement: TokenizedStatement, at: int) -> tuple[str, int]:
    """The name at token `at`, past a `schema.` before it, and the index of the token after it."""
    words = statement.tokens
    if at + 2 < len(words) and words[at + 1].text == ".":
        at += 2
    return (words[at].name if at < len(words) else "", at + 1)


def _is_undone_by(before: Schema, after: Schema, undo: str) -> bool:
    """Whether `undo` makes `before` out of `after`, tried on an empty database in memory (invariant 2)."""
    guard = Guard()
    connection = open_connection(":memory:", vfs=None, guard=guard, cache_kib=256, value_bytes_max=1 << 30)
    lend_all(connection, guard)
    try:
        for _, sql in after.objects.values():
            connection.execute(sql).fetchall()
        connection.execute(undo).fetchall()
        dropped = {name for kind, name in after.objects if kind == "table"} - {name for _, name in before.objects}
        parents = {str(parent).lower() for (parent,) in connection.execute(_PARENTS)}
        return _read_back(connection).objects == before.objects and not parents & dropped
    except Error:
        return False  # what can't be rehearsed is not known to be exact
    finally:
        connection.close()


def _read_back(connection: Connection) -> Schema:
    shadows = {str(name) for (name,) in connection.execute(_SHADOWS)}
    return _schema_from_rows(list(connection.execute(_OBJECTS)), list(connection.execute(_COLUMNS)), shadows)
