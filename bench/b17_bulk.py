"""B17 (`BULK`): much at once, beside sqlite3 on the same disk (WAL, `synchronous=FULL`): rows, batches, imports and exports.

Both sides take turns, and each figure is the median of the ratios of neighbours: of CPU time where the work is computing
(the whole process, or the shell's), of wall time where it is waiting for the disk.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from bench.report import Figure
from virke import dbapi
from virke.engine.database import Database
from virke.opening import connect
from virke.transfer import export_file, import_file

ROUNDS: Final = 3
ROWS: Final = 100_000
FILE_ROWS: Final = 300_000
BATCH: Final = 100
BATCHES: Final = 40
_TABLE: Final = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount REAL, day INTEGER)"
_INSERT: Final = "INSERT INTO t (name, amount, day) VALUES (?, ?, ?)"
_UPDATE: Final = "UPDATE t SET amount = amount + 1 WHERE id = ?"
_ORDERS: Final = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, email TEXT, cents INTEGER, share REAL, note TEXT);"
    "CREATE INDEX orders_by_name ON orders (name);"
)
_WORDS: Final = "please deliver before noon ring the bell leave it with a neighbour fragile thank you gift wrap".split()

Seconds = tuple[float, float]
"""CPU and wall."""
Job = Callable[[], object]


def _rows() -> list[tuple[str, float, int]]:
    return [(f"User {number}", number * 0.37, number % 365) for number in range(ROWS)]


def _orders() -> Iterator[tuple[int, str, str, int, float, str]]:
    random = Random(17)
    for number in range(1, FILE_ROWS + 1):
        note = " ".join(random.choices(_WORDS, k=10))
        yield number, f"User {random.randint(1, 50_000)}", f"u{number}@example.com", number, random.random(), note


def here(job: Job) -> Seconds:
    """What a job takes of this process."""
    cpu, began = time.process_time(), time.perf_counter()
    job()
    return time.process_time() - cpu, time.perf_counter() - began


def there(*command: str, stdin: Path | None = None, stdout: Path | None = None) -> Seconds:
    """What a command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (stdin or Path(os.devnull)).open("rb") as read, (stdout or Path(os.devnull)).open("wb") as written:
        subprocess.run(command, stdin=read, stdout=written, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - began


class _Beside:
    """A folder with a store of Virke and files of sqlite3."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = 0

    def database(self) -> Database:
        """A new one."""
        self._made += 1
        return connect(f"d{self._made}", f"local:{self.folder}/store", create=True, background=False)

    def path(self, suffix: str) -> Path:
        """A name that is free."""
        self._made += 1
        return self.folder / f"f{self._made}{suffix}"

    def plain(self) -> sqlite3.Connection:
        """A new file, in WAL mode."""
        connection = sqlite3.connect(self.path(".sqlite"))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def empty(self) -> Path:
        """A new file in WAL mode, for the shell."""
        with closing(self.plain()) as connection:
            connection.execute("PRAGMA user_version=1")
            return Path(connection.execute("PRAGMA database_list").fetchone()[2])


def _compared(what: str, ours: Callable[[], Seconds], theirs: Callable[[], Seconds], at_most: float) -> list[Figure]:
    pairs = [(theirs(), ours()) for _ in range(ROUNDS)]
    figures = []
    for clock, name in enumerate(("CPU", "wall")):
        ratio = statistics.median(mine[clock] / other[clock] for other, mine in pairs)
        figures.append(Figure("B17", f"{what}, {name}", ratio, "×", at_most=None if clock else at_most))
    return figures


def _executemany(at: _Beside) -> Iterator[Figure]:
    rows = _rows()

    def ours() -> Seconds:
        with at.database() as database:
            database.execute(_TABLE)
            return here(lambda: database.executemany(_INSERT, rows))

    def pep249() -> Seconds:
        at.database().close()
        with closing(dbapi.connect(f"d{at._made}", f"local:{at.folder}/store")) as connection:
            connection.execute(_TABLE)
            connection.commit()

            def insert() -> None:
                connection.executemany(_INSERT, rows)
                connection.commit()

            return here(insert)

    def theirs() -> Seconds:
        with closing(at.plain()) as plain:
            plain.execute(_TABLE)

            def insert() -> None:
                plain.executemany(_INSERT, rows)
                plain.commit()

            return here(insert)

    yield from _compared(f"executemany, {ROWS:,} rows", ours, theirs, 1.3)
    yield from _compared(f"dbapi's executemany, {ROWS:,} rows", pep249, theirs, 2)


def _batches(at: _Beside) -> Iterator[Figure]:
    random = Random(17)
    with at.database() as database, closing(at.plain()) as plain:
        rows = _rows()
        database.execute(_TABLE)
        database.executemany(_INSERT, rows)
        plain.execute(_TABLE)
        plain.executemany(_INSERT, rows)
        plain.commit()

        def ours(keys: list[int]) -> None:
            database.batch([(_UPDATE, (key,)) for key in keys])

        def theirs(keys: list[int]) -> None:
            for key in keys:
                plain.execute(_UPDATE, (key,))
            plain.commit()

        pairs = []
        for _ in range(BATCHES):
            keys = [random.randint(1, ROWS) for _ in range(BATCH)]
            pairs.append((here(lambda keys=keys: theirs(keys)), here(lambda keys=keys: ours(keys))))  # type: ignore[misc]
    for clock, name in enumerate(("CPU", "wall")):
        ratio = statistics.median(mine[clock] for _, mine in pairs) / statistics.median(one[clock] for one, _ in pairs)
        yield Figure("B17", f"a batch of {BATCH} random UPDATEs, {name}", ratio, "×", at_most=2 if clock else None)


def _files(at: _Beside) -> Iterator[Figure]:
    image, dump, table = at.path(".sqlite"), at.path(".sql"), at.path(".csv")
    with closing(sqlite3.connect(image)) as plain:
        plain.executescript(_ORDERS)
        plain.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", _orders())
        plain.commit()
    there("sqlite3", str(image), ".dump", stdout=dump)
    there("sqlite3", "-csv", "-header", str(image), "SELECT * FROM orders", stdout=table)

    def imported(path: Path, name: str | None = None) -> Seconds:
        with at.database() as database:
            return here(lambda: import_file(database, path, table=name))

    def copied() -> Seconds:
        path = at.path(".sqlite")

        def copy() -> None:
            shutil.copyfile(image, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())

        first, second = here(copy), there("sqlite3", str(path), "PRAGMA integrity_check")
        return first[0] + second[0], first[1] + second[1]

    def into() -> str:
        return str(at.empty())

    yield from _compared("import of .sql", lambda: imported(dump), lambda: there("sqlite3", into(), stdin=dump), 1.5)
    yield from _compared(
        "import of .csv",
        lambda: imported(table, "orders"),
        lambda: there("sqlite3", into(), f".import --csv {table} orders"),
        2,
    )
    yield from _compared("import of .sqlite (cp, fsync, integrity_check)", lambda: imported(image), copied, 3)
    with at.database() as database:
        import_file(database, image)
        written = at.path(".sql")
        yield from _compared(
            "export as .sql",
            lambda: here(lambda: export_file(database, written, force=True)),
            lambda: there("sqlite3", str(image), ".dump", stdout=at.folder / "dumped.sql"),
            2,
        )


def run() -> list[Figure]:
    """Everything, on the disk of the current folder."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        at = _Beside(Path(folder))
        return [*_executemany(at), *_batches(at), *_files(at)]
