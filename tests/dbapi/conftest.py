"""A connection to a database of its own for each test: embedded, or a node's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.conftest import name as name
from tests.client.conftest import served as served
from tests.client.conftest import where as where
from virke import dbapi

Connect = Callable[..., dbapi.Connection]


@pytest.fixture
def connect(where: str, name: str) -> Iterator[Connect]:
    """Opens connections to one database, and closes them in the end."""
    made: list[dbapi.Connection] = []

    def opened(**how: Any) -> dbapi.Connection:
        made.append(dbapi.connect(name, where, create="read_only" not in how, **how))
        return made[-1]

    yield opened
    for connection in made:
        connection.close()


@pytest.fixture
def con(connect: Connect) -> dbapi.Connection:
    """One connection, with a table of two rows."""
    made = connect()
    made.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL, data BLOB)")
    made.executemany("INSERT INTO item (name, price) VALUES (?, ?)", [("tea", 4.5), ("jam", 3.0)])
    made.commit()
    return made
