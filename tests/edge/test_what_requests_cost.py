"""What docs/edge.md says a request costs, in lookups and writes of the KV store: counted on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge.serving import NAME, Edge, Said, edge
from tests.edge.sizes import INSERT, SELECT, filled
from virke.core.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "edge.md").read_text()
pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.fixture(scope="module")
def app(component: Path) -> Iterator[Edge]:
    """A sandbox that has served a read and a write of a 1 MB database, with a token."""
    store, _ = filled(1.0, tier="kv")
    with edge(component, store, with_token=True, reuse=1000) as running:
        running.query(SELECT, 5)
        running.execute(INSERT, "first", "body", 1)
        running.host.settle()
        yield running


def costs(app: Edge, ask: Callable[[int], Said], status: int = 200) -> tuple[int, int]:
    """Lookups and writes of one request: the one in the middle of three.

    A sandbox reads the tokens again every five seconds, and a write after a step of upkeep knows the root already.
    """
    found = []
    for number in range(3):
        said = ask(number)
        assert said.status == status, said.json
        app.host.settle()
        found.append((said.response.counts.lookups, said.response.counts.writes))
    return sorted(found)[1]


def test_a_read_in_a_sandbox_that_is_used_again_costs_nothing(app: Edge) -> None:
    assert costs(app, lambda _: app.query(SELECT, 5)) == (0, 0)


def test_a_read_looks_at_the_root_again_when_its_last_look_is_older_than_the_setting_says(app: Edge) -> None:
    """By default after a second; here at once, and then never."""
    found = []
    for age_ms in (0, 86_400_000):
        with app.natively() as database:
            database.change_settings({"max_staleness_ms": age_ms})
        app.query(SELECT, 5, fresh=True)
        found.append(costs(app, lambda _: app.query(SELECT, 5)))
    with app.natively() as database:
        database.change_settings({"max_staleness_ms": 1000})
    app.query(SELECT, 5, fresh=True)
    assert found == [(1, 0), (0, 0)]
    assert "`max_staleness_ms`, a [setting](settings.md), is 1000" in PAGE
    assert Settings().max_staleness_ms == 1000


def test_what_is_due_after_a_small_write_takes_a_third_of_a_write_more(app: Edge) -> None:
    """After answers: what the root carries goes into a segment, an object and a root; some of those are merged."""
    writes, after = set(), []
    for number in range(90):
        said = app.execute(INSERT, f"due {number}", "body", 1)
        app.host.settle()
        writes.add(said.response.counts.writes)
        after.append(said.response.after.writes)
    assert writes == {1}
    assert set(after) <= {0, 1, 2}
    assert 20 <= sum(after) <= 30, after
    assert "1.3 writes in all" in PAGE


def test_a_write_costs_a_lookup_and_a_write_however_many_statements(app: Edge) -> None:
    assert costs(app, lambda number: app.execute(INSERT, f"one {number}", "body", 1)) == (1, 1)

    def batch(number: int) -> Said:
        many = [{"sql": INSERT, "params": [f"{number} of many {n}", "body", 1]} for n in range(10)]
        return app.ask("POST", f"/db/{NAME}/batch", {"statements": many})

    assert costs(app, batch) == (1, 1)


def test_a_strong_read_costs_a_lookup_and_a_write(app: Edge) -> None:
    """The store's reads may be late, so the root is proved by writing it."""
    assert costs(app, lambda _: app.query(SELECT, 5, virke_consistency="strong")) == (1, 1)


def test_a_write_that_fails_costs_as_much_as_one_that_does_not(app: Edge) -> None:
    """What it was refused for has to be the newest state."""
    failing = "INSERT INTO items (id, sku, body, cents) VALUES (1, 'taken', '', 1)"
    assert costs(app, lambda _: app.execute(failing), 400) == (1, 1)


def test_a_bookmark_of_this_sandbox_costs_nothing_and_one_of_another_a_lookup(app: Edge) -> None:
    """What another place wrote is seen by whoever brings its bookmark, and by others a moment later."""
    own = app.execute(INSERT, "own", "body", 1).json["bookmark"]
    app.host.settle()
    assert costs(app, lambda _: app.query(SELECT, 5, virke_bookmark=own)) == (0, 0)

    def after_another(number: int) -> Said:
        with app.natively() as database:
            other = str(database.run(f"UPDATE items SET cents = {number} WHERE id = 5").bookmark)
        said = app.query(SELECT, 5, virke_bookmark=other)
        assert said.rows[0][1] == number
        return said

    assert costs(app, after_another) == (1, 0)
