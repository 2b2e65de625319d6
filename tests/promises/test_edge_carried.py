"""A sandbox that knows nothing passes interior pages in the root, and reads segments where the root's bytes are not theirs.

Natively, on a KV store without ranges that counts.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.edge.serving import NAME
from tests.edge.sizes import INSERT, SELECT, filled, grow, row
from tests.engine.sandbox import Sandbox
from tests.promises.ledger import check_integrity
from virke.core import chain_step
from virke.core.carried import Place, frames_in
from virke.core.effects import Tier
from virke.core.extensions import Extension
from virke.core.recent import Key
from virke.engine import indexes
from virke.engine.database import Database
from virke.stores.base import Store

INSERTS = 540
"""An interior page was written more than a spill ago: not inline any more, and not in the imported segment."""
INSERTS_LATER = 1_400
"""Several merges were moved, and an index has split."""
Held = dict[Key, dict[Place, bytes]]
Found = tuple[Store, int]


@pytest.fixture(scope="module", params=list(Tier), ids=lambda tier: tier.value)
def found(request: pytest.FixtureRequest) -> Found:
    """An imported database of 1.7 MB in either tier, grown by the edge alone, and the number of its imported rows."""
    store, rows = filled(1.0)
    if request.param is Tier.OBJECT:
        with Database(store, NAME) as database:
            database.promote()
    grow(store, 1, INSERTS)
    return store, rows


def cold_lookups(found: Found) -> int:
    """The worst of some rows, each asked for by a sandbox that knows nothing."""
    store, rows = found
    worst = 0
    for number in (1, rows // 2, rows):
        sandbox = Sandbox(store, name=NAME)
        with sandbox.request() as database:
            assert len(database.query(SELECT, (number,)).rows) == 1
        worst = max(worst, asked(sandbox))
    return worst


def asked(sandbox: Sandbox) -> int:
    """How often its request asked either tier."""
    return sandbox.counts.lookups + sandbox.counts.requests


def instead(monkeypatch: pytest.MonkeyPatch, changed: Callable[[bytes], bytes]) -> None:
    """What sandboxes find in roots, changed."""

    def wrong(extensions: tuple[Extension, ...]) -> Held:
        return {key: {at: changed(data) for at, data in held.items()} for key, held in frames_in(extensions).items()}

    monkeypatch.setattr(indexes, "frames_in", wrong)


def test_interior_pages_take_no_lookup(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, the imported segment's index, a leaf."""
    assert cold_lookups(found) == 3
    instead(monkeypatch, lambda data: data[:-1])
    assert cold_lookups(found) > 3


@pytest.mark.parametrize("inside", ["all", "only those of hot pages"])
def test_what_the_root_carries_outlives_a_move_to_object_storage(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge is made in KV, and moved: the frames of the copy are where they were. Without that, a row took five.

    Also where entries of the merge are not in its index, as after some thousand inserts.
    """
    if inside != "all":
        monkeypatch.setattr(chain_step, "_INSIDE_BYTES", 0)
    store, rows = filled(1.0)
    with Database(store, NAME) as database:
        database.promote()
    grow(store, 1, INSERTS_LATER)
    worst = 0
    for number in range(INSERTS_LATER + 1, INSERTS_LATER + 61):
        sandbox = Sandbox(store, name=NAME)
        with sandbox.request() as database:
            database.execute(INSERT, row(number))
            worst = max(worst, asked(sandbox))
            if database.upkeep_due:
                database.serving.upkeep_step()
    assert worst <= 3
    assert cold_lookups((store, rows)) == 3


@pytest.mark.parametrize("at", [0, 9, -1])
def test_p11_bytes_that_no_checksum_fits_are_read_from_the_segment(
    found: Found, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    def flipped(data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[at] ^= 4
        return bytes(damaged)

    instead(monkeypatch, flipped)
    cold_lookups(found)
    with Sandbox(found[0], name=NAME).request() as database:
        assert database.query("SELECT count(*) FROM items").rows == [(found[1] + INSERTS,)]
    with Database(found[0], NAME) as node:
        check_integrity(node)
