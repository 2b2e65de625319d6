"""A database does what plain SQLite does, whatever is written, undone, merged, collected or opened anew in between."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Final

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engine.world import Clock, dump_image, dump_of, make, reopen
from virke.core.collect import DAY_MS
from virke.core.merge import Run
from virke.core.page import PAGE_SIZES
from virke.engine.snapshot import Snapshot
from virke.errors import Invalid, NotFound, SqlError
from virke.stores.base import Store
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

HAS_FILES: Final = sys.platform != "wasi"
TABLES: Final = ("a", "b", "c")
tables = st.sampled_from(TABLES)
numbers = st.integers(-3, 12)
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("ab'\"\n é☃", max_size=40),
    st.binary(max_size=40),
    st.integers(1, 4000).map(lambda n: "long" * n),
)
Statement = tuple[str, tuple[object, ...]]


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """One statement that writes; many of them fail on one schema or another."""
    table, key, value = draw(tables), draw(numbers), draw(values)
    kind = draw(st.integers(0, 9))
    if kind <= 3:
        word = draw(st.sampled_from(["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "REPLACE", "INSERT OR FAIL"]))
        return f"{word} INTO {table} (id, v) VALUES (?, ?)", (key, value)
    return [
        (f"UPDATE {table} SET v = ? WHERE id >= ?", (value, key)),
        (f"DELETE FROM {table} WHERE id < ?", (key,)),
        (f"UPDATE {table} SET id = id + ?", (key,)),
        (f"INSERT INTO {table} (v) SELECT v FROM {draw(tables)}", ()),
        (f"DELETE FROM {table}", ()),
        (f"INSERT OR ROLLBACK INTO {table} (id, v) VALUES (?, ?)", (key, value)),
    ][kind - 4]


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """One statement that changes the schema."""
    table = draw(tables)
    return draw(
        st.sampled_from(
            [
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v)",
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)",
                f"CREATE TABLE IF NOT EXISTS {table} (id INT PRIMARY KEY, v TEXT CHECK (length(v) < 9)) WITHOUT ROWID",
                f"DROP TABLE {table}",
                f"CREATE INDEX IF NOT EXISTS on_{table} ON {table} (v)",
                f"DROP INDEX IF EXISTS on_{table}",
                f"ALTER TABLE {table} ADD COLUMN w DEFAULT 7",
                f"ALTER TABLE {table} DROP COLUMN w",
                f"ALTER TABLE {table} RENAME TO {draw(tables)}",
                f"CREATE TRIGGER t_{table} AFTER INSERT ON {table} BEGIN DELETE FROM {draw(tables)} WHERE id = 1; END",
                "PRAGMA user_version = 3",
                "ANALYZE",
            ]
        )
    )


class Machine(RuleBasedStateMachine):
    """`real` is the database under test, `model` is plain SQLite in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.kept: dict[int, list[str]] = {}
        self.folder: Path | None = None

    @initialize(page_size=st.sampled_from(PAGE_SIZES), local=st.booleans() if HAS_FILES else st.just(False))
    def create(self, page_size: int, local: bool) -> None:
        self.store = self._store(local)
        self.real = make(self.store, page_size=page_size, clock=self.clock)
        self.model = apsw.Connection(":memory:")
        self.model.execute(f"PRAGMA page_size = {page_size}")
        for sql in ("CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "CREATE TABLE b (id INTEGER PRIMARY KEY, v UNIQUE)"):
            self.real.execute(sql)
            self.model.execute(sql)

    def _store(self, local: bool) -> Store:
        if not local:
            return memory_store(kv_bytes_max=80_000)
        self.folder = Path(tempfile.mkdtemp(prefix="virke-machine-"))
        return local_store(self.folder)

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.close()
            self.model.close()
        if self.folder:
            for path in sorted(self.folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            self.folder.rmdir()

    # Writing

    def _on_model(self, work: list[Statement], *, commit: bool = True) -> bool:
        """Run `work` as one transaction of the model; True if it was committed."""
        self.model.execute("BEGIN")
        try:
            for sql, params in work:
                self.model.execute(sql, params)
        except apsw.Error:
            commit = False
        if self.model.in_transaction:
            self.model.execute("COMMIT" if commit else "ROLLBACK")
        return commit

    @rule(statement=statements())
    def execute(self, statement: Statement) -> None:
        before = self.model.total_changes()
        applied = self._on_model([statement])
        try:
            affected = self.real.execute(*statement)  # type: ignore[arg-type]
        except SqlError:
            assert not applied
        else:
            assert applied
            assert affected <= self.model.total_changes() - before

    @rule(sql=definitions())
    def define(self, sql: str) -> None:
        applied = self._on_model([(sql, ())])
        with contextlib.nullcontext() if applied else pytest.raises(SqlError):
            self.real.execute(sql)

    @rule(work=st.lists(statements(), min_size=1, max_size=5))
    def batch(self, work: list[Statement]) -> None:
        with contextlib.nullcontext() if self._on_model(work) else pytest.raises(SqlError):
            assert len(self.real.batch(work)) == len(work)  # type: ignore[arg-type]

    @rule(table=tables, rows=st.lists(st.tuples(numbers, values), min_size=1, max_size=30))
    def many(self, table: str, rows: list[tuple[object, ...]]) -> None:
        sql = f"INSERT OR IGNORE INTO {table} (id, v) VALUES (?, ?)"
        with contextlib.nullcontext() if self._on_model([(sql, row) for row in rows]) else pytest.raises(SqlError):
            self.real.executemany(sql, rows)  # type: ignore[arg-type]

    @rule(table=tables, seed=st.integers(0, 99))
    def fill(self, table: str, seed: int) -> None:
        """More than a root carries inline: a segment of its own."""
        rows: list[Statement] = [
            (f"INSERT OR REPLACE INTO {table} (id, v) VALUES (?, ?)", (number, Random(seed + number).randbytes(1000)))
            for number in range(seed, seed + 90)
        ]
        with contextlib.nullcontext() if self._on_model(rows) else pytest.raises(SqlError):
            self.real.batch(rows)  # type: ignore[arg-type]

    @rule(parts=st.lists(st.one_of(definitions(), tables), min_size=1, max_size=5), undo=st.booleans())
    def script(self, parts: list[str], undo: bool) -> None:
        """A script with a savepoint inside, released or rolled back."""
        texts = [f"INSERT INTO {part} (v) VALUES (x'00ff')" if part in TABLES else part for part in parts]
        texts = ["SAVEPOINT s", *texts, *(["ROLLBACK TO s"] if undo else []), "RELEASE s"]
        with contextlib.nullcontext() if self._on_model([(t, ()) for t in texts]) else pytest.raises(SqlError):
            self.real.run_script(";\n".join(texts))

    @rule(work=st.lists(statements(), max_size=5), commit=st.booleans())
    def transaction(self, work: list[Statement], commit: bool) -> None:
        """A failed statement is undone alone; `INSERT OR ROLLBACK` ends the transaction."""
        self.model.execute("BEGIN")
        transaction = self.real.transaction()
        for sql, params in work:
            try:
                transaction.execute(sql, params)  # type: ignore[arg-type]
                refused = False
            except SqlError:
                refused = True
            try:
                self.model.execute("SAVEPOINT one")
                self.model.execute(sql, params)
                assert not refused
            except apsw.Error:
                assert refused
                if not self.model.in_transaction:
                    with pytest.raises(Invalid):
                        transaction.commit()
                    return
                self.model.execute("ROLLBACK TO one")
            self.model.execute("RELEASE one")
        self.model.execute("COMMIT" if commit else "ROLLBACK")
        transaction.commit() if commit else transaction.rollback()

    # What changes no contents

    @rule()
    def vacuum(self) -> None:
        self.real.execute("VACUUM")
        self.model.execute("VACUUM")  # it drops an empty sqlite_sequence

    @rule(page_size=st.sampled_from(PAGE_SIZES))
    def change_page_size(self, page_size: int) -> None:
        for sql in (f"PRAGMA page_size = {page_size}", "VACUUM"):
            self.real.execute(sql)
            self.model.execute(sql)
        assert self.real.snapshot().page_size == page_size

    @rule()
    def open_anew(self) -> None:
        self.real.close()
        self.real = reopen(self.store, clock=self.clock)

    @rule()
    def write_elsewhere(self) -> None:
        """Another process writes; this one's next read is past its staleness bound."""
        with reopen(self.store, clock=self.clock) as other:
            other.execute("PRAGMA user_version = 5")
            other.execute("CREATE TABLE IF NOT EXISTS c (id INTEGER PRIMARY KEY, v)")
        self.model.execute("PRAGMA user_version = 5")
        self.model.execute("CREATE TABLE IF NOT EXISTS c (id INTEGER PRIMARY KEY, v)")
        self.clock.pass_s(2)

    def _segments(self) -> int:
        return len(self.real._volume.branch.refresh().root.segments)

    @precondition(lambda self: self._segments() >= 2)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, self._segments() - 2))
        stop = data.draw(st.integers(start + 2, self._segments()))
        assert self.real._upkeep.compact(Run(start, stop))

    @rule()
    def promote(self) -> None:
        assert self.real.promote().tier == "object"

    @rule(days=st.integers(0, 9))
    def collect(self, days: int) -> None:
        self.clock.pass_s(days * DAY_MS / 1000)
        self.real.collect(grace_ms=0)

    @rule()
    def remember(self) -> None:
        self.kept[self.real.snapshot().version] = dump_of(self.real.snapshot())

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.kept)))
        old = self._as_of(version)
        if old is not None:
            assert dump_of(old) == self.kept[version]

    def _as_of(self, version: int) -> Snapshot | None:
        try:
            return self.real.snapshot(version)
        except NotFound:
            assert version < self.real.status().history_from_version
            return None

    @invariant()
    def equal(self) -> None:
        if hasattr(self, "real"):
            expected = dump_image(self.model.serialize("main"))
            assert dump_of(self.real.snapshot()) == expected
            count = self.model.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            assert self.real.query("SELECT count(*) FROM sqlite_schema", consistency="strong").rows == count


def _run(examples: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=checks)
    )


def test_a_database_equals_plain_sqlite_after_every_step() -> None:
    """Contents, integrity and checksum at the newest version, and contents of remembered ones."""
    _run(15, 25)


@pytest.mark.slow
def test_a_database_equals_plain_sqlite_after_every_step_of_many_long_runs() -> None:
    """The same, for longer."""
    _run(50, 50)


@pytest.mark.prove
def test_a_database_equals_plain_sqlite_after_every_step_of_very_many_long_runs() -> None:
    """The same, for minutes."""
    _run(500, 50)
