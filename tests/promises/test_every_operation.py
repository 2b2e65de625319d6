"""Every scenario, with every fault at every one of its store operations: whatever happened, the promises hold.

The number of operations is counted in a clean run, so a scenario that grows is covered without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import Ledger, check_integrity, check_store, exercise, opened
from tests.promises.scenarios import SCENARIOS, Stage
from virke.errors import OutcomeUnknown
from virke.stores.base import Store
from virke.stores.faulty import (
    At,
    Crash,
    CrashAfter,
    CrashBefore,
    DeliverLate,
    DeliverTwice,
    Fault,
    FaultyStore,
    LoseAnswer,
    LoseRequest,
    Refuse,
)
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.once

FOR_EVER: Final = 300
"""More operations than any run has left."""
NEVER: Final = 10_000


def _once(fault: Fault) -> Callable[[int], list[At]]:
    return lambda n: [At(n, fault)]


def _then_dead(fault: Fault) -> Callable[[int], list[At]]:
    """After a crash nothing more is asked for, whatever `finally` blocks try."""
    return lambda n: [At(n, fault), *(At(later, CrashBefore()) for later in range(n + 1, n + FOR_EVER))]


def _from_then_on(fault: Fault) -> Callable[[int], list[At]]:
    return lambda n: [At(later, fault) for later in range(n, n + FOR_EVER)]


FAULTS: Final[dict[str, Callable[[int], list[At]]]] = {
    "crash-before": _then_dead(CrashBefore()),
    "crash-after": _then_dead(CrashAfter()),
    "refused": _once(Refuse()),
    "answer-lost": _once(LoseAnswer()),
    "request-lost": _once(LoseRequest()),
    "late-soon": _once(DeliverLate(2)),
    "late-afterwards": _once(DeliverLate(NEVER)),
    "twice-soon": _once(DeliverTwice(2)),
    "twice-afterwards": _once(DeliverTwice(NEVER)),
    "down": _from_then_on(Refuse()),
    "answers-lost-for-ever": _from_then_on(LoseAnswer()),
    "silent-for-ever": _from_then_on(LoseRequest()),
}
HARDEST: Final = ("crash-after", "answer-lost", "down")
"""These at every operation in the fast suite, and one of the others in turn."""
DOUBTFUL: Final = (LoseAnswer, LoseRequest, DeliverLate)


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a scenario, its faults by name, and the operation that they begin at."""

    scenario: str
    fault: str
    n: int


def play(case: Case, inner: Store, folder: Path) -> tuple[FaultyStore, Ledger]:
    """Run the scenario with the fault, until its end or the crash."""
    faulty, ledger = FaultyStore(inner, FAULTS[case.fault](case.n) if case.n else ()), Ledger()
    try:
        ledger.attempt(lambda: SCENARIOS[case.scenario](Stage(faulty.store, inner, folder, ledger)))
    except Crash:
        assert case.fault.startswith("crash")
    return faulty, ledger


def operations(scenario: str, folder: Path, make: Callable[[], Store] = memory_store) -> int:
    """How many store operations a clean run makes."""
    faulty, ledger = play(Case(scenario, "", 0), make(), folder)
    assert ledger.open == set()
    assert [error for error in ledger.errors if error.kind != "conflict"] == []
    return len(faulty.log)


def check(case: Case, inner: Store, folder: Path) -> None:
    """Play, recover on a fresh connection, and check all promises; then deliver what is late, and check again."""
    faulty, ledger = play(case, inner, folder)
    if any(isinstance(error, OutcomeUnknown) for error in ledger.errors):
        # A mismatch may answer a repeat of one's own success, and a rival makes mismatches (core/commit.py, rule 2).
        doubt = case.scenario in ("race", "stall") or any(
            isinstance(operation.fault, DOUBTFUL) for operation in faulty.log
        )
        assert doubt, "unknown without a lost answer"
    with opened(inner, folder) as database:
        database.flush()
        ledger.check(database)
        check_integrity(database)
        before = check_store(inner)
        faulty.deliver_late()
        there = ledger.check(database)
        exercise(database, ledger, "again")
        assert ledger.check(database) - there == {f"again-{name}" for name in (*range(5), "last")}
        check_integrity(database)
        after = check_store(inner)
    assert {version: after.get(version, checksum) for version, checksum in before.items()} == before


def cases(scenario: str, total: int, *, fast: bool) -> Iterator[Case]:
    """Every operation with every fault; in the fast suite with the hardest and one of the others."""
    others = [fault for fault in FAULTS if fault not in HARDEST]
    for n in range(1, total + 1):
        for number, fault in enumerate(others):
            if (n % len(others) == number) == fast:
                yield Case(scenario, fault, n)
        for fault in HARDEST if fast else ():
            yield Case(scenario, fault, n)


def run_all(found: Iterator[Case], make: Callable[[Case], Store], folder: Path) -> None:
    """Check every case; the failure names it, so that it can be played alone."""
    number = 0
    for number, case in enumerate(found, 1):
        place = folder / str(number)
        place.mkdir()
        try:
            check(case, make(case), place)
        except BaseException as error:
            error.add_note(f"in {case}")
            raise
    print(f"{number} runs, each with a fault")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_p1_to_p8_a_fault_at_every_operation(scenario: str, tmp_path: Path) -> None:
    """P1, P2, P3, P4, P6, P8: nothing lost, doubled, torn, or deleted too early."""
    total = operations(scenario, tmp_path)
    run_all(cases(scenario, total, fast=True), lambda case: memory_store(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_p1_to_p8_every_other_fault_at_every_operation(scenario: str, tmp_path: Path) -> None:
    total = operations(scenario, tmp_path)
    run_all(cases(scenario, total, fast=False), lambda case: memory_store(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_p1_to_p8_faults_over_the_local_store(scenario: str, tmp_path: Path) -> None:
    """A sample: every third operation, the hardest faults."""
    total = operations(scenario, tmp_path, lambda: local_store(tmp_path / "clean"))
    sample = (case for case in cases(scenario, total, fast=True) if case.n % 3 == 0 and case.fault in HARDEST)
    run_all(sample, lambda case: local_store(tmp_path / f"{case.fault}-{case.n}"), tmp_path)
