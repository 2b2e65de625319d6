"""Short scripts of everything that a database does to its store, to be run again with a fault at each operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from tests.promises.ledger import LARGE, SMALL, TABLE, Ledger, opened
from virke.engine.database import Database
from virke.engine.snapshot import Snapshot
from virke.migrations import migrate
from virke.stores.base import Store
from virke.transfer import import_file

SPILLING: Final = 9_000
"""Random bytes of which a handful of commits fills the inline budget of the root."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a script plays: the store that fails, the one below it that does not, and a folder on the disk."""

    store: Store
    inner: Store
    folder: Path
    ledger: Ledger


def begin(stage: Stage, sizes: list[int], **settings: str | int) -> None:
    """Without faults: make the database and one row of each size, a commit each."""
    with opened(stage.inner, stage.folder, create=True) as database:
        database.execute(TABLE)
        if settings:
            database.change_settings(settings)
        for number, size in enumerate(sizes):
            stage.ledger.insert(database, f"old-{number}", size)


def _commit(stage: Stage) -> None:
    begin(stage, [SMALL])
    database, ledger = opened(stage.store, stage.folder), stage.ledger
    ledger.insert(database, "one")
    rows = [("INSERT INTO entry VALUES (?, NULL)", (token,)) for token in ("two", "three")]
    ledger.attempt(lambda: database.batch(rows), "two", "three")
    ledger.attempt(lambda: _transaction(database, "four", "five"), "four", "five")
    ledger.insert(database, "six")


def _transaction(database: Database, *tokens: str) -> None:
    with database.transaction() as transaction:
        for token in tokens:
            transaction.execute("INSERT INTO entry VALUES (?, NULL)", (token,))


def _spill(stage: Stage) -> None:
    begin(stage, [SPILLING] * 4)
    database = opened(stage.store, stage.folder)
    for number in range(8):
        stage.ledger.insert(database, f"new-{number}", SPILLING)


def _large(stage: Stage) -> None:
    begin(stage, [SMALL, SMALL])
    database = opened(stage.store, stage.folder)
    for token, size in (("one", LARGE), ("two", SMALL), ("three", 1_200_000)):
        stage.ledger.insert(database, token, size)


def _compact(stage: Stage) -> None:
    begin(stage, [LARGE] * 3)
    database = opened(stage.store, stage.folder)
    for token, size in (("one", LARGE), ("two", SMALL)):
        stage.ledger.insert(database, token, size)


def _collect(stage: Stage) -> None:
    begin(stage, [LARGE] * 4, history_days=0)
    database = opened(stage.store, stage.folder)
    for number in range(3):
        stage.ledger.attempt(lambda: database.collect(grace_ms=0))
        stage.ledger.insert(database, f"new-{number}", SMALL)


def _import(stage: Stage) -> None:
    begin(stage, [SMALL, LARGE])
    tokens = [f"row-{number}" for number in range(40)]
    dump = "".join(f"INSERT INTO entry VALUES ('{token}', randomblob(4000));\n" for token in tokens)
    database = opened(stage.store, stage.folder)
    stage.ledger.attempt(lambda: import_file(database, BytesIO(dump.encode())), *tokens)
    stage.ledger.insert(database, "after")


def _in_room(stage: Stage) -> None:
    """A statement and a VACUUM that outgrow what their writer holds in memory."""
    begin(stage, [SMALL, LARGE])
    database, ledger = opened(stage.store, stage.folder), stage.ledger
    database._writer.connections.held_bytes_max = LARGE
    tokens = [f"row-{number}" for number in range(40)]
    rows = ", ".join(f"('{token}', randomblob(4000))" for token in tokens)
    ledger.attempt(lambda: database.execute(f"INSERT INTO entry VALUES {rows}"), *tokens)
    ledger.attempt(lambda: database.execute("VACUUM"))
    ledger.insert(database, "after")


def _migrate(stage: Stage) -> None:
    begin(stage, [SMALL])
    files = stage.folder / "migrations"
    files.mkdir(exist_ok=True)
    for number in (1, 2):
        text = "".join(f"INSERT INTO entry VALUES ('m{number}-{row}', NULL);\n" for row in range(2))
        (files / f"{number:03}_step.sql").write_text(f"CREATE TABLE made_{number} (n);\n{text}")
        stage.ledger.units.append(frozenset({f"m{number}-0", f"m{number}-1"}))
    database, last = opened(stage.store, stage.folder), ("m2-0", "m2-1")
    done = stage.ledger.attempt(lambda: migrate(database, files))
    if done:
        stage.ledger.kept.update(("m1-0", "m1-1", *last))
    stage.ledger.insert(database, "after")


def _promote(stage: Stage) -> None:
    begin(stage, [LARGE, LARGE, SMALL])
    database = opened(stage.store, stage.folder)
    stage.ledger.attempt(database.promote)
    for token, size in (("one", SMALL), ("two", LARGE)):
        stage.ledger.insert(database, token, size)


def _flush(stage: Stage) -> None:
    begin(stage, [SMALL], durability="deferred")
    database = opened(stage.store, stage.folder)
    for round_ in range(2):
        for number in range(3):
            stage.ledger.insert(database, f"{round_}-{number}", SMALL)
        stage.ledger.attempt(database.flush)
    stage.ledger.insert(database, "pending")


def _race(stage: Stage) -> None:
    """Another writer, whom no fault befalls, commits between a read and its commit."""
    begin(stage, [SMALL])
    database, other, ledger = opened(stage.store, stage.folder), opened(stage.inner, stage.folder), stage.ledger
    ledger.insert(other, "first")
    ledger.insert(database, "retried")

    def overtaken() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO entry VALUES ('overtaken', randomblob(?))", (LARGE,))
            ledger.insert(other, "second")

    ledger.attempt(overtaken, "overtaken")
    snapshot = database.snapshot()
    ledger.insert(other, "third")
    ledger.attempt(lambda: _commit_again(database, snapshot, lambda: None), "by-old-pages")
    ledger.insert(database, "last")


def _commit_again(database: Database, snapshot: Snapshot, midway: Callable[[], None]) -> None:
    """Commit the pages of a snapshot as they are, and let something happen after the first."""

    def pages() -> Iterator[tuple[int, bytes]]:
        for number, data in snapshot.pages():
            yield number, data
            if number == 1:
                midway()

    size, count = snapshot.page_size, snapshot.page_count
    database.long_write().commit_pages(snapshot, page_size=size, page_count=count, pages=pages())


def _stall(stage: Stage) -> None:
    """While an upload and a transaction are on their way, another node merges and collects without grace."""
    begin(stage, [LARGE] * 3, history_days=0)
    database, other, ledger = opened(stage.store, stage.folder), opened(stage.inner, stage.folder), stage.ledger

    def overtake(name: str) -> None:
        for number in range(4):
            ledger.insert(other, f"{name}-{number}", LARGE)
        for _ in range(3):
            other.collect(grace_ms=0)

    def stalled() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO entry VALUES ('stalled', randomblob(?))", (LARGE,))
            overtake("first")

    ledger.attempt(stalled, "stalled")
    ledger.attempt(lambda: _commit_again(database, database.snapshot(), lambda: overtake("second")), "old-pages")
    ledger.insert(database, "last", LARGE)


def _restore(stage: Stage) -> None:
    """A deletion without WHERE is taken back; a keyed write of after the version that is restored stays answered."""
    begin(stage, [LARGE] * 3)
    with opened(stage.inner, stage.folder) as before:
        version = before.version
        before.execute("CREATE TABLE later (x)")
        before.execute("INSERT INTO later VALUES (1)", idempotency_key="once")
        before.execute("UPDATE entry SET filler = NULL")
    database = opened(stage.store, stage.folder)
    done = stage.ledger.attempt(lambda: database.restore(version))
    stage.ledger.insert(database, "after")
    with opened(stage.inner, stage.folder) as after:
        tables = {name for (name,) in after.query("SELECT name FROM sqlite_schema WHERE type = 'table'").rows}
        assert "later" not in tables or not done
        [(filled,)] = after.query("SELECT count(filler) FROM entry WHERE token LIKE 'old-%'").rows
        assert filled == (0 if "later" in tables else 3), "all or nothing"
        after.run(
            "INSERT INTO later VALUES (1)", idempotency_key="once"
        )  # P2: answered, where the table is not even there


def _settings(stage: Stage) -> None:
    begin(stage, [SMALL])
    database = opened(stage.store, stage.folder)
    changed = stage.ledger.attempt(lambda: database.change_settings({"max_attempts": 5}))
    stage.ledger.insert(database, "after")
    if changed:
        assert opened(stage.inner, stage.folder).settings().max_attempts == 5


SCENARIOS: Final[dict[str, Callable[[Stage], None]]] = {
    "commit": _commit,
    "spill": _spill,
    "large": _large,
    "compact": _compact,
    "collect": _collect,
    "import": _import,
    "in-room": _in_room,
    "migrate": _migrate,
    "promote": _promote,
    "flush": _flush,
    "race": _race,
    "stall": _stall,
    "restore": _restore,
    "settings": _settings,
}
