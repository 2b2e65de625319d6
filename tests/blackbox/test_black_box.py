"""Processes that write and read on every place while they, and what serves them, are killed: the checker finds no fault.

And in runs with planted losses it finds these. `python -m tests.blackbox` runs as long as one likes.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.blackbox.places import PLACES, prepare
from tests.blackbox.run import Outcome, run_place
from tests.edge.component import why_not
from virke.engine.database import Database

pytestmark = pytest.mark.once


def check(place: str, folder: Path, environ: pytest.MonkeyPatch, *, seconds: float, seed: int) -> Outcome:
    """A run without faults in which something happened."""
    if place == "edge" and (reason := why_not()):
        pytest.skip(reason)
    prepare(place, folder, environ)
    outcome = run_place(place, folder, seconds=seconds, seed=seed)
    print(outcome)
    assert outcome.faults == []
    assert (outcome.deaths > 0, len(outcome.history.reads) > 0) == (True, True)
    assert any(write.outcome == "kept" for write in outcome.history.writes)
    return outcome


def test_p1_to_p6_killed_processes_on_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("local", tmp_path, monkeypatch, seconds=2, seed=20_281)


@pytest.mark.prove
@pytest.mark.parametrize("place", PLACES)
def test_p1_to_p6_killed_processes_on_every_place(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(place, tmp_path, monkeypatch, seconds=30, seed=random.randrange(1 << 32))


def spoil(database: Database) -> None:
    """One answered write of a writer goes, another is there twice, half of a third goes."""
    for table in ("entry", "twin"):
        database.execute(f"DELETE FROM {table} WHERE number = 0")
        database.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE number = 1")
    database.execute("DELETE FROM twin WHERE number = 2")


def test_planted_losses_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("local", tmp_path, monkeypatch)
    outcome = run_place("local", tmp_path, seconds=0.5, seed=1, sabotage=spoil)
    found = {fault.split(":")[0] for fault in outcome.faults}
    assert found == {"lost in rows", "lost in twins", "doubled in rows", "doubled in twins", "in part"}


@pytest.mark.slow
def test_reads_that_are_older_than_promised_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database whose setting allows reads a minute old, held against the second that is promised by default."""
    prepare("seaweedfs", tmp_path, monkeypatch)
    outcome = run_place("seaweedfs", tmp_path, seconds=6, seed=2, settings={"max_staleness_ms": 60_000})
    assert any(fault.startswith("stale in a session read") for fault in outcome.faults)
