"""R7 where it rests on SQLite: how each change of `kv.sqlite` is synced, and what is said if the file went away meanwhile."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.stores.conformance import generation_of
from virke.core.effects import Generation, Lost, Tier
from virke.stores.base import Store
from virke.stores.local.kv import SelfClosing, connect_sqlite
from virke.stores.local.store import local_store

CHANGES: dict[str, Callable[[Store, Generation], object]] = {
    "create": lambda store, _: store.register.swap("new", b"1", None),
    "swap": lambda store, base: store.register.swap("k", b"2", base),
    "remove": lambda store, base: store.register.remove("k", base),
    "put": lambda store, _: store.blobs[Tier.KV].put_new("k", b"1"),
}


def place(folder: Path, on_change: Callable[[SelfClosing], None], *, after: bool = False) -> tuple[Store, Generation]:
    """A store with one register, whose connections call `on_change` before (or after) each change; its generation."""
    plain = local_store(folder)
    plain.register.swap("k", b"1", None)

    class Watching(SelfClosing):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            is_change = sql.startswith(("INSERT", "UPDATE", "DELETE"))
            if is_change and not after:
                on_change(self)
            cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
            if is_change and after:
                on_change(self)
            return cursor

    watched = local_store(folder, connect=partial(connect_sqlite, factory=Watching))
    return watched, generation_of(plain.register, "k")


@pytest.mark.parametrize("change", CHANGES)
def test_r7_the_connection_that_makes_a_change_syncs_it(tmp_path: Path, change: str) -> None:
    """SQLite itself says so at that moment: NORMAL in WAL mode would answer before the commit is on the medium."""
    found: list[tuple[object, ...]] = []

    def look(connection: SelfClosing) -> None:
        names = ("synchronous", "fullfsync", "checkpoint_fullfsync", "journal_mode")
        found.append(tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names))

    store, base = place(tmp_path, look)
    CHANGES[change](store, base)
    assert found == [(2, 1, 1, "wal")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
@pytest.mark.parametrize("change", CHANGES)
def test_r7_a_change_of_a_file_that_went_away_is_lost(tmp_path: Path, change: str, replaced: bool, after: bool) -> None:
    """It was applied to a file that nobody will read: the answer is never that it is done, and never that it is not."""

    def vanish(_: SelfClosing) -> None:
        os.rename(tmp_path / "kv.sqlite", tmp_path / "elsewhere")
        if replaced:
            (tmp_path / "kv.sqlite").write_bytes((tmp_path / "elsewhere").read_bytes())

    store, base = place(tmp_path, vanish, after=after)
    assert CHANGES[change](store, base) == Lost(f"{tmp_path / 'kv.sqlite'} was removed at the same time")
