"""The first rows of a new database: the file that `[edge] seed` in `virke.toml` names, imported once.

Knows imports and migrations; says nothing itself, except through a `Report`.

1. A database gets its seed once. A text or a table is imported after the migrations, together with a record (`virke_seed`)
   of the same commit, so that of two that deploy at once one imports it. On a node the record is a commit of its own, after
   the rows; a process that is killed between the two leaves rows, and rule 2 holds.
2. Rows that others wrote are never touched: the seed waits for nothing and is left alone if a table has more rows than the
   migrations put there.
3. A SQLite file brings its own schema, so it is imported before the migrations, and only into a database that is still empty.
4. It is rehearsed before anything is made: on a database in memory with the same migrations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from virke.config import Config, expanded_path
from virke.engine.database import Database
from virke.errors import UsageError, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.migrations import MigrationFile, Texts, migrate
from virke.migrations.derive import SEED
from virke.opening import create
from virke.transfer import import_file
from virke.transfer.dump import quoted_name, quoted_text
from virke.transfer.elsewhere import Elsewhere
from virke.transfer.scratch import scratch
from virke.transfer.sniff import Kind, sniff_kind
from virke.transfer.source import open_source

_EXISTS: Final = f"SELECT 1 FROM sqlite_schema WHERE name = '{SEED}'"
_TABLES: Final = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'virke\\_%' ESCAPE '\\' ORDER BY name"
)
Report = Callable[[str, str], None]
"""Called with a verb and what it was done to, as it happens."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A file with first rows: `name` is how `virke.toml` calls it; `table` is for a file that is one."""

    path: Path
    name: str
    kind: Kind
    table: str | None

    @property
    def is_first(self) -> bool:
        """Whether it is imported before the migrations (rule 3)."""
        return self.kind is Kind.IMAGE


class Standing(Enum):
    """What a database has of a seed."""

    DUE = "it waits"
    DONE = "it was imported"
    TAKEN = "others wrote rows"


def seed_of(config: Config) -> Seed | None:
    """The seed that a project names.

    Raises:
        UsageError: there is no such file. Invalid: it is none that can be imported.
    """
    name = config.edge.get("seed")
    if name is None:
        return None
    path = config.folder / expanded_path(name)
    if not path.is_file():
        raise UsageError(f"{config.path}: [edge] seed names {name}, and there is no such file in {config.folder}")
    with scratch() as work, closing(open_source(path, work.folder)) as source:
        kind = sniff_kind(source.head(), name).kind
    return Seed(path, name, kind, path.name.partition(".")[0] if kind.is_table else None)


def is_among(seed: Seed | None, folder: Path, changed: Collection[Path]) -> bool:
    """Whether the seed's file is among these, which are relative to a folder."""
    return seed is not None and any((folder / path).resolve() == seed.path.resolve() for path in changed)


def standing_of(database: Database, seed: Seed, source: Path | Texts) -> Standing:
    """What a database has of the seed, beside the migrations of a folder or of these texts. Raises as `migrate`."""
    if _is_there(database, seed):
        return Standing.TAKEN if seed.is_first else Standing.DONE
    if seed.is_first:
        return Standing.DUE
    filled = [name for name in _table_names(database) if _has_rows(database, name, 0)]
    if not filled:
        return Standing.DUE
    with _in_memory() as new:
        migrate(new, source)
        known = set(_table_names(new))
        usual = {name: _count_rows(new, name) if name in known else 0 for name in filled}
    is_taken = any(_has_rows(database, name, count) for name, count in usual.items())
    return Standing.TAKEN if is_taken else Standing.DUE


def rehearse_new(seed: Seed | None, source: Path | Texts) -> list[MigrationFile]:
    """The migrations that a new database gets, run on one in memory together with the seed (rule 4).

    Raises:
        VirkeError: as `import_file` and `migrate`; names the file, and the line where there is one.
    """
    with _in_memory() as new:
        if seed is not None and seed.is_first:
            _import_seed(new, seed)
        files = migrate(new, source)
        if seed is not None and not seed.is_first:
            _import_seed(new, seed)
        return files


def rehearse_on(database: Database, seed: Seed, source: Path | Texts) -> None:
    """Import it into a database in memory that is as this one, if migrations made all of its tables. Raises as `rehearse_new`."""
    with _in_memory() as new:
        migrate(new, source)
        if set(_table_names(database)) <= set(_table_names(new)):
            _import_seed(new, seed)


def seed_if_due(database: Database, seed: Seed | None, source: Path | Texts, report: Report) -> Seed | None:
    """The seed, if it shall be imported; rows that it would meet are reported. Raises as `migrate`."""
    if seed is None:
        return None
    found = standing_of(database, seed, source)
    if found is Standing.TAKEN and not seed.is_first:
        report("left alone", f"{seed.name}: the database has rows of its own")
    return seed if found is Standing.DUE else None


def sow_seed(database: Database, seed: Seed, report: Report) -> bool:
    """Import it; whether this process did (rule 1), which is reported. Raises as `import_file`."""
    record = f"CREATE TABLE {SEED} AS SELECT {quoted_text(seed.name)} AS name, '{_digest_of(seed.path)}' AS sha256"
    is_elsewhere = isinstance(database, Elsewhere)
    try:
        _import_seed(database, seed, "" if seed.is_first or is_elsewhere else record)
    except VirkeError:
        if _is_there(database, seed):
            return False  # another deployment was first, and this one changed nothing
        raise
    if is_elsewhere and not seed.is_first:
        database.execute(record)
    report("imported", seed.name)
    return True


def bring_up_to_date(database: Database, folder: Path, seed: Seed | None, report: Report) -> None:
    """Apply the migrations that wait in a folder, which may be missing, and the seed if it is due. Raises `VirkeError`."""
    source: Path | Texts = folder if folder.is_dir() else ()
    if seed is not None and seed.is_first and seed_if_due(database, seed, source, report):
        sow_seed(database, seed, report)
    migrate(database, source, report=lambda file: report("applied", file.file_name))
    if seed is not None and not seed.is_first and seed_if_due(database, seed, source, report):
        sow_seed(database, seed, report)


def _import_seed(database: Database, seed: Seed, also: str = "") -> None:
    try:
        import_file(database, seed.path, table=seed.table, also=also)
    except VirkeError as error:
        if not error.message.startswith(seed.path.name):
            error.message = f"{seed.name}: {error.message}"
        error.args = (error.message,)
        error.context.setdefault("file", seed.name)
        raise


def _is_there(database: Database, seed: Seed) -> bool:
    """Whether its record is there; for one that comes first, whether anything is."""
    if seed.is_first:
        return database.query("PRAGMA page_count").rows != [(0,)]
    return bool(database.query(_EXISTS).rows)


@contextmanager
def _in_memory() -> Iterator[Database]:
    new = create("seed", "memory://")
    try:
        yield new
    finally:
        new.close(push=False)


def _table_names(database: Database) -> list[str]:
    return [str(name) for (name,) in database.query(_TABLES).rows]


def _count_rows(database: Database, table: str) -> int:
    [(count,)] = database.query(f"SELECT count(*) FROM {quoted_name(table)}").rows
    assert isinstance(count, int)
    return count


def _has_rows(database: Database, table: str, more_than: int) -> bool:
    return bool(database.query(f"SELECT 1 FROM {quoted_name(table)} LIMIT 1 OFFSET ?", (more_than,)).rows)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
