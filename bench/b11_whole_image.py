"""B11: Virke against the model that it replaces, which loads and stores the whole database at each request.

Both run on the same store with a 20 MB database. A latency is the time on the store's own clock (`Line`) and the
time that the process really took. `warm`: a process that lives on; `cold`: a new one for each request, which
has nothing; `deferred`: warm, and answered when the journal has the write.

1. The whole-image model is given what helps it: no cost to start, the fastest way that SQLite has to load an image.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from bench.data import INSERT_USER, load_image, shop_image, user
from bench.delayed import DelayedStore, Line
from bench.opening import connected
from bench.report import Figure
from virke.core.effects import Record
from virke.engine.database import Database
from virke.engine.sqlite import Row
from virke.stores.base import Store
from virke.stores.memory import memory_store

REPEATS: Final = 9
BYTES_FACTOR: Final = 50
LATENCY_FACTOR: Final = 10
IMAGE_KEY: Final = "image"

# The first line is what the whole-image table says of its own store at 0 and 20 MB: 9 … 120 ms to read,
# 430 … 2,070 ms to write with the read before it.
LINES: Final = (
    Line("9/421 ms, 180/13 MB/s", 9, 180, 421, 13),
    Line("25 ms, 100 MB/s", 25, 100, 25, 100),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table: a statement, how often with which parameters, and whether it writes."""

    name: str
    sql: str
    parameters: Callable[[int], list[tuple[int | str, ...]]]
    writes: bool = False


OPERATIONS: Final = (
    Operation("SELECT of one row", "SELECT * FROM users WHERE id = ?", lambda n: [(n * 997 + 1,)]),
    Operation(
        "SELECT with JOIN, 100 rows",
        "SELECT u.name, o.day, o.cents FROM users AS u JOIN orders AS o ON o.user_id = u.id WHERE u.id >= ? LIMIT 100",
        lambda n: [(n * 997 + 1,)],
    ),
    Operation(
        "aggregation of 400 rows",
        "SELECT u.active, count(*), sum(o.cents), avg(o.cents), max(length(u.name)) "
        "FROM orders AS o JOIN users AS u ON u.id = o.user_id WHERE o.day = ? GROUP BY u.active",
        lambda n: [(n * 13 % 365 + 1,)],
    ),
    Operation("INSERT", INSERT_USER, lambda n: [user(n)], writes=True),
    Operation("INSERT of 100 rows", INSERT_USER, lambda n: [user(n + row) for row in range(100)], writes=True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over requests: milliseconds, bytes both ways, and store requests."""

    ms: float
    moved_bytes: float
    requests: float


Ask = Callable[[Operation, int], object]


def whole_image(store: Store) -> Ask:
    """The model: read the image, load it, run the statement, write the image back if it changed."""

    def ask(operation: Operation, number: int) -> list[Row]:
        found = store.register.read(IMAGE_KEY)
        assert isinstance(found, Record)
        connection = apsw.Connection(":memory:")
        connection.deserialize("main", found.data)
        with connection:
            rows = [row for one in operation.parameters(number) for row in connection.execute(operation.sql, one)]
        if operation.writes:
            store.register.swap(IMAGE_KEY, connection.serialize("main"), found.generation)
        return rows

    return ask


def warm(database: Database) -> Ask:
    """Virke in a process that lives on."""

    def ask(operation: Operation, number: int) -> object:
        given = operation.parameters(number)
        if operation.writes:
            return (
                database.executemany(operation.sql, given)
                if len(given) > 1
                else database.execute(operation.sql, given[0])
            )
        return database.query(operation.sql, given[0]).rows

    return ask


def cold(store: Store) -> Ask:
    """Virke in a process that knows nothing yet."""

    def ask(operation: Operation, number: int) -> object:
        with Database(store, "bench") as database:
            return warm(database)(operation, number)

    return ask


def cost(delayed: DelayedStore, ask: Ask, operation: Operation) -> Cost:
    """What one request of `operation` costs."""
    found = []
    for number in range(REPEATS + 1):
        delayed.reset()
        started = time.perf_counter()
        ask(operation, number)
        took = (time.perf_counter() - started) * 1000
        found.append((delayed.waited_ms + took, delayed.moved_bytes, delayed.requests))
    return Cost(*(statistics.median(column) for column in zip(*found[1:], strict=True)))


def prepared() -> Store:
    """A store with the shop in it twice: as one image, and as a database."""
    store, image = memory_store(), shop_image()
    store.register.swap(IMAGE_KEY, image, None)
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as name, connected(store, Path(name)) as database:
        load_image(database, image)
    return store


def compare(store: Store, line: Line, operation: Operation) -> dict[str, Cost]:
    """All ways to answer `operation` on `store` at the end of `line`."""
    delayed = DelayedStore(store, line)
    found = {"image": cost(delayed, whole_image(delayed.store), operation)}
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as name, connected(delayed.store, Path(name)) as database:
        database.change_settings({"max_staleness_ms": 3_600_000, "durability": "sync"})
        found["warm"] = cost(delayed, warm(database), operation)
        found["cold"] = cost(delayed, cold(delayed.store), operation)
        if operation.writes:
            database.change_settings({"durability": "deferred"})
            found["deferred"] = cost(delayed, warm(database), operation)
            database.change_settings({"durability": "sync"})
    return found


def run() -> list[Figure]:
    """Every row of the table on every line; then bytes and requests of an INSERT and a SELECT."""
    store = prepared()
    figures: list[Figure] = []
    for line in LINES:
        for operation in OPERATIONS:
            found = compare(store, line, operation)
            image = found.pop("image")
            for way, virke in found.items():
                judged = LATENCY_FACTOR if way == "warm" else None
                what = f"{operation.name}, {line.name}, {way}: {image.ms:,.0f} ms → {virke.ms:.3g} ms"
                figures.append(Figure("B11", what, image.ms / virke.ms, "× less latency", at_least=judged))
                if line is LINES[0] and operation in (OPERATIONS[0], OPERATIONS[3]):
                    figures += traffic(operation, way, image, virke)
    return figures


def traffic(operation: Operation, way: str, image: Cost, virke: Cost) -> list[Figure]:
    """Bytes and requests of one operation."""
    judged = BYTES_FACTOR if operation.writes and way in ("warm", "cold") else None
    what = f"{operation.name}, {way}: {image.moved_bytes:,.0f} → {virke.moved_bytes:,.0f} bytes"
    requests = f"{operation.name}, {way}: requests ({image.requests:g} for the image)"
    figures = [Figure("B11", requests, virke.requests, "requests")]
    if virke.moved_bytes:
        figures.append(Figure("B11", what, image.moved_bytes / virke.moved_bytes, "× fewer bytes", at_least=judged))
    return figures
