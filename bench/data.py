"""Databases to measure on: a small table, and a 20 MB shop of users and orders. The same bytes in every run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import apsw

from virke.engine.database import Database

USERS: Final = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, active INTEGER)"
INSERT_USER: Final = "INSERT INTO users (name, email, active) VALUES (?, ?, 1)"
SHOP: Final = f"""
{USERS};
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, day INTEGER NOT NULL, cents INTEGER NOT NULL, note TEXT
);
CREATE INDEX orders_by_user ON orders (user_id);
CREATE INDEX orders_by_day ON orders (day);
"""
SHOP_USERS: Final = 20_000
SHOP_ORDERS: Final = 150_000
SHOP_DAYS: Final = 365
PAGE_BYTES: Final = 4096
_WORDS: Final = "please deliver before noon ring the bell leave it with a neighbour fragile thank you gift wrap".split()


def user(number: int) -> tuple[str, str]:
    """Name and address of one user."""
    return f"User {number}", f"user{number}@example.com"


def fill_users(database: Database, count: int) -> None:
    """The table `users` with rows 1 … `count`, in two commits."""
    database.execute(USERS)
    database.executemany(INSERT_USER, [user(number) for number in range(1, count + 1)])


def shop_image() -> bytes:
    """The shop as the bytes of an SQLite file, about 20 MB."""
    random = Random(20)
    connection = apsw.Connection(":memory:")
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}; BEGIN; {SHOP}")
    connection.executemany(INSERT_USER, (user(number) for number in range(1, SHOP_USERS + 1)))
    connection.executemany("INSERT INTO orders (user_id, day, cents, note) VALUES (?, ?, ?, ?)", _orders(random))
    connection.execute("COMMIT")
    return connection.serialize("main")


def _orders(random: Random) -> Iterator[tuple[int, int, int, str]]:
    for _ in range(SHOP_ORDERS):
        note = " ".join(random.choices(_WORDS, k=14))
        yield random.randint(1, SHOP_USERS), random.randint(1, SHOP_DAYS), random.randint(100, 99_999), note


def load_image(database: Database, image: bytes) -> None:
    """Make `image` the content of an empty database, as one streamed commit."""
    pages = ((at // PAGE_BYTES + 1, image[at : at + PAGE_BYTES]) for at in range(0, len(image), PAGE_BYTES))
    database.long_write().commit_pages(
        database.snapshot(), page_size=PAGE_BYTES, page_count=len(image) // PAGE_BYTES, pages=pages
    )


CATALOGUE: Final = (
    "CREATE TABLE items (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, body TEXT NOT NULL, cents INTEGER)"
)


def sku(number: int) -> str:
    """The unique text key of one item; neighbours in number are far apart in text."""
    return f"SKU-{number * 2654435761 % (1 << 32):010d}-{number}"


def write_catalogue(path: Path, megabytes: float, page_bytes: int = PAGE_BYTES) -> int:
    """An SQLite file of about so many megabytes, one table with an index on text; returns the number of items."""
    random = Random(7)
    words = [f"{random.getrandbits(40):x}" for _ in range(4000)]
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", page_bytes)
    connection.pragma("journal_mode", "off")
    connection.pragma("synchronous", 0)
    connection.execute("BEGIN")
    connection.execute(CATALOGUE)
    written = count = 0
    while written < megabytes * 1_000_000:
        texts = [" ".join(random.choices(words, k=60)) for _ in range(1000)]
        rows = [(count + n, sku(count + n), text, n) for n, text in enumerate(texts, 1)]
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)
        written += sum(map(len, texts)) + 100 * len(texts)
        count += len(texts)
    connection.execute("COMMIT")
    connection.close()
    return count
