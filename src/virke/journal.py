"""The journal of deferred writes: one SQLite file per database and node, fsynced, and the thread that pushes in time.

Knows files, `engine.deferred.Journal` and nothing of pages or roots.

1. `append` returns after the entry is on disk (`synchronous=EXTRA`: FULL leaves the removal of SQLite's own journal to
   chance, and with it the last commit before a power failure).
2. An entry leaves only by `settle`: applied ones are deleted, rejected ones stay with their SQL and reason.
3. Sequence numbers are never used twice, also after every entry is gone (AUTOINCREMENT).
4. One process pushes at a time (a lock file), and one thread of it; appending goes on meanwhile. One appends at a time
   (another lock file): it has seen what is there, and runs its write on it.
5. Nothing is created before the first append: a database that never defers has no file here.
6. An entry whose bytes are not what was written is `Corrupt`, never run (P7).
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from virke.engine.deferred import Entry
from virke.engine.programs import Program, Step
from virke.engine.results import RejectedWrite
from virke.errors import Corrupt, Unavailable, UsageError, VirkeError
from virke.processes import holding

BUSY_TIMEOUT_S: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (id BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    database BLOB NOT NULL,
    write TEXT NOT NULL,
    noted INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    rejected INTEGER NOT NULL DEFAULT 0
);
INSERT INTO journal SELECT randomblob(16) WHERE NOT EXISTS (SELECT * FROM journal);
"""

_NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entry'"


class FileJournal:
    """A journal in one file; see `engine.deferred.Journal` for what each method promises.

    Without a path it is empty, and to append is a `UsageError`.
    """

    def __init__(self, path: Path | None, on_append: Callable[[], None] | None = None) -> None:
        self._path = path
        self._on_append = on_append
        self._lock = threading.RLock()
        self._pushing = threading.Lock()
        self._appending = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @property
    def journal_id(self) -> bytes:
        """16 random bytes, made with the file."""
        with self._open() as connection:
            found: bytes = connection.execute("SELECT id FROM journal").fetchone()[0]
            return found

    def newest(self) -> int:
        """The last sequence number that was given away; 0 if none was."""
        return self._one(_NEWEST)

    def append(self, program: Program, database_id: bytes) -> int:
        """Keep a write durably. Raises `Unavailable`, `UsageError` if there is no file to write; then it is not kept."""
        with self._open() as connection:
            cursor = connection.execute(
                "INSERT INTO entry (time_ms, database, write) VALUES (?, ?, ?)",
                (program.time_ms, database_id, _encode(program)),
            )
        if self._on_append:
            self._on_append()
        return cursor.lastrowid or 0

    def pending(self) -> list[Entry]:
        """Everything that is not pushed or rejected, ascending."""
        if not self._exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT sequence, time_ms, write, database FROM entry WHERE NOT rejected ORDER BY sequence"
            ).fetchall()
        return [Entry(number, self._decode(number, time_ms, text), owner) for number, time_ms, text, owner in rows]

    def pending_count(self) -> int:
        """How many writes are pending."""
        return self._one("SELECT count(*) FROM entry WHERE NOT rejected")

    def oldest_ms(self) -> int:
        """When the oldest pending write was requested, in Unix milliseconds; 0 if nothing is pending."""
        return self._one("SELECT coalesce(min(time_ms), 0) FROM entry WHERE NOT rejected")

    def note(self, outcomes: Sequence[tuple[int, str | None]]) -> None:
        """Write down each fate before it can become true."""
        with self._open() as connection:
            connection.executemany(
                "UPDATE entry SET noted = 1, reason = ? WHERE sequence = ? AND NOT rejected",
                [(reason, sequence) for sequence, reason in outcomes],
            )

    def settle(self, up_to: int) -> tuple[int, int]:
        """Carry out the notes up to a sequence number; returns how many were applied and rejected."""
        if not self._exists():
            return 0, 0
        with self._open() as connection:
            applied = connection.execute(
                "DELETE FROM entry WHERE sequence <= ? AND noted AND reason IS NULL AND NOT rejected", (up_to,)
            ).rowcount
            rejected = connection.execute(
                "UPDATE entry SET rejected = 1 WHERE sequence <= ? AND noted AND reason IS NOT NULL AND NOT rejected",
                (up_to,),
            ).rowcount
        return applied, rejected

    def reject(self, sequences: Sequence[int], reason: str) -> None:
        """Set these writes aside."""
        with self._open() as connection:
            connection.executemany(
                "UPDATE entry SET rejected = 1, noted = 1, reason = ? WHERE sequence = ?",
                [(reason, sequence) for sequence in sequences],
            )

    def rejected(self) -> list[RejectedWrite]:
        """Every rejected write, with its SQL and reason."""
        if not self._exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT sequence, time_ms, write, reason FROM entry WHERE rejected ORDER BY sequence"
            ).fetchall()
        return [
            RejectedWrite(sequence, _sql_of(self._decode(sequence, time_ms, text)), reason, time_ms)
            for sequence, time_ms, text, reason in rows
        ]

    def _decode(self, sequence: int, time_ms: int, sealed: str) -> Program:
        text = str(sealed)[8:]
        if str(sealed)[:8] != _seal(text, time_ms):
            raise Corrupt(f"journal {self._path}: entry {sequence} is not what was written")
        return _decode(text, time_ms)

    def appending(self) -> AbstractContextManager[None]:
        """Keep every other process and thread from appending."""
        return self._held(self._appending, ".append")

    def pushing(self) -> AbstractContextManager[None]:
        """Keep every other process and thread from pushing."""
        return self._held(self._pushing, ".lock")

    @contextmanager
    def _held(self, here: threading.Lock, suffix: str) -> Iterator[None]:
        with here, ExitStack() as held:
            path = self._place()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(open(path.with_suffix(suffix), "w"))
                held.enter_context(holding(lock.fileno()))
            except OSError as error:
                raise Unavailable(f"journal {path}: can't lock it: {error.strerror}") from error
            yield

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _exists(self) -> bool:
        return self._connection is not None or (self._path is not None and self._path.exists())

    def _place(self) -> Path:
        if self._path is None:
            raise UsageError(
                "no home directory is known, where deferred writes would be kept: set HOME, or give state_dir"
            )
        return self._path

    def _one(self, sql: str) -> int:
        if not self._exists():
            return 0
        with self._open() as connection:
            return int(connection.execute(sql).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction; failures become Virke's errors."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                    weakref.finalize(self, self._connection.close)  # an abandoned journal closes its file
                with self._connection:
                    yield self._connection
            except sqlite3.DatabaseError as error:
                kind = Unavailable if isinstance(error, sqlite3.OperationalError) else Corrupt
                raise kind(f"journal {self._path}: {error}") from error
            except OSError as error:
                raise Unavailable(f"journal {self._path}: {error.strerror}") from error

    def _connect(self) -> sqlite3.Connection:
        path = self._place()
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            connection.close()
            raise
        return connection


def _encode(program: Program) -> str:
    first = program.steps[0]
    if first.rows is not None:
        requests = [[first.sql, _packed(row)] for row in first.rows]
    else:
        requests = [[step.sql, _packed(step.params)] for step in program.steps]
    key = program.key.hex() if program.key else None
    shape = {"script": first.is_script, "many": first.rows is not None, "foreign_keys": program.foreign_keys}
    text = json.dumps({"requests": requests, "key": key, **shape})
    return f"{_seal(text, program.time_ms)}{text}"


def _seal(text: str, time_ms: int) -> str:
    return f"{crc32(f'{time_ms} {text}'.encode()):08x}"


def _sql_of(program: Program) -> str:
    return "; ".join(step.sql for step in program.steps)


def _decode(text: str, time_ms: int) -> Program:
    stored = json.loads(text)
    requests = [(sql, _unpacked(params)) for sql, params in stored["requests"]]
    if stored["many"]:
        steps: tuple[Step, ...] = (Step(requests[0][0], rows=tuple(params for _, params in requests)),)
    else:
        steps = tuple(Step(sql, params, is_script=stored["script"]) for sql, params in requests)
    key = bytes.fromhex(stored["key"]) if stored["key"] else None
    return Program(steps, time_ms, stored.get("foreign_keys", False), key)


def _packed(params: object) -> object:
    """Parameters as JSON; numbers that JSON does not know and bytes are tagged."""
    match params:
        case Mapping():
            return {"named": {name: _packed(value) for name, value in params.items()}}
        case bytes() | bytearray() | memoryview():
            return {"bytes": base64.b64encode(bytes(params)).decode()}
        case bool():
            return int(params)
        case float():
            return {"float": params.hex()}
        case None | int() | str():
            return params
        case Sequence():
            return [_packed(value) for value in params]
        case _:
            raise TypeError(f"a parameter of type {type(params).__name__} can't be journalled")


def _unpacked(stored: object) -> Any:
    match stored:
        case {"named": dict(values)}:
            return {name: _unpacked(value) for name, value in values.items()}
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"float": str(text)}:
            return float.fromhex(text)
        case list():
            return [_unpacked(value) for value in stored]
        case _:
            return stored


class Flusher:
    """Pushes pending writes in the background: a thread that lives only while something is pending (P9)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._woken = False
        self._thread: threading.Thread | None = None
        self._flush: Callable[[], int] | None = None
        self._interval_s: Callable[[], float] = lambda: 1.0

    def start(self, flush: Callable[[], int], interval_s: Callable[[], float]) -> None:
        """Push with `flush`, which says how many writes are still pending, every `interval_s()` seconds."""
        self._flush, self._interval_s = flush, interval_s

    def wake(self, *, at_once: bool = False) -> None:
        """Something is pending: see to it, in time or now."""
        with self._lock:
            self._woken = True
            if self._flush and not self._stop.is_set() and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._run, args=(at_once,), name="virke-flush", daemon=True)
                with suppress(
                    RuntimeError
                ):  # no thread is left, or the interpreter ends: a later write, or `flush`, pushes
                    thread.start()
                    self._thread = thread

    def _run(self, at_once: bool) -> None:
        while not self._stop.wait(0 if at_once else self._interval_s()):
            at_once, self._woken = False, False
            try:
                left = self._flush() if self._flush else 0
            except VirkeError:
                continue  # nothing is lost: the writes stay pending, `status` shows them, the next round tries again
            with self._lock:
                if not left and not self._woken:  # else something came after the count
                    self._thread = None
                    return

    def stop(self) -> None:
        """End the thread; what is pending stays in the journal."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
