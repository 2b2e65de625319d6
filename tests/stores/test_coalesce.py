"""Missing ranges become few requests, near ones together and large ones in parts, and nothing is asked for twice."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from virke.stores.base import Range
from virke.stores.cached.coalesce import coalesced_ranges, whole_objects


def requests(asked: Sequence[Range], *, gap: int = 0, piece: int = 10, limit: int = 1000) -> list[Range]:
    return coalesced_ranges(asked, gap_bytes=gap, piece_bytes=piece, object_bytes_max=limit)


def k(offset: int, length: int | None) -> Range:
    return Range("k", offset, length)


def test_neighbours_become_one_request() -> None:
    """In whatever order they are asked for; a gap is fetched along if it is small enough."""
    assert requests([k(4, 2), k(0, 4)]) == [k(0, 6)]
    assert requests([k(0, 4), k(6, 2)], gap=1) == [k(0, 4), k(6, 2)]
    assert requests([k(0, 4), k(6, 2)], gap=2) == [k(0, 8)]


def test_keys_are_apart() -> None:
    """The same place in two objects is two requests."""
    assert requests([Range("b", 0, 4), k(0, 4), Range("b", 4, 1)]) == [Range("b", 0, 5), k(0, 4)]


def test_a_run_ends_where_a_piece_would_be_too_large() -> None:
    """Whole ranges go into one piece as long as they fit; the next piece begins with the next range."""
    assert requests([k(n * 4, 4) for n in range(6)]) == [k(0, 8), k(8, 8), k(16, 8)]


def test_a_large_range_is_cut_into_equal_pieces() -> None:
    """So many as are needed and none of them small, so that they take equally long."""
    assert requests([k(5, 21)]) == [k(5, 7), k(12, 7), k(19, 7)]
    assert requests([k(0, 11), k(11, 4)]) == [k(0, 6), k(6, 9)]


def test_what_overlaps_is_asked_for_once() -> None:
    """A range inside another adds nothing, one that reaches further adds what is new of it."""
    assert requests([k(0, 9), k(2, 3), k(0, 9)]) == [k(0, 9)]
    assert requests([k(0, 9), k(5, 9)]) == [k(0, 9), k(9, 5)]


def test_a_range_without_a_length_is_passed_on_as_it_is() -> None:
    """The first one of a key; what lies inside it is not asked for besides."""
    assert requests([k(8, None), k(3, 2), k(20, None), k(9, 1), k(8, 500)], gap=9) == [k(3, 2), k(8, None)]


def test_a_range_longer_than_any_object_is_not_cut() -> None:
    """A damaged index can ask for it: it costs one request, which the store refuses."""
    assert requests([k(1, 1 << 60)], limit=1000) == [k(1, 1 << 60)]


def test_an_empty_range_is_asked_for() -> None:
    """Only the store knows whether the object is there and long enough."""
    assert requests([k(3, 0)]) == [k(3, 0)]
    assert requests([k(0, 3), k(3, 0)]) == [k(0, 3)]


def test_a_store_without_ranges_is_asked_for_each_object_once() -> None:
    """Whatever is asked of it."""
    assert whole_objects([k(3, 1), Range("b", 2), k(0, None), k(9, 1)]) == [Range("k"), Range("b")]


asked_ranges = st.lists(
    st.builds(Range, st.sampled_from(["a", "b"]), st.integers(0, 60), st.none() | st.integers(1, 40)), max_size=8
)
END = 101


def bytes_of(ranges: Sequence[Range], key: str) -> list[int]:
    """The places in an object that ranges ask for, as often as they do; without a length to `END`."""
    mine = [one for one in ranges if one.key == key]
    return [at for one in mine for at in range(one.offset, END if one.length is None else one.offset + one.length)]


@given(asked_ranges, st.integers(0, 8), st.integers(1, 30))
def test_requests_cover_what_was_asked_and_little_else(asked: list[Range], gap: int, piece: int) -> None:
    """No byte twice but before an open range, none between far neighbours or beyond the last, no piece too large."""
    made = requests(asked, gap=gap, piece=piece)
    assert all(one.length is None or one.length <= piece for one in made)
    for key in ("a", "b"):
        wanted = set(bytes_of(asked, key))
        came = bytes_of(made, key)
        fixed = bytes_of([one for one in made if one.length is not None], key)
        assert wanted <= set(came)
        assert len(set(fixed)) == len(fixed)
        for at in set(came) - wanted:
            assert wanted.intersection(range(at - gap, at))
            assert wanted.intersection(range(at + 1, at + gap + 1))
