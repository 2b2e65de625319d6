"""What a store must do that has a line or stamps: L1 and L2 of `virke.stores.base`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.stores.conformance import THREADS, Conformance, at_once, generation_of
from virke.core.effects import Generation, Mismatch, Swapped
from virke.errors import Invalid
from virke.stores.base import Line, Store, Watch

WAIT_S = 30.0


class AdviceConformance(Conformance):
    """L1 and L2, for stores that have both."""

    @pytest.fixture
    def line(self, store: Store) -> Line:
        assert store.line is not None
        store.register.swap("k", b"", None)
        return store.line

    @pytest.fixture
    def watch(self, store: Store) -> Callable[[str], Watch]:
        assert store.watch is not None
        return store.watch

    def test_l1_one_thread_at_a_time_is_first(self, line: Line) -> None:
        """Sixteen threads come to the front twenty times each, and none meets another there."""
        there: list[int] = []

        def stand(number: int) -> list[int]:
            met = []
            for _ in range(20):
                with line("k", WAIT_S) as is_first:
                    assert is_first
                    met += there
                    there.append(number)
                    there.remove(number)
            return met

        assert at_once(stand) == [[]] * THREADS

    def test_l1_other_openings_and_keys(self, store: Store, line: Line) -> None:
        """The line of a key is one for all who opened the place; another key's is another."""
        again = self.reopened(store).line
        assert again is not None
        with line("k", WAIT_S) as is_first:
            assert is_first
            with again("k", 0.0) as second, again("other", 0.0) as other:
                assert [second, other] == [False, True]
        with again("k", 0.0) as is_first:
            assert is_first

    def test_l1_a_wait_ends_and_delays_nobody(self, line: Line) -> None:
        """Who waited in vain answers no; who came after it is let through all the same."""
        gave_up, came = threading.Event(), threading.Event()
        answers: list[bool] = []

        def wait() -> None:
            came.set()
            with line("k", WAIT_S) as is_first:
                answers.append(is_first)

        def give_up() -> None:
            with line("k", 0.01) as is_first:
                answers.append(is_first)
            gave_up.set()

        threads = [threading.Thread(target=work) for work in (give_up, wait)]
        with line("k", WAIT_S):
            for thread in threads:
                thread.start()
            assert gave_up.wait(WAIT_S)
            assert came.wait(WAIT_S)
        for thread in threads:
            thread.join()
        assert answers == [False, True]

    def test_l1_an_error_lets_the_next_one_through(self, line: Line) -> None:
        with pytest.raises(ZeroDivisionError), line("k", WAIT_S):
            raise ZeroDivisionError
        with line("k", 0.0) as is_first:
            assert is_first

    def test_l1_a_swap_needs_no_place(self, store: Store, line: Line) -> None:
        """It is advice: another swaps while somebody is first."""
        with line("k", WAIT_S):
            assert isinstance(store.register.swap("k", b"2", generation_of(store.register, "k")), Swapped)

    def test_l2_a_stamp_changes_with_every_change(self, store: Store, watch: Callable[[str], Watch]) -> None:
        """Creation, swaps with equal bytes, removal, creation again: no two stamps are equal, and each stays till then."""
        stamp = watch("k")
        seen = [stamp()]
        for data in (b"a", b"a", None, b"a"):
            base = generation_of(store.register, "k") if len(seen) in (2, 3) else None
            swapped = (
                store.register.remove("k", generation_of(store.register, "k"))
                if data is None
                else store.register.swap("k", data, base)
            )
            assert isinstance(swapped, Swapped)
            assert stamp() == watch("k")() == stamp()
            seen.append(stamp())
        known = [one for one in seen if one is not None]
        assert len(known) == len(set(known)) >= 3

    def test_l2_what_others_change_is_seen(self, store: Store, watch: Callable[[str], Watch]) -> None:
        """A swap through another opening of the place."""
        store.register.swap("k", b"1", None)
        stamp = watch("k")
        before = stamp()
        assert before is not None
        other = self.reopened(store).register
        other.swap("k", b"2", generation_of(store.register, "k"))
        assert stamp() != before

    def test_l2_what_was_read_after_its_stamp_is_the_newest(self, store: Store, watch: Callable[[str], Watch]) -> None:
        """Beside fifteen threads that count: whenever the stamp is the old one, so is the record."""
        store.register.swap("k", b"0", None)
        other = self.reopened(store).register

        def work(number: int) -> int:
            wrong = 0
            stamp = watch("k")
            for _ in range(40):
                if number:
                    base = generation_of(other, "k")
                    done = isinstance(other.swap("k", b"%d" % number, base), Swapped)
                    assert not done or generation_of(store.register, "k") != base
                    continue
                before = stamp()
                record = store.register.read("k")
                now = store.register.read("k")
                wrong += before is not None and stamp() == before and record != now
            return wrong

        assert at_once(work) == [0] * THREADS

    def test_l2_a_mismatch_need_not_change_a_stamp_but_never_repeats_one(
        self, store: Store, watch: Callable[[str], Watch]
    ) -> None:
        store.register.swap("k", b"1", None)
        stamp = watch("k")
        first = stamp()
        assert store.register.swap("k", b"2", Generation("never")) == Mismatch()
        second = stamp()
        assert isinstance(store.register.swap("k", b"2", generation_of(store.register, "k")), Swapped)
        assert stamp() not in (None, first, second)

    @pytest.mark.parametrize("key", ["", "../a", "a b"])
    def test_b7_bad_keys_are_invalid_here_too(self, store: Store, watch: Callable[[str], Watch], key: str) -> None:
        assert store.line is not None
        with pytest.raises(Invalid), store.line(key, 0.0):
            pass
        with pytest.raises(Invalid):
            watch(key)

    def test_l2_a_swap_says_what_stamp_it_left(self, store: Store, watch: Callable[[str], Watch]) -> None:
        """Until somebody else swaps the key, in whatever opening."""
        assert store.stamp_of is not None
        base: Generation | None = None
        for data in (b"1", b"2"):
            swapped = store.register.swap("mine", data, base)
            assert isinstance(swapped, Swapped)
            assert swapped.generation is not None
            base = swapped.generation
            left = store.stamp_of(base)
            assert watch("mine")() == left
        assert isinstance(self.reopened(store).register.swap("mine", b"3", base), Swapped)
        assert watch("mine")() not in (None, left)
