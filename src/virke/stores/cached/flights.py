"""Flights: requests to the inner store that are under way, so that no caller asks for what is coming already.

Knows ranges and extents, and waits; knows neither the store nor the cache. Whoever boards brings a flight of his own for
what he has to ask for, makes its request, and ends it whatever happens.

1. While a flight is under way, a range inside it is not asked for by others: they wait for what it brings.
2. Only bytes are shared. A caller that waited for a flight that failed, or for an object that was absent, asks itself and
   waits for no other again: the object may have come since, and another's error says nothing of its ranges.
3. A caller that boards waits for earlier flights only, and not before it has ended its own: every wait ends.
4. The lock here is held for looking only; under it the memory is asked once more, so that between a flight's end and
   the memory's answer no range falls through.

A process that was forked while flights were under way must not go on with them: it opens its own cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from virke.lazy_dataclasses import dataclass
from virke.stores.base import Range
from virke.stores.cached.extents import BEYOND, Extent, Extents, Span, spans_holding

Plan = Callable[[Iterable[Range]], list[Range]]
"""Which requests bring some ranges (`coalesce`)."""


class Flight:
    """One call of the inner store: the pieces that it asks for, and what came."""

    def __init__(self) -> None:
        self.pieces: Sequence[Range] = ()
        self._coming: dict[str, list[Span]] = {}
        self._landed: dict[str, Extents] = {}
        self._done = threading.Event()

    def begin(self, pieces: Sequence[Range]) -> None:
        """Say what will be asked for; sorted within each key."""
        self.pieces = pieces
        for piece in pieces:
            end = BEYOND if piece.length is None else piece.offset + piece.length
            self._coming.setdefault(piece.key, []).append(Span(piece.offset, end))

    def brings(self, asked: Range) -> bool:
        """Whether `asked` is inside what was asked for."""
        coming = self._coming.get(asked.key)
        if coming is None:
            return False
        if asked.length is None:
            asked = Range(asked.key, asked.offset, BEYOND - asked.offset)
        return spans_holding(coming, asked) is not None

    def land(self, extents: Iterable[Extent]) -> None:
        """Give what came to all callers that wait."""
        for extent in extents:
            self._landed.setdefault(extent.key, Extents()).add(extent)
        self._done.set()

    def give_up(self) -> None:
        """Let no caller wait any longer; without effect after `land`."""
        self._done.set()

    def find(self, asked: Range) -> bytes | None:
        """The bytes of `asked` when they came, None if they did not. Raises `Corrupt` beyond the object's end."""
        self._done.wait()
        landed = self._landed.get(asked.key)
        return None if landed is None else landed.find(asked)


@dataclass(frozen=True, slots=True)
class Boarding:
    """How missing ranges will be answered, by the caller's number of each."""

    known: Mapping[int, bytes]
    """Came into memory in the meantime."""
    waiting: Mapping[int, Flight]
    """Are coming with another caller's flight."""
    asking: Mapping[int, Range]
    """Are what the caller's own flight asks for."""


class Flights:
    """All flights of one cache; threads share it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._under_way: list[Flight] = []

    def board(
        self, own: Flight, missing: Mapping[int, Range], known: Callable[[Range], bytes | None], *, share: bool
    ) -> Boarding:
        """Decide for all missing ranges at once, and begin `own`; `known` asks the memory.

        Without `share` no other caller is waited for. Raises `Corrupt` as `known` does.
        """
        found: dict[int, bytes] = {}
        waiting: dict[int, Flight] = {}
        asking: dict[int, Range] = {}
        with self._lock:
            others = self._under_way if share else ()
            for n, asked in missing.items():
                if (data := known(asked)) is not None:
                    found[n] = data
                elif flight := next((flight for flight in others if flight.brings(asked)), None):
                    waiting[n] = flight
                else:
                    asking[n] = asked
            if asking:
                own.begin(self._plan(asking.values()))
                self._under_way.append(own)
        return Boarding(found, waiting, asking)

    def end(self, own: Flight) -> None:
        """Take a flight off the board, whether it landed, failed or was never begun."""
        own.give_up()
        with self._lock:
            if own in self._under_way:
                self._under_way.remove(own)
