"""The guest's own KV and object stores pass the suite that every store passes, and it reads golden files: inside the component."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.core.described import described
from tests.core.test_formats import FULL, LATER, NEW, SEGMENTS, VECTORS, segment, vector
from tests.edge.component import component as built
from tests.edge.component import why_not
from tests.edge.guest.over_http import GOLDEN, PROGRAM, Asked, guest_store
from tests.edge.serving import edge, kv_like
from tests.stores.conformance import BlobsConformance, Conformance, RegisterConformance, generation_of
from virke.core.effects import Lost, Tier
from virke.core.root import decode_root, encode_root
from virke.edge.building.component import ENTRY
from virke.edge.host.backends import Answer
from virke.edge.host.buckets import BACKEND, Bucket
from virke.edge.host.exchange import Request
from virke.edge.host.faults import Fault, Faults
from virke.errors import Corrupt, Denied, Invalid, Unavailable
from virke.project.building import entry_text
from virke.project.entry import Entry
from virke.stores.base import Blobs, Range, Register, Store
from virke.stores.faulty import Chances, FaultyStore

pytestmark = [pytest.mark.once, pytest.mark.slow]
CORE: Final = Path(__file__).parents[2] / "core"
DESCRIBED: Final = {"described.py": (CORE / "described.py").read_bytes()}
REUSE: Final = 1000
MANY: Final = 1 << 20
NO_REMOVE: Final = (
    "the host's delete has no condition, so the guest removes no register: `Denied` (test_r9_removing_is_denied)"
)


@pytest.fixture(scope="module")
def program() -> Path:
    """A component that carries a store's calls out."""
    if reason := why_not():
        pytest.skip(reason)
    entry = entry_text(Entry("store_app:app", is_python=True))
    return built({f"{ENTRY}.py": entry.encode(), "store_app.py": PROGRAM.encode(), **DESCRIBED})


class GuestConformance(Conformance):
    """One store in memory, and hosts over it; each opening is a host of its own."""

    @pytest.fixture
    def store(self, program: Path) -> Iterator[Store]:
        self.program, self.held = program, kv_like()
        with ExitStack() as self.open:
            yield self.opened(Faults())

    def opened(self, faults: Faults) -> Store:
        app = self.open.enter_context(edge(self.program, self.held, faults=faults, reuse=REUSE, fuel=False))
        return guest_store(app.host, self.held)

    def reopened(self, store: Store) -> Store:
        return self.opened(Faults())

    def losing(self, store: Store) -> Store:
        faults = Faults()
        faults.plan(Fault.LOSE, times=MANY)
        for call in ("lookup", "list"):
            faults.plan(Fault.DROP, call, times=MANY)
        return self.opened(faults)


class TestGuestRegister(GuestConformance, RegisterConformance):
    def test_r9_remove_deletes_only_its_base(self, register: Register) -> None:
        pytest.skip(NO_REMOVE)

    def test_r9_removing_is_denied(self, store: Store) -> None:
        """And changes nothing."""
        store.register.swap("k", b"1", None)
        before = store.register.read("k")
        with pytest.raises(Denied):
            store.register.call("remove", "k", generation_of(store.register, "k"))  # type: ignore[attr-defined]
        assert store.register.read("k") == before

    def test_r10_a_lost_answer_is_lost(self, store: Store) -> None:
        """Without the remove: a swap is `Lost` and was applied, a read is `Unavailable`."""
        store.register.swap("k", b"1", None)
        losing = self.losing(store).register
        assert isinstance(losing.swap("k", b"2", generation_of(store.register, "k")), Lost)
        with pytest.raises(Unavailable):
            losing.read("k")

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "..", "a b", "ä", "x" * 513])
    def test_b7_bad_register_keys_are_invalid(self, register: Register, key: str) -> None:
        """`remove` is denied whatever the key is, so it is not among the calls."""
        for call in (lambda: register.read(key), lambda: register.swap(key, b"", None)):
            with pytest.raises(Invalid):
                call()


class TestGuestKvBlobs(GuestConformance, BlobsConformance):
    tier = Tier.KV


class TestGuestObjects(GuestConformance, BlobsConformance):
    def losing(self, store: Store) -> Store:
        """A bucket that does what it is asked for, and answers with 500."""
        bucket = Bucket(self.held.blobs[Tier.OBJECT])

        def lost(request: Request) -> Answer:
            bucket(request)
            return Answer(500)

        app = self.open.enter_context(edge(self.program, self.held, reuse=REUSE, fuel=False))
        assert isinstance(app.host.backends, dict)
        app.host.backends[BACKEND] = lost
        elsewhere = FaultyStore(self.held, chances=Chances(lose_answer=1.0)).store
        return guest_store(app.host, elsewhere)

    def test_b3_a_range_beside_an_open_one_is_never_short(self, blobs: Blobs) -> None:
        """They are one request, whose answer shows where the object ends."""
        blobs.put_new("k", b"abc")
        for asked in (Range("k", 0, 10), Range("k", 2, 2), Range("k", 4)):
            with pytest.raises(Corrupt):
                blobs.get([Range("k"), asked])

    def test_b5_listing_is_denied(self, store: Store) -> None:
        """Collection is for nodes and commands; the suite's listings are the command line's."""
        with pytest.raises(Denied):
            store.blobs[Tier.OBJECT].call("list", "")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def reader(program: Path) -> Iterator[Asked]:
    """The guest, which reads files of any format."""
    with edge(program, reuse=REUSE, fuel=False) as app:
        yield Asked(app.host, GOLDEN)


@pytest.mark.parametrize("name", [FULL, NEW])
def test_the_guest_reads_and_writes_a_golden_root_the_same(reader: Asked, name: str) -> None:
    """P10, with dataclasses that are thawed and the guest's own codec."""
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())["root"]
    expected["settings"] |= LATER
    assert reader.call("root", vector(name), name) == (expected, vector(name))


@pytest.mark.parametrize("name", ["format-1/root-full", "format-1/root-new"])
def test_the_guest_reads_a_root_of_format_1_as_a_node_does(reader: Asked, name: str) -> None:
    """What format 1 means is held by tests/core; here, that it is read no differently."""
    root = decode_root(vector(name), name)
    assert reader.call("root", vector(name), name) == (described(root), encode_root(root))


@pytest.mark.parametrize("name", SEGMENTS)
def test_the_guest_reads_a_golden_segment_the_same(reader: Asked, name: str) -> None:
    """P10: reference, index, frames and every page are what the JSON says, through `virke_frames` for WebAssembly."""
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())
    del expected["encode"]
    ref, parts = segment(name)
    assert reader.call("segment", ref.encoded, [parts[key] for key in ref.keys]) == expected
