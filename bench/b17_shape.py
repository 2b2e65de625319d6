"""B17 (`SHAPE`): a database as applications make them – full-text search, blobs, long text – in, out and in again, beside sqlite3.

Each step is a command in a process of its own, Virke's and the shell's in turns on the same disk. What comes out must equal what went
in, table by table, or the benchmark fails. Memory is what a process held at most.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from bench.apart import Took, on_bench, took
from bench.report import Figure

MEGABYTES: Final = 441
PEAK_MIB_MOST: Final = 300
_SCHEMA: Final = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, at TEXT);
CREATE TABLE files (id INTEGER PRIMARY KEY, note INTEGER REFERENCES notes, name TEXT, data BLOB);
CREATE INDEX files_by_note ON files (note);
CREATE VIRTUAL TABLE search USING fts5 (title, body, content = 'notes', content_rowid = 'id');
CREATE TRIGGER notes_in AFTER INSERT ON notes BEGIN
  INSERT INTO search (rowid, title, body) VALUES (new.id, new.title, new.body);
END;
"""
_KIB: Final = 1024


def write_shape(path: Path, megabytes: float) -> None:
    """A SQLite file of about so many megabytes: a third blobs of up to a megabyte, the rest long text and its index."""
    random = Random(441)
    words = [f"{random.getrandbits(random.randint(8, 40)):x}" for _ in range(20_000)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA} BEGIN;")
        written = number = 0
        while written < megabytes * 1e6:
            number += 1
            body = " ".join(random.choices(words, k=random.choice((20, 300, 3000))))
            connection.execute(
                "INSERT INTO notes VALUES (?, ?, ?, ?)", (number, f"note {number}", body, "2026-11-28T05:00:00Z")
            )
            data = random.randbytes(
                random.choice((0, 100, 4 * _KIB, 60 * _KIB, 1024 * _KIB)) if number % 20 == 0 else 0
            )
            if data:
                connection.execute("INSERT INTO files VALUES (?, ?, ?, ?)", (number, number, f"{number}.bin", data))
            written += 2 * len(body) + len(data)
        connection.execute("COMMIT")


def content_of(path: Path) -> dict[str, str]:
    """A digest of the schema and one of every table's rows, those of virtual tables and their shadows included."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
        found = {"": hashlib.sha256(repr(schema).encode()).hexdigest()}
        for name in [name for kind, name, *_ in schema if kind == "table"]:
            rows = hashlib.sha256()
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                rows.update(repr(row).encode())
            found[name] = rows.hexdigest()
    return found


def round_trip(given: Path, folder: Path) -> dict[str, tuple[Took, Took]]:
    """Every step by Virke and by the shell, in this order. Raises `AssertionError`: something came out as it did not go in."""
    found, content = dict[str, tuple[Took, Took]](), content_of(given)
    copy, sent, dumped, loaded, again = (
        folder / name for name in ("copy.sqlite", "sent.sqlite", "sent.sql", "loaded.sqlite", "again.sqlite")
    )
    took(*on_bench(folder, "create", "bench"), folder=folder)
    ours = took(*on_bench(folder, "import", str(given)), folder=folder)
    shutil.copyfile(given, copy)
    found["import of .sqlite (integrity_check)"] = (
        ours,
        took("sqlite3", str(copy), "PRAGMA integrity_check", folder=folder),
    )
    ours = took(*on_bench(folder, "export", str(sent)), folder=folder)
    found["export as .sqlite (VACUUM INTO)"] = (
        ours,
        took("sqlite3", str(copy), f"VACUUM INTO '{loaded}'", folder=folder),
    )
    assert content_of(sent) == content, "a .sqlite came out as it did not go in"
    loaded.unlink()
    ours = took(*on_bench(folder, "export", str(dumped)), folder=folder)
    found["export as .sql (.dump)"] = (
        ours,
        took("sqlite3", str(copy), ".dump", folder=folder, stdout=folder / "dump.sql"),
    )
    other = [word.replace("bench", "again") if word == "bench" else word for word in on_bench(folder)]
    took(*other, "create", "again", folder=folder)
    ours = took(*other, "import", str(dumped), folder=folder)
    found["import of .sql (sqlite3 < file)"] = (
        ours,
        took("sqlite3", str(loaded), folder=folder, stdin=folder / "dump.sql"),
    )
    took(*other, "export", str(again), folder=folder)
    assert content_of(again) == content, "a .sql came out as it did not go in"
    return found


def run() -> list[Figure]:
    """The whole way, once."""
    figures = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        given = Path(name, "given.sqlite")
        write_shape(given, MEGABYTES)
        size = given.stat().st_size / 1e6
        for what, (ours, theirs) in round_trip(given, Path(name)).items():
            step = f"{size:.0f} MB with FTS5, blobs and long text, equal: {what}"
            figures += [
                Figure("B17", f"{step}: time", ours.wall_s, "s"),
                Figure("B17", f"{step}: time of sqlite3's", ours.wall_s / theirs.wall_s, "×"),
                Figure("B17", f"{step}: CPU of sqlite3's", ours.cpu_s / theirs.cpu_s, "×"),
                Figure("B17", f"{step}: memory", ours.peak_mib, "MiB", at_most=PEAK_MIB_MOST),
                Figure("B17", f"{step}: memory of sqlite3's", theirs.peak_mib, "MiB"),
            ]
    return figures
