"""A client in a process of its own: writes or reads for ever, until it is killed.

    client.py write|strong|session NAME WHERE

WHERE is a store or a node. It prints a line before each write (`try`), one for its answer, and one for each read, with
the time of the machine's clock; a parent that reads these knows what must be true.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from virke.errors import Conflict, OutcomeUnknown, TimedOut, Unavailable, VirkeError
from virke.opening import connect

DATABASE = "blackbox"
BREATH_S = 0.004
"""Between two requests of a client: enough rows to count, few enough to count them all each time."""
PAUSE_S = 0.05
TABLES = ("CREATE TABLE entry (writer TEXT, number INTEGER)", "CREATE TABLE twin (writer TEXT, number INTEGER)")
INSERTS = ("INSERT INTO entry VALUES (?, ?)", "INSERT INTO twin VALUES (?, ?)")
COUNTS = (
    "SELECT writer, count(*), count(DISTINCT number), (SELECT count(*) FROM twin WHERE twin.writer = entry.writer) "
    "FROM entry GROUP BY writer"
)
NOTHING_CHANGED = (Conflict, Unavailable, TimedOut)


def say(*words: object) -> None:
    """One line, at once, and in one piece."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write(database: Any, name: str) -> None:
    """Rows for ever: every second one under a key, sent again until it is answered; the others once."""
    for number in itertools.count():
        say("try", time.monotonic_ns(), number)
        key = f"{name}-{number}" if number % 2 else None
        say(_outcome(database, name, number, key), time.monotonic_ns(), number)
        time.sleep(BREATH_S)


def _outcome(database: Any, name: str, number: int, key: str | None) -> str:
    while True:
        try:
            database.batch([(sql, (name, number)) for sql in INSERTS], idempotency_key=key)
        except (*NOTHING_CHANGED, OutcomeUnknown) as error:
            if key is None:
                return "open" if isinstance(error, OutcomeUnknown) else "refused"
            time.sleep(PAUSE_S)
        else:
            return "kept"


def read(database: Any, consistency: str) -> None:
    """How many rows each writer has, for ever."""
    while True:
        began_ns = time.monotonic_ns()
        try:
            rows = database.query(COUNTS, consistency=consistency).rows
        except NOTHING_CHANGED:
            time.sleep(PAUSE_S)
            continue
        say("read", began_ns, time.monotonic_ns(), json.dumps({writer: counts for writer, *counts in rows}))
        time.sleep(BREATH_S)


def opened(where: str) -> AbstractContextManager[Any]:
    """The database, once its place answers."""
    while True:
        try:
            return connect(DATABASE, where)
        except Unavailable:
            time.sleep(PAUSE_S)


def main(work: str, name: str, where: str) -> None:
    """Work until killed; what is no answer of a busy or missing place ends it, and is said."""
    acts: dict[str, Callable[[Any], None]] = {"write": lambda database: write(database, name)}
    try:
        with opened(where) as database:
            acts.get(work, lambda there: read(there, work))(database)
    except VirkeError as error:
        say("failed", repr(error))
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
