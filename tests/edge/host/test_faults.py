"""What is commanded happens, and nothing else."""

from __future__ import annotations

import pytest

from virke.edge.host.faults import Fault, Faults, FaultyItems
from virke.edge.host.items import Item, MemoryItems, Mode, Refusal, Write
from virke.edge.host.values import Trap


def _data(found: Item | Refusal | None) -> bytes | None:
    assert not isinstance(found, Refusal)
    return None if found is None else found.data


def test_without_faults_it_is_exact() -> None:
    faults = Faults()
    items = FaultyItems(MemoryItems(), faults)
    for n in range(100):
        assert items.insert(Write("a", b"%d" % n)) is None
        assert _data(items.lookup("a")) == b"%d" % n
    assert faults.happened == []


@pytest.mark.parametrize(
    ("fault", "answer", "applied"),
    [
        (Fault.MISMATCH, Refusal.PRECONDITION, False),
        (Fault.RATE_LIMIT, Refusal.TOO_MANY, False),
        (Fault.DROP, Refusal.INTERNAL, False),
        (Fault.LOSE, Refusal.INTERNAL, True),
    ],
)
def test_a_write_that_goes_wrong(fault: Fault, answer: Refusal, applied: bool) -> None:
    faults = Faults()
    items = FaultyItems(MemoryItems(), faults)
    faults.plan(fault, key="register/", skip=1)
    assert items.insert(Write("blobs/a", b"1", Mode.ADD)) is None
    assert items.insert(Write("register/a", b"1", Mode.ADD)) is None
    assert items.insert(Write("register/b", b"1", Mode.ADD)) is answer
    assert (items.lookup("register/b") is not None) == applied
    assert items.insert(Write("register/c", b"1", Mode.ADD)) is None
    assert faults.happened == [("insert", "register/b", fault)]


@pytest.mark.parametrize(("fault", "applied"), [(Fault.TRAP, False), (Fault.TRAP_AFTER, True)])
def test_a_sandbox_that_ends(fault: Fault, applied: bool) -> None:
    faults = Faults()
    items = FaultyItems(MemoryItems(), faults)
    faults.plan(fault)
    with pytest.raises(Trap):
        items.insert(Write("a", b"1"))
    assert (items.lookup("a") is not None) == applied


def test_a_lookup_that_goes_wrong() -> None:
    faults = Faults()
    items = FaultyItems(MemoryItems(), faults)
    items.insert(Write("a", b"1"))
    for fault in (Fault.HIDE, Fault.RATE_LIMIT, Fault.DROP):
        faults.plan(fault, "lookup")
    assert [items.lookup("a") for _ in range(3)] == [None, Refusal.TOO_MANY, Refusal.INTERNAL]
    assert _data(items.lookup("a")) == b"1"


def test_a_late_read_shows_what_was_true_within_the_time_and_nothing_older() -> None:
    now = [100.0]
    faults = Faults(stale_s=2.0, clock=lambda: now[0], late=lambda _choices: 0)
    items = FaultyItems(MemoryItems(), faults)
    for second, data in enumerate((b"0", b"1", b"2")):
        now[0] = 100.0 + second
        items.insert(Write("a", data))
    shown = []
    for at in (102.0, 102.5, 103.5, 104.5):
        now[0] = at
        shown.append(_data(items.lookup("a")))
    assert shown == [None, b"0", b"1", b"2"]
