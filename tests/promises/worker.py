"""A process beside the tests: works on the database of a store until it is done or killed.

    worker.py <work> <store URL> [argument …]

It prints one line for each write that was answered, so whoever kills it knows what must be there.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import TypeVar

from virke.engine.database import Database
from virke.errors import Conflict, OutcomeUnknown, Unavailable
from virke.opening import connect
from virke.transfer import import_file

T = TypeVar("T")
INSERT = "INSERT INTO entry VALUES (?, randomblob(?))"
UNIT = 30


def say(*words: object) -> None:
    """One line, at once, and in one piece."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def rows(database: Database, name: str, times: str, threads: str, *sizes: str) -> None:
    """Add unique rows of these sizes in turn, in as many threads, so many times (0: for ever).

    A lost race is run again. Says token and version.
    """

    def work(thread: int) -> None:
        for number in range(int(times)) if int(times) else itertools.count():
            token, size = f"{name}-{thread}-{number}", int(sizes[number % len(sizes)]) if sizes else 0
            say(token, _until_won(partial(database.run, INSERT, (token, size))).version)

    _at_once(work, int(threads))


def _at_once(work: Callable[[int], None], threads: int) -> None:
    """Do `work` in as many threads."""
    running = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def attempts(database: Database, name: str, threads: str) -> None:
    """Add unique rows, a few of them large, for ever, whatever the store says. Says how each was answered."""

    def work(thread: int) -> None:
        for number in itertools.count():
            token, answer = f"{name}-{thread}-{number}", "kept"
            try:
                database.execute(INSERT, (token, 0 if number % 20 else 90_000))
            except OutcomeUnknown:
                answer = "open"
            except (Conflict, Unavailable):
                answer = "refused"
            say(answer, token)

    _at_once(work, int(threads))


def transfers(database: Database, seed: str, times: str) -> None:
    """Move money between accounts: as transactions that look first, and as batches. Ends with a row in `done`."""
    chance = random.Random(int(seed))
    for number in range(int(times)):
        source, target = chance.sample(range(8), 2)
        looks = number % 2 == 0
        _until_won(partial(_transfer, database, source, target, looks=looks))
        say(number)
    _until_won(lambda: database.execute("INSERT INTO done VALUES (?)", (seed,)))


def hits(database: Database, times: str) -> None:
    """Count hits by single statements; says what became of each."""
    for _ in range(int(times)):
        _tell(lambda: database.execute("UPDATE hits SET n = n + 1"))


def looks(database: Database, times: str) -> None:
    """Count hits by transactions that read the number before they write it; says what became of each."""

    def look() -> None:
        with database.transaction() as transaction:
            [(number,)] = transaction.query("SELECT n FROM hits").rows
            transaction.execute("UPDATE hits SET n = ?", (int(str(number)) + 1,))

    for _ in range(int(times)):
        _tell(look)


def _tell(work: Callable[[], object]) -> None:
    try:
        work()
    except Conflict:
        say("conflict")
    else:
        say("hit")


def _until_won(work: Callable[[], T]) -> T:
    """Do `work`, again after each lost race, and after a wait for others' turns that took too long on a busy machine."""
    while True:
        try:
            return work()
        except Conflict:
            continue
        except Unavailable as error:  # nothing was changed; any other reason is a failure
            if error.context.get("reason") != "turn":
                raise


def _transfer(database: Database, source: int, target: int, *, looks: bool) -> None:
    take = "UPDATE account SET balance = balance - 1 WHERE id = ?"
    give = "UPDATE account SET balance = balance + 1 WHERE id = ?"
    log = "INSERT INTO log VALUES (?, ?)"
    if not looks:
        database.batch([(take, (source,)), (give, (target,)), (log, (source, target))])
        return
    with database.transaction() as transaction:
        if transaction.query("SELECT balance FROM account WHERE id = ?", (source,)).rows != [(0,)]:
            transaction.execute(take, (source,))
            transaction.execute(give, (target,))
        transaction.execute(log, (source, target))


def reads(database: Database, consistency: str, writers: str) -> None:
    """Look at all accounts until every writer is done; says the number of transfers, the sum and the bookmark."""
    sql = "SELECT (SELECT count(*) FROM log), (SELECT sum(balance) FROM account), (SELECT count(*) FROM done)"
    while True:
        result = database.query(sql, consistency=consistency)
        [(count, total, done)] = result.rows
        say(count, total, result.version, result.bookmark)
        if done == int(writers):
            return


def numbers(start: str) -> Iterator[int]:
    """Numbers that no other round has."""
    return itertools.count(int(start))


def inserts(database: Database, start: str) -> None:
    """Add rows of all sizes for ever."""
    for number in numbers(start):
        database.execute(INSERT, (str(number), (0, 3000, 90_000)[number % 3]))
        say(number)


def imports(database: Database, start: str) -> None:
    """Import units of rows for ever."""
    for number in numbers(start):
        dump = "".join(f"INSERT INTO entry VALUES ('{number}.{row}', randomblob(3000));\n" for row in range(UNIT))
        import_file(database, BytesIO(dump.encode()))
        say(number)


def flushes(database: Database, start: str) -> None:
    """Add deferred rows and flush now and then, for ever."""
    for number in numbers(start):
        database.execute(INSERT, (str(number), (0, 3000)[number % 2]))
        say(number)
        if number % 5 == 4:
            database.flush()


def deferred(database: Database, start: str) -> None:
    """Add deferred rows for ever; they are pushed in the background."""
    for number in numbers(start):
        database.execute(INSERT, (str(number), 100))
        say(number)


def upkeep(database: Database, start: str) -> None:
    """Large rows, so that segments are merged, and collections without grace, for ever."""
    for number in numbers(start):
        database.execute(INSERT, (str(number), 70_000))
        say(number)
        if number % 2:
            database.execute("DELETE FROM entry WHERE token = 'scratch'")
            database.collect(grace_ms=0)


def promotes(database: Database, start: str) -> None:
    """Promote, then add large rows for ever."""
    say("begun")
    database.promote()
    inserts(database, start)


WORKS = {
    work.__name__: work
    for work in (rows, attempts, hits, looks, transfers, reads, inserts, imports, flushes, deferred, upkeep, promotes)
}

if __name__ == "__main__":
    chosen, url, *arguments = sys.argv[1:]
    with connect("ledger", url) as opened:
        WORKS[chosen](opened, *arguments)
