"""Who rides in one commit: those who line up while the programs of a group are run, and until when."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

import pytest

from tests.engine.world import Clock, make
from virke.engine import writer
from virke.engine.company import EMBEDDED_SHARE, JOINING_SHARE
from virke.engine.database import Database
from virke.engine.executing import execute_program
from virke.engine.programs import Program, Step
from virke.engine.queue import Pending
from virke.engine.serving import COMPANY_SHARE
from virke.errors import SqlError
from virke.stores.receipt import Receipt

COMMIT_S: Final = 8.0
"""How long the last commit took."""


class World:
    """A database of one thread, which leads: each program may see others line up while it is run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.db: Database = make(clock=self.clock)
        self.db.execute("CREATE TABLE t (n UNIQUE)")
        self.db._writer.groups.clear()
        self.db._writer.company.committed(2, COMMIT_S)
        self.meanwhile: dict[Pending, Callable[[], object]] = {}

        def run(connection: object, pending: Pending, *rest: object) -> object:
            self.meanwhile.get(pending, lambda: None)()
            return execute_program(connection, pending, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(writer, "execute_program", run)

    def line_up(self, pending: Pending) -> Pending:
        self.db._writer.queue.enqueue(pending)
        return pending

    def lead(self) -> dict[int, int]:
        """Carry out what waits; how many commits there were of how many programs."""
        self.db._writer.queue.lead()
        return dict(self.db._writer.groups)

    def numbers(self) -> list[object]:
        return [row[0] for row in self.db.query("SELECT n FROM t ORDER BY rowid").rows]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def insert(number: int, receipt: Receipt | None = None) -> Pending:
    return Pending(Program((Step("INSERT INTO t VALUES (?)", (number,)),), 0), receipt=receipt)


@pytest.mark.parametrize(
    ("share", "arrivals", "looks", "together"),
    [
        (EMBEDDED_SHARE, [6], 1, 8),
        (EMBEDDED_SHARE, [2, 2, 2], 3, 8),
        (EMBEDDED_SHARE, [2, 2, 0], 3, 6),
        (EMBEDDED_SHARE, [3, 1, 1, 0], 4, 7),
        (EMBEDDED_SHARE, [1, 5], 1, 3),
        (EMBEDDED_SHARE, [0, 6], 1, 2),
        (COMPANY_SHARE, [4, 2], 1, 6),
    ],
    ids=["all at once", "in time", "no more of them", "no more at the end", "too slow", "none", "on a node"],
)
def test_those_of_the_last_commit_are_waited_for_while_they_come_fast_enough(
    world: World, monkeypatch: pytest.MonkeyPatch, share: float, arrivals: list[int], looks: int, together: int
) -> None:
    """Eight rode in it, two are there: after each look so many more are. Who is waited for in vain costs one look."""
    waits = list[tuple[int, float]]()

    def wait_for(count: int, wait_s: float) -> None:
        for _ in range(arrivals[len(waits)]):
            world.line_up(insert(next(numbers)))
        waits.append((count, wait_s))

    numbers = count(1)
    monkeypatch.setattr(world.db._writer.queue, "wait_for", wait_for)
    world.db._writer.company.share = share
    world.db._writer.company.committed(8, COMMIT_S)
    for _ in range(2):
        world.line_up(insert(next(numbers)))
    assert world.lead() == {together: 1}
    assert waits == [(8, COMMIT_S * share)] * looks


def test_who_lines_up_while_a_group_is_run_rides_along(world: World) -> None:
    """In the order in which they came, also one that came while one that joined was run."""
    receipt = Receipt()
    world.line_up(insert(1))
    second = world.line_up(insert(2))
    third, fourth = insert(3, receipt), insert(4)
    world.meanwhile = {second: lambda: world.line_up(third), third: lambda: world.line_up(fourth)}
    assert world.lead() == {4: 1}
    assert world.numbers() == [1, 2, 3, 4]
    assert third.done
    assert fourth.done
    assert receipt.shared_by == 4


def test_the_error_of_one_that_joined_is_its_own(world: World) -> None:
    """It is undone by itself, and what joins after it is not touched."""
    world.line_up(insert(1))
    second = world.line_up(insert(2))
    third, fourth = insert(2), insert(4)
    world.meanwhile = {second: lambda: (world.line_up(third), world.line_up(fourth))}
    assert world.lead() == {4: 1}
    assert world.numbers() == [1, 2, 4]
    assert isinstance(third.error, SqlError)
    assert fourth.error is None


@pytest.mark.parametrize("too_late_s", [0.0, 0.01])
def test_nobody_joins_a_group_that_has_run_for_long(world: World, too_late_s: float) -> None:
    """A quarter of the last commit is how much longer the first of them may wait for the others."""

    def long_after() -> None:
        world.clock.pass_s(COMMIT_S * JOINING_SHARE - 0.005 + too_late_s)
        world.line_up(insert(3))

    world.line_up(insert(1))
    world.meanwhile = {world.line_up(insert(2)): long_after}
    assert world.lead() == ({2: 1, 1: 1} if too_late_s else {3: 1})
    assert world.numbers() == [1, 2, 3]


def test_nobody_joins_one_that_is_alone(world: World) -> None:
    """It is run without a savepoint: its error could not be told from another's work."""
    first = world.line_up(insert(1))
    world.meanwhile = {first: lambda: world.line_up(insert(2))}
    assert world.lead() == {1: 2}
    assert world.numbers() == [1, 2]


def test_what_does_not_fit_is_another_commit(world: World) -> None:
    """A program with another mode of foreign keys waits, and so does what came after it."""
    world.line_up(insert(1))
    second = world.line_up(insert(2))
    other = Pending(Program((Step("INSERT INTO t VALUES (3)"),), 0, foreign_keys=True))
    world.meanwhile = {second: lambda: (world.line_up(other), world.line_up(insert(4)))}
    assert world.lead() == {2: 1, 1: 2}
    assert world.numbers() == [1, 2, 3, 4]
