"""Each fault does what it says and nothing else; a plan or a seed gives the same faults every time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stores.conformance import BlobsConformance, RegisterConformance, generation_of
from virke.core.effects import Absent, Generation, Lost, Mismatch, Record, Stored, Swapped, Tier, Unchanged
from virke.errors import Exists, Invalid, Unavailable, VirkeError
from virke.stores.base import Call, Consistency, Range, Store
from virke.stores.faulty import (
    At,
    Chances,
    Crash,
    CrashAfter,
    CrashBefore,
    DeliverLate,
    DeliverTwice,
    Fault,
    FaultyStore,
    LoseAnswer,
    LoseRequest,
    Operation,
    ReadStale,
    Refuse,
)
from virke.stores.memory import memory_store


class TestFaultlessRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return FaultyStore(memory_store()).store


class TestFaultlessBlobs(BlobsConformance):
    @pytest.fixture
    def store(self) -> Store:
        return FaultyStore(memory_store(object_bytes_max=100_000)).store


def data_of(store: Store, key: str = "k") -> bytes | None:
    """What the register holds, None if nothing."""
    record = store.register.read(key)
    return record.data if isinstance(record, Record) else None


def answer_of(call: Callable[..., object], *arguments: object) -> type:
    """The type of what a call answered or raised."""
    try:
        return type(call(*arguments))
    except (Crash, VirkeError) as error:
        return type(error)


@pytest.mark.parametrize(
    ("fault", "answer", "applied"),
    [
        (CrashBefore(), Crash, False),
        (CrashAfter(), Crash, True),
        (Refuse(), Unavailable, False),
        (LoseAnswer(), Lost, True),
        (LoseRequest(), Lost, False),
        (DeliverLate(1), Lost, False),
    ],
)
def test_a_write_fails_as_planned(fault: Fault, answer: type, applied: bool) -> None:
    """The second operation of each kind gets the fault's answer, and is or is not carried out; all others work."""
    inner = memory_store()
    inner.register.swap("gone", b"", None)
    inner.blobs[Tier.KV].put_new("gone", b"")
    gone = generation_of(inner.register, "gone")
    calls: dict[Call, Callable[[Store], object]] = {
        Call.SWAP: lambda store: store.register.swap("k", b"1", None),
        Call.REMOVE: lambda store: store.register.remove("gone", gone),
        Call.PUT: lambda store: store.blobs[Tier.KV].put_new("k", b"1"),
        Call.DELETE: lambda store: store.blobs[Tier.KV].delete(["gone"]),
    }
    for call, perform in calls.items():
        store = FaultyStore(inner, [At(2, fault)]).store
        store.register.read("other")
        expected = Unavailable if call is Call.DELETE and answer is Lost else answer
        assert answer_of(perform, store) is expected, call
    blobs = inner.blobs[Tier.KV]
    assert data_of(inner) == (b"1" if applied else None)
    assert data_of(inner, "gone") == (None if applied else b"")
    assert blobs.get([Range("k"), Range("gone")]) == ([b"1", Absent()] if applied else [Absent(), b""])


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (CrashBefore(), Crash),
        (CrashAfter(), Crash),
        (Refuse(), Unavailable),
        (LoseAnswer(), Unavailable),
        (LoseRequest(), Unavailable),
    ],
)
def test_a_read_fails_as_planned(fault: Fault, answer: type) -> None:
    """Reads have no `Lost`: what does not come is `Unavailable`; the next one works."""
    calls: list[Callable[[Store], object]] = [
        lambda store: store.register.read("k"),
        lambda store: list(store.register.keys("")),
        lambda store: store.blobs[Tier.KV].get([Range("k")]),
        lambda store: list(store.blobs[Tier.KV].list("")),
    ]
    for call in calls:
        store = FaultyStore(memory_store(), [At(1, fault)]).store
        assert answer_of(call, store) is answer
        call(store)


def test_a_crash_is_not_an_exception() -> None:
    """`except Exception` does not live through it."""
    assert not issubclass(Crash, Exception)


def test_a_plan_counts_per_call_too() -> None:
    """`At(2, …, Call.SWAP)` is the second swap, whatever lies between."""
    faulty = FaultyStore(memory_store(), [At(2, Refuse(), Call.SWAP)])
    register = faulty.store.register
    register.swap("a", b"", None)
    register.read("a")
    with pytest.raises(Unavailable):
        register.swap("b", b"", None)
    assert isinstance(register.swap("b", b"", None), Swapped)


def test_operations_of_all_parts_are_counted_together() -> None:
    """The register and the blobs of both tiers have one count, and the log tells call, key, bytes sent and fault."""
    faulty = FaultyStore(memory_store(), [At(3, LoseAnswer())])
    faulty.store.register.swap("k", b"12345", None)
    faulty.store.blobs[Tier.KV].put_new("a", b"12")
    faulty.store.blobs[Tier.OBJECT].put_new("b", b"123")
    faulty.store.blobs[Tier.OBJECT].get([Range("b", 0, 1), Range("b", 1, 1), Range("a")])
    assert faulty.log == [
        Operation(1, Call.SWAP, "k", 5, None),
        Operation(2, Call.PUT, "a", 2, None),
        Operation(3, Call.PUT, "b", 3, LoseAnswer()),
        Operation(4, Call.GET, "b a", 0, None),
    ]


def test_a_late_swap_arrives_before_the_kth_operation() -> None:
    """It is unseen until then; then it is applied, if its base is still there."""
    inner = memory_store()
    store = FaultyStore(inner, [At(1, DeliverLate(3))]).store
    assert isinstance(store.register.swap("k", b"late", None), Lost)
    assert [store.register.read("k"), store.register.read("k")] == [Absent(), Absent()]
    assert data_of(store) == b"late"


def test_a_late_swap_that_was_overtaken_changes_nothing() -> None:
    """Compare-and-swap holds for what comes late."""
    store = FaultyStore(memory_store(), [At(1, DeliverLate(2))]).store
    store.register.swap("k", b"late", None)
    assert isinstance(store.register.swap("k", b"first", None), Swapped)
    assert data_of(store) == b"first"


def test_a_duplicate_is_delivered_once_more() -> None:
    """A put answered as `Stored`, then deleted, is there again when its duplicate arrives."""
    store = FaultyStore(memory_store(), [At(1, DeliverTwice(3))]).store
    blobs = store.blobs[Tier.KV]
    assert blobs.put_new("k", b"1") == Stored()
    blobs.delete(["k"])
    assert blobs.get([Range("k")]) == [Absent()]
    assert blobs.get([Range("k")]) == [b"1"]


def test_a_duplicate_that_fails_goes_nowhere() -> None:
    """A duplicate that meets other bytes raises in nobody's call; a duplicate swap is a mismatch to nobody."""
    faulty = FaultyStore(memory_store(), [At(1, DeliverTwice(3)), At(4, DeliverTwice(1))])
    blobs, register = faulty.store.blobs[Tier.KV], faulty.store.register
    blobs.put_new("k", b"1")
    blobs.delete(["k"])
    blobs.put_new("k", b"2")
    assert isinstance(register.swap("k", b"1", None), Swapped)
    assert isinstance(register.swap("k", b"2", generation_of(register, "k")), Swapped)
    assert blobs.get([Range("k")]) == [b"2"]
    assert data_of(faulty.store) == b"2"


def test_what_is_under_way_can_be_delivered_at_once() -> None:
    """`deliver_late` ends the waiting."""
    inner = memory_store()
    faulty = FaultyStore(inner, [At(1, DeliverLate(100))])
    faulty.store.register.swap("k", b"late", None)
    assert data_of(inner) is None
    faulty.deliver_late()
    assert data_of(inner) == b"late"


def test_a_stale_read_answers_what_was_there_before() -> None:
    """One or two changes back, down to `Absent`, never further; with its own generation it is `Unchanged`."""
    plan = [At(n, ReadStale(back), Call.READ) for n, back in enumerate([0, 1, 2, 9], start=2)]
    faulty = FaultyStore(memory_store(), [*plan, At(6, ReadStale(1), Call.READ)], eventual=True)
    register = faulty.store.register
    register.swap("k", b"1", None)
    first = generation_of(register, "k")
    assert isinstance(register.swap("k", b"2", first), Swapped)
    assert [data_of(faulty.store) for _ in range(4)] == [b"2", b"1", None, None]
    assert register.read("k", first) == Unchanged()
    assert data_of(faulty.store) == b"2"


def test_a_stale_read_sees_removals_and_foreign_swaps() -> None:
    """What another client changed, or removed, is part of what the register really held."""
    inner = memory_store()
    inner.register.swap("k", b"foreign", None)
    faulty = FaultyStore(inner, [At(2, ReadStale(1)), At(3, ReadStale(2))], eventual=True)
    faulty.store.register.remove("k", generation_of(inner.register, "k"))
    inner.register.swap("k", b"again", None)
    assert data_of(faulty.store) is None
    assert data_of(faulty.store) == b"foreign"


def test_stale_reads_need_an_eventual_store() -> None:
    """A store that promises linearizable reads can't be planned to break it, and one that may says so."""
    for plan, chances in [([At(1, ReadStale(1))], Chances()), ([], Chances(read_stale=0.1))]:
        with pytest.raises(Invalid):
            FaultyStore(memory_store(), plan, chances=chances)
    assert FaultyStore(memory_store(), eventual=True).store.register.consistency is Consistency.EVENTUAL
    assert FaultyStore(memory_store()).store.register.consistency is Consistency.LINEARIZABLE


def test_chances_above_one_are_invalid() -> None:
    """They would hide the last faults."""
    with pytest.raises(Invalid):
        FaultyStore(memory_store(), chances=Chances(refuse=0.6, lose_answer=0.6))


@pytest.mark.parametrize("fault", [ReadStale(1), DeliverLate(1), DeliverTwice(1)])
def test_a_fault_that_cannot_befall_passes_by(fault: Fault) -> None:
    """A stale swap and a late read are no faults: the call works, and the log says that nothing befell it."""
    faulty = FaultyStore(memory_store(), [At(1, fault), At(2, ReadStale(1))], eventual=True)
    if isinstance(fault, ReadStale):
        assert isinstance(faulty.store.register.swap("k", b"", None), Swapped)
    else:
        assert faulty.store.register.read("k") == Absent()
    assert faulty.store.register.swap("k", b"", Generation("none")) == Mismatch()
    assert [operation.fault for operation in faulty.log] == [None, None]


def _story(seed: int) -> tuple[FaultyStore, list[type]]:
    """A hundred swaps and puts under chance, and their answers."""
    chances = Chances(0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    faulty = FaultyStore(memory_store(), seed=seed, chances=chances, eventual=True)
    register, blobs = faulty.store.register, faulty.store.blobs[Tier.KV]
    answers = []
    for n in range(100):
        answers.append(answer_of(register.swap, f"k/{n // 3}", b"%d" % n, None))
        answers.append(answer_of(register.read, f"k/{n // 3}"))
        answers.append(answer_of(blobs.put_new, f"k/{n // 2}", b"%d" % n))
    return faulty, answers


def test_a_seed_replays() -> None:
    """The same seed gives the same log and answers, another one others; the seed is in the repr."""
    (first, answers), (again, same), (other, _) = _story(7), _story(7), _story(8)
    assert (first.log, answers) == (again.log, same)
    assert first.log != other.log
    assert "seed=7" in repr(first)


def test_chance_brings_every_fault() -> None:
    """In three hundred operations each kind of fault befell some, and most went well."""
    faulty, answers = _story(1)
    kinds = {type(operation.fault) for operation in faulty.log if operation.fault}
    assert kinds == {CrashBefore, CrashAfter, Refuse, LoseAnswer, LoseRequest, DeliverLate, DeliverTwice, ReadStale}
    assert {Swapped, Mismatch, Lost, Crash, Unavailable, Stored, Exists, Record, Absent} <= set(answers)
    assert sum(operation.fault is None for operation in faulty.log) > 60
