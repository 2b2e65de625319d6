"""Rows of the local register: a change writes the pages that differ, and files of before are moved on by the next change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from virke.core.effects import Generation, Record, Swapped
from virke.stores.base import Store
from virke.stores.local.kv import KV_FILE
from virke.stores.local.room import FIRST_PAGE, FURTHER_PAGE, filler_bytes, pages_for
from virke.stores.local.store import local_store

KEY: Final = "root/shop/main"
PAGE: Final = 4096
FRAME: Final = PAGE + 24
MIDDLE: Final = bytes(range(256)) * 160


def swapped(store: Store, data: bytes, base: Generation | None) -> Generation:
    """The generation that a swap made."""
    outcome = store.register.swap(KEY, data, base)
    assert isinstance(outcome, Swapped)
    assert outcome.generation is not None
    return outcome.generation


def frames(folder: Path) -> int:
    """How many pages the log of a folder has."""
    return (Path(f"{folder / KV_FILE}-wal").stat().st_size - 32) // FRAME


def test_a_change_at_both_ends_writes_two_pages_or_three(tmp_path: Path) -> None:
    """A root of 40 KB whose head changes, and that gets one commit more."""
    store = local_store(tmp_path)
    generation = swapped(store, b"0" * 1000 + MIDDLE, None)
    generation = swapped(store, b"0" * 1000 + MIDDLE, generation)
    before = frames(tmp_path)
    for number in range(1, 9):
        tail = b"".join(bytes([one]) * 1400 for one in range(number))
        generation = swapped(store, bytes([number]) * 1000 + MIDDLE + tail, generation)
    written = frames(tmp_path) - before
    assert 2 * 8 <= written <= 3 * 8
    assert store.register.read(KEY) == Record(bytes([8]) * 1000 + MIDDLE + tail, generation)


def test_a_root_that_becomes_shorter_leaves_the_end_of_its_row_as_it_was(tmp_path: Path) -> None:
    """Its commits went into a segment: one page is written then, and those of the next commits as ever."""
    store = local_store(tmp_path)
    generation, written = swapped(store, b"0", None), list[int]()
    for number in range(72):
        before = frames(tmp_path) if number else 0
        head, commits = bytes([number]) * 1700, [bytes([one]) * 1300 for one in range(number // 36, number % 36)]
        generation = swapped(store, head + b"".join(commits), generation)
        written.append(frames(tmp_path) - before)
        assert store.register.read(KEY) == Record(head + b"".join(commits), generation)
    assert written[36] == 1
    assert max(written[37:]) <= 3


@pytest.mark.parametrize("rest", [None, b"", b"x", b"\0" * 100_000])
def test_a_filler_that_is_not_as_long_as_known_is_of_no_account(tmp_path: Path, rest: bytes | None) -> None:
    """Another process, of an earlier release perhaps, wrote the row, and we knew another length of it."""
    store = local_store(tmp_path)
    generation = swapped(store, b"0", None)
    for data in (b"a" * 30_000, b"b" * 31_000):
        generation = swapped(store, data, generation)
    with closing(sqlite3.connect(tmp_path / KV_FILE)) as other:
        other.execute("UPDATE register SET data = ?, filler = ?", (b"theirs", rest))
        other.commit()
        for data in (b"c" * 32_000, b"d" * 2_000, b"e" * 33_000):
            generation = swapped(store, data, generation)
            assert store.register.read(KEY) == Record(data, generation)
            [[kind, length]] = other.execute("SELECT typeof(filler), length(filler) FROM register").fetchall()
            assert kind == "blob"
            assert len(data) + length == pytest.approx(FIRST_PAGE + 15 * FURTHER_PAGE, abs=60)


@pytest.mark.parametrize("length", [0, 1, 50, 5_000, 8_180, 8_190, 50_000, 300_000])
def test_what_is_read_is_what_was_written_at_every_length(tmp_path: Path, length: int) -> None:
    """Longer, then shorter, then as long again."""
    store = local_store(tmp_path)
    generation = swapped(store, b"first", None)
    for data in (b"a" * length, b"b" * (length // 20), b"c" * length):
        generation = swapped(store, data, generation)
        assert store.register.read(KEY) == Record(data, generation)


def test_rows_are_as_long_as_said(tmp_path: Path) -> None:
    """To the byte, at nearly every length: else SQLite would write all of their pages."""
    with closing(sqlite3.connect(tmp_path / "rows.sqlite")) as connection:
        if ("ENABLE_DBSTAT_VTAB",) not in connection.execute("PRAGMA compile_options").fetchall():
            pytest.skip("this SQLite does not say how long rows are")
        connection.execute("CREATE TABLE register (key TEXT PRIMARY KEY, generation TEXT, data BLOB, filler BLOB)")
        connection.execute("INSERT INTO register VALUES (?, ?, x'', x'')", (KEY, "0" * 32))
        for length in [*range(3_900, 4_100, 7), *range(8_100, 8_300, 7), *range(30_000, 66_000, 977)]:
            pages = pages_for(KEY, length, None)
            filler = filler_bytes(KEY, length, pages)
            connection.execute("UPDATE register SET data = zeroblob(?), filler = zeroblob(?)", (length, filler))
            [[payload]] = connection.execute("SELECT sum(payload) FROM dbstat WHERE name = 'register'").fetchall()
            assert payload == FIRST_PAGE + pages * FURTHER_PAGE


def test_a_row_keeps_its_length_until_it_is_far_too_long() -> None:
    """What a root carries inline comes and goes."""
    most = pages_for(KEY, 50_000, None)
    assert pages_for(KEY, 3_000, most) == most
    assert pages_for(KEY, 70_000, most) > most
    assert pages_for(KEY, 3_000, pages_for(KEY, 900_000, None)) == 0


def test_a_file_of_an_earlier_release_is_moved_on_by_the_next_change(tmp_path: Path) -> None:
    """And one that runs beside us, and knows of no zeros, goes on to read and to change it."""
    with closing(sqlite3.connect(tmp_path / KV_FILE)) as old:
        old.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA application_id = 0x56524B31; PRAGMA user_version = 2;"
            "CREATE TABLE register (key TEXT PRIMARY KEY, generation TEXT NOT NULL, data BLOB NOT NULL);"
            "CREATE TABLE blobs (key TEXT PRIMARY KEY, modified_ms INTEGER NOT NULL, data BLOB NOT NULL);"
        )
        old.execute("INSERT INTO register VALUES (?, 'g1', x'0102')", (KEY,))
        old.commit()
        store = local_store(tmp_path)
        assert store.register.read(KEY) == Record(b"\1\2", Generation("g1"))
        generation = swapped(store, b"ours", Generation("g1"))
        assert old.execute("SELECT generation, data FROM register").fetchall() == [(generation, b"ours")]
        old.execute("UPDATE register SET generation = 'g3', data = ? WHERE key = ?", (b"x" * 9_000, KEY))
        old.commit()
        generation = swapped(store, b"ours again", Generation("g3"))
        assert store.register.read(KEY) == Record(b"ours again", generation)
