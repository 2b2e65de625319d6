"""What every store must do: one test for each numbered sentence of `virke.stores.base`.

A backend's test file inherits both classes and gives the fixture `store`: a new, empty store.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from typing import ClassVar, TypeVar

import pytest

from virke.core.effects import Absent, Generation, Lost, Mismatch, Record, Stored, Swapped, Tier, Unchanged
from virke.errors import Corrupt, Exists, Invalid, TooLarge, Unavailable
from virke.stores.base import Blobs, Range, Register, Store
from virke.stores.faulty import Chances, FaultyStore

THREADS = 16
T = TypeVar("T")

BAD_KEYS = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "../a", "a b", "a\\b", "a\n", "ä", "a\0", "x" * 513]
GOOD_KEYS = ["a", "a/b", "A", "a/B", "a.b/..c/d.", "@=-_", "x" * 512, "/".join("y" * 256), "z" * 300 + "/z"]


def at_once(work: Callable[[int], T], count: int = THREADS) -> list[T]:
    """The results of `work(0) … work(count - 1)`, begun together in as many threads that often take turns."""
    results: dict[int, T] = {}
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    return [results[number] for number in range(count)]  # KeyError: that thread raised


def generation_of(register: Register, key: str) -> Generation:
    """The generation that `key` has now."""
    record = register.read(key)
    assert isinstance(record, Record)
    return record.generation


class Conformance:
    """What both suites need from a backend."""

    good_keys: ClassVar[list[str]] = GOOD_KEYS
    """Keys that the backend holds; one that holds fewer says in its test file what it lacks."""
    nests_keys: ClassVar[bool] = True
    """Whether an object `a` and an object `a/b` know nothing of each other."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError("a backend gives an empty store")

    def reopened(self, store: Store) -> Store:
        """The same place opened again, as another process would; a store in memory has no other opening."""
        return store

    def losing(self, store: Store) -> Store:
        """The same place over a connection whose answers get lost after the request was carried out."""
        return FaultyStore(store, chances=Chances(lose_answer=1.0)).store


class RegisterConformance(Conformance):
    """R1–R11."""

    @pytest.fixture
    def register(self, store: Store) -> Register:
        return store.register

    def test_r1_a_key_never_written_is_absent(self, register: Register) -> None:
        """`read` answers `Absent`, with and without a known generation, also beside other keys."""
        register.swap("a/b", b"x", None)
        assert [register.read(key) for key in ("a", "a/b/c", "b")] == [Absent(), Absent(), Absent()]
        assert register.read("a", Generation("any")) == Absent()

    def test_r2_create_does_not_replace(self, register: Register) -> None:
        """`swap(base=None)` creates once; then it is a `Mismatch` and the first value stays."""
        assert isinstance(register.swap("k", b"first", None), Swapped)
        before = register.read("k")
        assert register.swap("k", b"second", None) == Mismatch()
        assert register.read("k") == before

    def test_r3_swap_replaces_only_its_base(self, register: Register) -> None:
        """A swap with the present generation replaces; with an older one, a foreign one or no key it changes nothing."""
        register.swap("k", b"1", None)
        old = generation_of(register, "k")
        assert isinstance(register.swap("k", b"2", old), Swapped)
        now = register.read("k")
        assert isinstance(now, Record)
        assert now.data == b"2"
        assert register.swap("k", b"3", old) == Mismatch()
        assert register.swap("k", b"3", Generation("never")) == Mismatch()
        assert register.swap("other", b"3", now.generation) == Mismatch()
        assert register.read("k") == now
        assert register.read("other") == Absent()

    def test_r3_an_answered_generation_is_the_one_that_is_read(self, register: Register) -> None:
        """Where `Swapped` carries a generation, it is the record's."""
        outcome = register.swap("k", b"", None)
        assert isinstance(outcome, Swapped)
        assert outcome.generation in (None, generation_of(register, "k"))
        assert register.read("k") == Record(b"", generation_of(register, "k"))

    def test_r4_a_generation_never_repeats(self, register: Register) -> None:
        """Neither for equal bytes, nor for bytes that come back, nor for a key deleted and made again."""
        seen = []
        for data, remove in itertools.product([b"a", b"a", b"b", b"a"], [False, True]):
            base = generation_of(register, "k") if isinstance(register.read("k"), Record) else None
            assert isinstance(register.swap("k", data, base), Swapped)
            seen.append(generation_of(register, "k"))
            if remove:
                assert isinstance(register.remove("k", seen[-1]), Swapped)
        assert len(set(seen)) == len(seen)
        assert [register.swap("k", b"!", base) for base in seen] == [Mismatch()] * len(seen)

    def test_r5_one_of_many_concurrent_creations_is_applied(self, register: Register) -> None:
        """Sixteen threads create the same keys: each key has one `Swapped`, and those bytes are there."""
        keys = [f"k/{n}" for n in range(64)]
        outcomes = at_once(lambda n: [register.swap(key, b"%d" % n, None) for key in keys])
        for key, answers in zip(keys, zip(*outcomes, strict=True), strict=True):
            winners = [n for n, outcome in enumerate(answers) if isinstance(outcome, Swapped)]
            assert len(winners) == 1
            assert answers.count(Mismatch()) == THREADS - 1
            record = register.read(key)
            assert isinstance(record, Record)
            assert record.data == b"%d" % winners[0]

    def test_r5_one_of_many_concurrent_swaps_is_applied(self, register: Register) -> None:
        """Sixteen threads count to eight each with compare-and-swap: nothing is lost, nothing counted twice."""
        register.swap("k", b"0", None)

        def count(_: int) -> None:
            done = 0
            while done < 8:
                record = register.read("k")
                assert isinstance(record, Record)
                outcome = register.swap("k", b"%d" % (int(record.data) + 1), record.generation)
                done += isinstance(outcome, Swapped)

        at_once(count)
        record = register.read("k")
        assert isinstance(record, Record)
        assert record.data == b"%d" % (8 * THREADS)

    def test_r6_a_known_generation_is_unchanged(self, register: Register) -> None:
        """`read(known=g)` is `Unchanged` while nothing was swapped, then the new record."""
        register.swap("k", b"1", None)
        known = generation_of(register, "k")
        assert register.read("k", known) == Unchanged()
        assert register.swap("k", b"x", None) == Mismatch()
        assert register.read("k", known) == Unchanged()
        register.swap("k", b"1", known)
        record = register.read("k", known)
        assert record == Record(b"1", generation_of(register, "k"))

    def test_r7_a_swapped_value_is_there_when_opened_again(self, store: Store) -> None:
        """Another opening of the place reads the same record, and swaps on its generation."""
        store.register.swap("k", b"1", None)
        again = self.reopened(store).register
        assert again.read("k") == store.register.read("k")
        assert isinstance(again.swap("k", b"2", generation_of(store.register, "k")), Swapped)
        assert store.register.read("k") == again.read("k")

    def test_r8_a_reader_sees_whole_values(self, register: Register) -> None:
        """Fifteen readers beside a writer of values of many sizes never see a mix of two."""
        register.swap("k", b"", None)

        def work(number: int) -> set[int]:
            if number == 0:
                for step in range(40):
                    value = bytes([step]) * (step * 997)
                    assert isinstance(register.swap("k", value, generation_of(register, "k")), Swapped)
                return set()
            wrong = set()
            for _ in range(40):
                record = register.read("k")
                assert isinstance(record, Record)
                if record.data and record.data != bytes([record.data[0]]) * (record.data[0] * 997):
                    wrong.add(len(record.data))
            return wrong

        assert at_once(work) == [set()] * THREADS

    def test_r9_remove_deletes_only_its_base(self, register: Register) -> None:
        """An older generation, or a key that is not there, is a `Mismatch`; the present one deletes."""
        register.swap("k", b"1", None)
        old = generation_of(register, "k")
        register.swap("k", b"2", old)
        now = register.read("k")
        assert isinstance(now, Record)
        assert register.remove("k", old) == Mismatch()
        assert register.read("k") == now
        assert isinstance(register.remove("k", now.generation), Swapped)
        assert register.read("k") == Absent()
        assert register.remove("k", now.generation) == Mismatch()

    def test_r10_a_lost_answer_is_lost(self, store: Store) -> None:
        """A swap and a remove whose answers never came are `Lost` and may have been applied; a read is `Unavailable`."""
        store.register.swap("k", b"1", None)
        base = generation_of(store.register, "k")
        losing = self.losing(store).register
        assert isinstance(losing.swap("k", b"2", base), Lost)
        with pytest.raises(Unavailable):
            losing.read("k")
        record = store.register.read("k")
        assert isinstance(record, Record)
        assert record.data in (b"1", b"2")
        assert isinstance(losing.remove("k", record.generation), Lost)
        with pytest.raises(Unavailable):
            list(losing.keys(""))

    def test_r11_keys_are_listed_by_prefix_in_order(self, register: Register) -> None:
        """Existing keys with the prefix, sorted by their bytes; a prefix may end within a part."""
        keys = ["a", "a/b", "a/c", "ab", "b/a", "B", "a-1"]
        for key in keys:
            register.swap(key, b"", None)
        register.swap("a/gone", b"", None)
        register.remove("a/gone", generation_of(register, "a/gone"))
        for prefix in ("", "a", "a/", "a/b", "b", "c", "a%", "_", "*"):
            assert list(register.keys(prefix)) == sorted(key for key in keys if key.startswith(prefix))

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_b7_bad_register_keys_are_invalid(self, register: Register, key: str) -> None:
        """A register checks its keys as blobs do, in every call."""
        calls: list[Callable[[], object]] = [
            lambda: register.read(key),
            lambda: register.swap(key, b"", None),
            lambda: register.remove(key, Generation("g")),
        ]
        for call in calls:
            with pytest.raises(Invalid):
                call()

    def test_good_register_keys_are_told_apart(self, register: Register) -> None:
        """Every allowed key holds its own value, capitals and long parts included."""
        for key in self.good_keys:
            assert isinstance(register.swap(key, key.encode(), None), Swapped)
        assert [record.data for record in map(register.read, self.good_keys) if isinstance(record, Record)] == [
            key.encode() for key in self.good_keys
        ]


class BlobsConformance(Conformance):
    """B1–B8, for the blobs of `tier`."""

    tier = Tier.OBJECT

    @pytest.fixture
    def blobs(self, store: Store) -> Blobs:
        return store.blobs[self.tier]

    def test_b1_a_stored_object_is_there_when_opened_again(self, store: Store, blobs: Blobs) -> None:
        """After `Stored` another opening of the place reads the same bytes; an empty object is an object."""
        for key, data in {"a/1": b"one" * 999, "a/2": b""}.items():
            assert blobs.put_new(key, data) == Stored()
            assert self.reopened(store).blobs[self.tier].get([Range(key)]) == [data]

    def test_b1_a_lost_answer_is_lost(self, store: Store, blobs: Blobs) -> None:
        """A put whose answer never came is `Lost`, a get or listing `Unavailable`; putting again answers `Stored`."""
        losing = self.losing(store).blobs[self.tier]
        assert isinstance(losing.put_new("k", b"1"), Lost)
        with pytest.raises(Unavailable):
            losing.get([Range("k")])
        with pytest.raises(Unavailable):
            list(losing.list(""))
        assert blobs.put_new("k", b"1") == Stored()

    def test_b2_an_object_is_never_changed(self, blobs: Blobs) -> None:
        """Equal bytes again are `Stored`; other bytes, also of equal length, raise `Exists` and change nothing."""
        assert blobs.put_new("k", b"abc") == Stored()
        assert blobs.put_new("k", b"abc") == Stored()
        for other in (b"abd", b"abcd", b"ab", b""):
            with pytest.raises(Exists):
                blobs.put_new("k", other)
        assert blobs.get([Range("k")]) == [b"abc"]

    def test_b2_one_of_many_concurrent_puts_is_stored(self, blobs: Blobs) -> None:
        """Sixteen threads put other bytes under one key: one is `Stored`, all others raise `Exists`."""

        def put(number: int) -> bool:
            try:
                return blobs.put_new("k", b"%d" % number * 5000) == Stored()
            except Exists:
                return False

        stored = at_once(put)
        assert stored.count(True) == 1
        assert blobs.get([Range("k")]) == [b"%d" % stored.index(True) * 5000]

    def test_b2_equal_concurrent_puts_are_all_stored(self, blobs: Blobs) -> None:
        """Sixteen threads put the same bytes: each is told `Stored`."""
        assert at_once(lambda _: blobs.put_new("k", b"same" * 5000)) == [Stored()] * THREADS

    def test_b3_ranges_are_answered_in_order_and_exactly(self, blobs: Blobs) -> None:
        """Many ranges of many objects at once, whole ones and empty ones among them, missing ones `Absent`."""
        data = bytes(range(256)) * 16
        blobs.put_new("a", data)
        blobs.put_new("b", b"bee")
        asked = [
            Range("b", 1, 2),
            Range("a"),
            Range("a", 4090, 6),
            Range("missing", 0, 1),
            Range("a", 4000),
            Range("b", 3),
            Range("b", 3, 0),
            Range("a", 0, 0),
            Range("b", 0, 3),
        ]
        assert blobs.get(asked) == [b"ee", data, data[4090:], Absent(), data[4000:], b"", b"", b"", b"bee"]
        assert blobs.get([]) == []

    @pytest.mark.parametrize(("offset", "length"), [(0, 4), (3, 1), (4, 0), (4, None), (2, 2), (1 << 40, 1)])
    def test_b3_a_range_beyond_the_end_is_corrupt(self, blobs: Blobs, offset: int, length: int | None) -> None:
        """Never short bytes, never padding, also when the object was read before."""
        blobs.put_new("k", b"abc")
        assert blobs.get([Range("k")]) == [b"abc"]
        with pytest.raises(Corrupt):
            blobs.get([Range("k", 0, 1), Range("k", offset, length)])

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (-1, None)])
    def test_b3_a_negative_range_is_invalid(self, blobs: Blobs, offset: int, length: int | None) -> None:
        """A negative offset never counts from the end."""
        blobs.put_new("k", b"abc")
        with pytest.raises(Invalid):
            blobs.get([Range("k", offset, length)])

    def test_b4_deleting_is_idempotent(self, blobs: Blobs) -> None:
        """Deleted objects are absent, missing ones no error, others stay; the key may be put again."""
        other = "a/b" if self.nests_keys else "b"
        for key in ("a", other, "c"):
            blobs.put_new(key, key.encode())
        blobs.delete(["a", "missing", "c"])
        blobs.delete(["a"])
        blobs.delete([])
        assert blobs.get([Range("a"), Range(other), Range("c")]) == [Absent(), other.encode(), Absent()]
        assert blobs.put_new("a", b"new") == Stored()
        assert blobs.get([Range("a")]) == [b"new"]

    def test_b5_a_listing_has_every_object(self, blobs: Blobs) -> None:
        """All keys under any prefix with their sizes; nothing deleted, nothing else."""
        keys = ["a", "a/b", "a/c/d", "ab", "b/a", "B", *self.good_keys[4:]]
        for key in [*keys, "a/gone"]:
            blobs.put_new(key, key.encode())
        blobs.delete(["a/gone"])
        for prefix in ("", "a", "a/", "a/b", "a/c/", "b", "nothing/", "a.b/..", "x" * 400, "../", "/", "%", "a/../"):
            found = sorted((listed.key, listed.size_bytes) for listed in blobs.list(prefix))
            assert found == sorted((key, len(key)) for key in keys if key.startswith(prefix))

    def test_b5_a_listing_tells_when_an_object_was_written(self, blobs: Blobs) -> None:
        """`modified_ms` is in Unix milliseconds of this century and does not go back."""
        blobs.put_new("a", b"")
        blobs.put_new("b", b"")
        times = {listed.key: listed.modified_ms for listed in blobs.list("")}
        assert 1_577_836_800_000 < times["a"] <= times["b"] + 1000 < 4_102_444_800_000

    def test_b6_nothing_half_written_is_visible(self, blobs: Blobs) -> None:
        """Readers beside eight writers see each object whole or not at all, and a listing never shows a part."""
        size = 64 * 1024

        def work(number: int) -> list[object]:
            keys = [f"o/{n}" for n in range(8)]
            if number < 8:
                return [blobs.put_new(key, bytes([n]) * size) for n, key in enumerate(keys)]
            wrong: list[object] = []
            for _ in range(6):
                answers = blobs.get([Range(key) for key in keys])
                wrong += [n for n, got in enumerate(answers) if got not in (Absent(), bytes([n]) * size)]
                wrong += [listed for listed in blobs.list("") if listed.size_bytes != size or listed.key not in keys]
            return wrong

        assert at_once(work) == [[Stored()] * 8] * 8 + [[]] * 8

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_b7_bad_keys_are_invalid(self, blobs: Blobs, key: str) -> None:
        """No call takes a key that is empty, absolute, too long, climbs, or has characters outside the set."""
        calls: list[Callable[[], object]] = [
            lambda: blobs.put_new(key, b""),
            lambda: blobs.get([Range(key)]),
            lambda: blobs.delete([key]),
        ]
        for call in calls:
            with pytest.raises(Invalid):
                call()

    def test_b7_good_keys_are_told_apart(self, blobs: Blobs) -> None:
        """Every allowed key holds its own object, capitals and long parts included."""
        for key in self.good_keys:
            assert blobs.put_new(key, key.encode()) == Stored()
        assert blobs.get([Range(key) for key in self.good_keys]) == [key.encode() for key in self.good_keys]

    def test_b9_many_objects_are_stored_at_once_and_a_repeat_is_stored(self, blobs: Blobs) -> None:
        """All are there after `put_all`, repeating it changes nothing, and other bytes under a key are `Exists`."""
        objects = [("a/1", b"one"), ("a/2", b""), ("b/3", b"three" * 1000)]
        assert blobs.put_all(objects) == blobs.put_all(objects) == Stored()
        assert blobs.get([Range(key) for key, _ in objects]) == [data for _, data in objects]
        assert blobs.put_all([]) == Stored()
        with pytest.raises(Exists):
            blobs.put_all([("c", b"new"), ("a/1", b"other")])
        assert blobs.get([Range("a/1")]) == [b"one"]

    def test_b8_an_object_above_the_limit_is_too_large(self, blobs: Blobs) -> None:
        """`part_bytes_max` bytes are stored, one more is not."""
        limit = blobs.part_bytes_max
        assert blobs.put_new("k", bytes(limit)) == Stored()
        with pytest.raises(TooLarge):
            blobs.put_new("more", bytes(limit + 1))
        assert blobs.get([Range("k", limit - 1, 1), Range("more")]) == [b"\0", Absent()]
