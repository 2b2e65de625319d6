"""A ring whose entries are made when asked for is the same ring, in memory and as bytes."""

from __future__ import annotations

import pytest

from tests.core.actors import id_of
from virke.core.ring import RING_LENGTH, Answer, Ring, RingEntry, read_ring, ring_after, write_ring
from virke.core.wire import Reader, Writer


def entries(count: int) -> tuple[RingEntry, ...]:
    return tuple(RingEntry(id_of(f"commit {number}")) for number in range(count))


def encoded(ring: tuple[RingEntry, ...] | Ring) -> bytes:
    out = Writer()
    write_ring(out, ring)
    return out.bytes()


@pytest.mark.parametrize("count", [0, 1, RING_LENGTH, RING_LENGTH + 3])
def test_what_is_read_is_what_was_written(count: int) -> None:
    made = entries(count)
    source = Reader(encoded(made), "a ring")
    ring = read_ring(source)
    source.done()
    assert isinstance(ring, Ring)
    assert (len(ring), list(ring)) == (count, list(made))
    assert ring == Ring(ring.encoded)
    assert ring.__eq__(made)
    assert encoded(ring) == encoded(made)
    assert hash(ring) == hash(made)
    assert [ring[at] for at in range(-count, count)] == [made[at] for at in range(-count, count)]
    for part in (slice(None), slice(-3, None), slice(0, 0), slice(1, -1), slice(None, None, 2)):
        assert ring[part] == made[part]
    with pytest.raises(IndexError):
        ring[count]


def test_a_ring_goes_on_as_a_tuple_does() -> None:
    made, entry = entries(RING_LENGTH), RingEntry(id_of("one more"))
    ring = read_ring(Reader(encoded(made), "a ring"))
    assert isinstance(ring, Ring)
    assert tuple(ring_after(ring, entry)) == (*made[1:], entry)
    assert tuple(ring_after(Ring(b""), entry)) == (entry,)


def test_entries_with_answers_are_read_as_they_were() -> None:
    made = (*entries(3), RingEntry(id_of("keyed"), (Answer(bytes(16), 3),)))
    assert read_ring(Reader(encoded(made), "a ring")) == made
