"""What one request cost: counted by the host, so exact, and the same under any load.

`rounds` are serial: a clock that stands still while the guest computes, and on which everything that it sends takes one tick. So
ten lookups that were started before the first was awaited are one round, and ten that were awaited one by one are ten. `waited_s` is
the same with the latency of each call in place of a tick.
"""

from __future__ import annotations

from virke.lazy_dataclasses import dataclass


@dataclass
class Counts:
    """The figures of one request."""

    lookups: int = 0
    lookup_bytes: int = 0
    writes: int = 0
    write_bytes: int = 0
    deletes: int = 0
    lists: int = 0
    backend_requests: int = 0
    backend_bytes: int = 0
    rounds: int = 0
    waited_s: float = 0.0
    fuel: int = 0
    """WebAssembly instructions, starting the sandbox included; 0 where the host does not count them."""

    @property
    def bytes(self) -> int:
        """What came in: of the KV store and of backends."""
        return self.lookup_bytes + self.backend_bytes

    def sent(self, latency_s: float = 0.0) -> Tick:
        """When what is sent now is answered."""
        return Tick(self.rounds + 1, self.waited_s + latency_s)

    def awaited(self, tick: Tick) -> None:
        """The guest waited for what is answered at `tick`."""
        self.rounds = max(self.rounds, tick.rounds)
        self.waited_s = max(self.waited_s, tick.waited_s)


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment of a request, by both clocks."""

    rounds: int
    waited_s: float
