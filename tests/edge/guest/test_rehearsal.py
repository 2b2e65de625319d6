"""What was rehearsed while the component was built decides nothing that a sandbox draws (decision 0032)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.edge.serving import NAME, Edge, edge
from virke.core.effects import Record
from virke.core.ids import ID_BYTES, TAG_BYTES
from virke.core.pins import root_key
from virke.core.root import Root, decode_record
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.stores.base import Store

pytestmark = pytest.mark.once
SANDBOXES: Final = 4
REHEARSED: Final = "rehearsal"


def _commit_id(store: Store) -> bytes:
    seen = store.register.read(root_key(NAME))
    assert isinstance(seen, Record)
    root = decode_record(seen.data, NAME)
    assert isinstance(root, Root)
    return root.head.commit_id


def _inserted(app: Edge) -> bytes:
    app.execute("INSERT INTO t VALUES (1)", fresh=True)
    return _commit_id(app.store)


def test_no_two_new_sandboxes_make_the_same_commit_id(component: Path) -> None:
    """P1–P3: nor share the random part of one, or the tag by which a sandbox knows its own."""
    with edge(component) as app:
        app.execute("CREATE TABLE t (x)")
        ids = [_inserted(app) for _ in range(SANDBOXES)]
    assert {len(one) for one in ids} == {ID_BYTES}
    assert len({one[: ID_BYTES - TAG_BYTES] for one in ids}) == SANDBOXES
    assert len({one[ID_BYTES - TAG_BYTES :] for one in ids}) == SANDBOXES


@pytest.mark.parametrize("function", ["randomblob(8)", "cast(random() AS TEXT)"])
def test_no_two_new_sandboxes_draw_the_same_from_sqlite(component: Path, function: str) -> None:
    """SQLite's state was forgotten: in a read, and in a write, whose value is stored."""
    with edge(component) as app:
        app.execute("CREATE TABLE t (x)")
        read = [app.query(f"SELECT hex({function})", fresh=True).rows[0][0] for _ in range(SANDBOXES)]
        for _ in range(SANDBOXES):
            app.execute(f"INSERT INTO t VALUES (hex({function}))", fresh=True)
        written = [row[0] for row in app.query("SELECT x FROM t").rows]
    assert len(set(read + written)) == 2 * SANDBOXES


def test_what_was_rehearsed_is_not_there(component: Path) -> None:
    """Its database is of no store, and one of that name is like any other."""
    with edge(component) as app:
        assert app.ask("POST", f"/db/{REHEARSED}/query", {"sql": "SELECT 1"}, fresh=True).status == 404
        make_database(app.store, REHEARSED, Environment(), if_not_exists=False, page_size=4096)
        said = app.ask("POST", f"/db/{REHEARSED}/query", {"sql": "SELECT count(*) FROM sqlite_schema"}, fresh=True)
        assert said.rows == [[0]]
