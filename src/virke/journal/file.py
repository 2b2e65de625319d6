"""The journal of deferred writes: one SQLite file per database and node.

Knows SQL on that file (journal/connection.py) and `engine.entry.Journal`; knows nothing of roots.

1. `append` returns after the entry is on disk.
2. An entry leaves only by `settle`: applied ones are deleted, rejected ones stay with their SQL and reason, until
   `discard` has put a copy of them aside.
3. Sequence numbers are never used twice, also after every entry is gone (AUTOINCREMENT).
4. One process pushes at a time (a lock file), and one thread of it; appending goes on meanwhile. One appends at a time
   (another lock file): it has seen what is there, and runs its write on it.
5. Nothing is created before the first append: a database that never defers has no file here.
6. What is not what was written is `DamagedJournal`, never run (P7).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from virke.engine.answers import FirstRun
from virke.engine.entry import NO_ENTRY, Base, Contents, DamagedJournal, Entry, EntryGone, UnreachableJournal
from virke.engine.layers import Patch
from virke.engine.programs import Program
from virke.engine.results import JournalEntry, RejectedWrite
from virke.errors import Corrupt
from virke.journal import place
from virke.journal.connection import HINT, NEWEST, Connect, JournalFile, connect_file, give_new_identity
from virke.journal.encoding import Row, decode_entry, decode_patch, encode_entry
from virke.stores.local.files import System

_COLUMNS: Final = (
    "sequence",
    "time_ms",
    "database",
    "write",
    "entry_id",
    "pages",
    "seal",
    "noted",
    "noted_at",
    "reason",
    "rejected",
)


class FileJournal:
    """A journal in one file; see `engine.deferred.Journal` for what each method promises.

    Without a path it is empty, and to append is a `UsageError`. A private folder is this user's own: it is closed to
    others even if it was there before.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        private_folder: bool = False,
        system: System | None = None,
        connect: Connect = connect_file,
    ) -> None:
        self.path = path
        self._file = JournalFile(path, private_folder=private_folder, system=system or System(), connect=connect)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # What is in it

    def newest(self) -> int:
        """The last sequence number that was given away; 0 if none was."""
        return self._single_number(NEWEST)

    def read(self) -> Contents:
        """All that it has, as of one moment."""
        if self._file.is_absent:  # nearly always, and asked at each commit
            return Contents()
        with self._file.lock, self._file.reading() as connection:
            if connection is None:
                return Contents()
            try:
                connection.execute("BEGIN")
                return self._read_contents(connection)
            finally:
                connection.rollback()

    def _read_contents(self, connection: sqlite3.Connection) -> Contents:
        [[journal_id, settled, settled_id, copied_at]] = connection.execute(
            "SELECT id, settled, settled_id, copied_at FROM journal"
        ).fetchall()
        ids = connection.execute("SELECT sequence, coalesce(entry_id, ?) FROM entry", (NO_ENTRY,)).fetchall()
        return Contents(
            journal_id,
            connection.execute(NEWEST).fetchone()[0],
            # one by one: their pages are needed for the seal, and let go of then
            tuple(self._decode_row(row) for row in _entry_rows(connection, "NOT rejected")),
            dict(ids),
            settled,
            settled_id or NO_ENTRY,
            copied_at,
        )

    def patches(self, entries: Sequence[Entry]) -> Iterator[Patch]:
        """The pages of entries that have a base, one after another."""
        for entry in entries:
            with self._file.lock, self._file.reading() as connection:
                rows = list(_entry_rows(connection, f"sequence = {entry.sequence}")) if connection else []
            if not rows:
                raise EntryGone(f"journal {self.path}: entry {entry.sequence} was settled at the same time")
            try:
                yield decode_patch(rows[0])
            except (ValueError, TypeError, KeyError, Corrupt) as error:
                raise self._damaged_error(rows[0]) from error

    def pending_count(self) -> int:
        """How many writes are pending."""
        return self._single_number("SELECT count(*) FROM entry WHERE NOT rejected")

    def rejected(self) -> list[RejectedWrite]:
        """Every rejected write, with its SQL and reason."""
        return [
            RejectedWrite(one.sequence, one.sql, one.reason or "", one.time_ms)
            for one in self.listing("rejected")
            if one.state == "rejected"
        ]

    def listing(self, condition: str = "true") -> list[JournalEntry]:
        """Everything that is in it, or meets an SQL condition; what is damaged is there as such. Raises `DamagedJournal`: it can't be read at all."""
        found = []
        with self._file.lock, self._file.reading() as connection:
            for row in _entry_rows(connection, condition) if connection else ():
                state, reason = ("rejected", row.reason) if row.is_rejected else ("pending", None)
                try:
                    sql = "; ".join(step.sql for step in self._decode_row(row).program.steps)
                except DamagedJournal:
                    state, sql, reason = "damaged", "", "not what was written"
                found.append(JournalEntry(row.sequence, row.time_ms, state, sql, reason))
        return found

    def _decode_row(self, row: Row) -> Entry:
        try:
            return decode_entry(row)
        except (ValueError, TypeError, KeyError, Corrupt) as error:
            raise self._damaged_error(row) from error

    def _damaged_error(self, row: Row) -> DamagedJournal:
        return DamagedJournal(f"journal {self.path}: entry {row.sequence} is not what was written; {HINT}")

    def _single_number(self, sql: str) -> int:
        if self._file.is_absent:
            return 0
        with self._file.lock, self._file.reading() as connection:
            return int(connection.execute(sql).fetchone()[0]) if connection else 0

    # Changing it

    def append(
        self,
        program: Program,
        database_id: bytes,
        *,
        first_run: FirstRun | None = None,
        entry_id: bytes | None = None,
        base: Base | None = None,
        patch: Patch | None = None,
    ) -> int:
        """Keep a program durably. Raises `Unavailable`, `UsageError` if there is no file to write; then it is not kept."""
        with self._file.lock, self._file.changing(create=True) as connection:
            sequence = int(connection.execute(NEWEST).fetchone()[0]) + 1
            row = encode_entry(
                Entry(sequence, program, database_id, first_run, entry_id or os.urandom(16), base), patch
            )
            connection.execute(
                "INSERT INTO entry (sequence, time_ms, database, write, entry_id, pages, seal) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (row.sequence, row.time_ms, row.database_id, row.text, row.entry_id, row.pages, row.seal),
            )
        return sequence

    def note(self, outcomes: Sequence[tuple[int, str | None]], version: int) -> None:
        """Write down each fate before it can become true by a swap of the root of that version."""
        with self._file.lock, self._file.changing() as connection:
            connection.executemany(
                "UPDATE entry SET noted = 1, noted_at = ?, reason = ? WHERE sequence = ? AND NOT rejected",
                [(version, reason, sequence) for sequence, reason in outcomes],
            )

    def forget_notes(self, sequences: Sequence[int]) -> None:
        """The swap did not happen, and never will."""
        with self._file.lock, self._file.changing() as connection:
            connection.executemany(
                "UPDATE entry SET noted = 0, reason = NULL WHERE sequence = ? AND NOT rejected",
                [(sequence,) for sequence in sequences],
            )

    def settle(self, up_to: int) -> tuple[int, int]:
        """Carry out the notes up to an entry; returns how many were applied and rejected."""
        with self._file.lock, self._file.changing() as connection:
            last = connection.execute("SELECT entry_id FROM entry WHERE sequence = ?", (up_to,)).fetchone()
            applied = connection.execute(
                "DELETE FROM entry WHERE sequence <= ? AND noted AND reason IS NULL AND NOT rejected", (up_to,)
            ).rowcount
            rejected = connection.execute(
                "UPDATE entry SET rejected = 1 WHERE sequence <= ? AND noted AND reason IS NOT NULL AND NOT rejected",
                (up_to,),
            ).rowcount
            connection.execute("UPDATE journal SET settled = ?, settled_id = ?", (up_to, last[0] if last else None))
        return applied, rejected

    def drop(self, sequences: Sequence[int]) -> None:
        """Forget entries that another copy of this journal has settled."""
        with self._file.lock, self._file.changing() as connection:
            connection.executemany("DELETE FROM entry WHERE sequence = ?", [(sequence,) for sequence in sequences])

    def reject(self, sequences: Sequence[int], reason: str) -> None:
        """Set these writes aside."""
        with self._file.lock, self._file.changing() as connection:
            connection.executemany(
                "UPDATE entry SET rejected = 1, noted = 1, reason = ? WHERE sequence = ?",
                [(reason, sequence) for sequence in sequences],
            )

    def rename(self) -> None:
        """Become another journal, of which no root says anything."""
        with self._file.lock, self._file.changing() as connection:
            give_new_identity(connection)

    def discard(self) -> Path | None:
        """Put a copy of the file aside, then forget what is damaged or rejected; returns the copy.

        None if there is nothing of that kind. A file that can't be read is set aside as it is.
        """
        with self.pushing(), self.appending():
            try:
                listed = self.listing()
            except DamagedJournal:
                return self._set_aside()
            gone = [one.sequence for one in listed if one.state != "pending"]
            if not gone:
                return None
            aside = place.free_name(self._file.where())
            with self._file.lock, self._file.reading() as reading:
                assert reading is not None, "there are entries"
                place.copy_journal(self._file.system, reading, aside)
            with self._file.lock, self._file.changing() as connection:
                connection.executemany("DELETE FROM entry WHERE sequence = ?", [(sequence,) for sequence in gone])
            return aside

    def _set_aside(self) -> Path:
        with self._file.lock:
            self._file.close()
            try:
                return place.set_aside(self._file.system, self._file.where())
            except OSError as error:
                raise self._file.unreachable(error) from error

    # Locks

    def appending(self) -> AbstractContextManager[None]:
        """Keep every other process and thread from appending."""
        return self._held_lock(self._file.appending, ".append")

    def pushing(self) -> AbstractContextManager[None]:
        """Keep every other process and thread from pushing."""
        return self._held_lock(self._file.pushing, ".lock")

    @contextmanager
    def _held_lock(self, here: threading.Lock, suffix: str) -> Iterator[None]:
        with here:
            path = self._file.where()
            try:
                lock = place.Lock(self._file.folder() / path.with_suffix(suffix).name)
            except OSError as error:
                raise UnreachableJournal(f"journal {path}: can't lock it: {error.strerror}") from error
            with lock:
                yield


def _entry_rows(connection: sqlite3.Connection, condition: str) -> Iterator[Row]:
    """Entries by ascending sequence number; what is of another type than it should be does not fit the seal."""
    for row in connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM entry WHERE {condition} ORDER BY sequence"):
        yield Row(*row)
