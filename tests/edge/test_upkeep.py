"""P13 in the component: what a write made due is done after its answer, a step at a time, within a step's instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.edge.serving import NAME, edge
from virke.edge.limits import LIMITS

TABLE: Final = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, body BLOB)"
INSERT: Final = "INSERT INTO t (body) VALUES (randomblob(?))"
TEXT: Final = "INSERT INTO t (body) VALUES (hex(randomblob(?)))"
STEP_INSTRUCTIONS: Final = 15_000_000
"""Of one step, which comes after the answer (decision 0030)."""


@pytest.mark.parametrize(("insert", "size", "count"), [(INSERT, 4_000, 60), (TEXT, 1_200, 90), (INSERT, 100, 250)])
def test_p13_steps_come_after_the_answer_and_within_their_instructions(
    component: Path, insert: str, size: int, count: int
) -> None:
    """Rows that can't be compressed, large and small, and rows that can, which is what costs most a byte."""
    with edge(component, reuse=1000, fuel=True) as app:
        app.execute(TABLE)
        after, due = [], 0
        for _ in range(count):
            said = app.execute(insert, size)
            assert said.status == 200, said.json
            app.host.settle()
            counts = said.response.after
            assert counts.lookups <= LIMITS.step_lookups
            after.append(counts.fuel)
            due += "virke-upkeep-due" in dict(said.response.headers)
        print(f"steps: {sorted(after)[-5:]} instructions; {due} answers said that upkeep is due")
        assert due
        assert max(after) <= STEP_INSTRUCTIONS
        with app.natively() as database:
            assert database.query("SELECT count(*) FROM t").rows == [(count,)]
            assert len(database.snapshot().root.segments) < 12


def test_p13_a_call_does_one_step(component: Path) -> None:
    """As the cron line of `deploy` has it: cold, and again until nothing is due."""
    with edge(component) as app:
        with app.natively() as database:
            database.execute(TABLE)
            for _ in range(40):
                database.execute(INSERT, (4_000,))
        steps, calls = 0, 0
        while (said := app.ask("POST", f"/db/{NAME}/upkeep")).json["due"]:
            assert said.status == 200, said.json
            assert said.json["steps"] <= 1
            steps += said.json["steps"]
            calls += 1
            assert calls < 200
        assert steps >= 2
        with app.natively() as database:
            assert database.query("SELECT count(*) FROM t").rows == [(40,)]
