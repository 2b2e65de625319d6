"""What one request cost: counted by the host, so exact, and the same under any load.

`rounds` are serial: a clock that stands still while the guest computes, and on which everything that it sends takes one tick. So
ten lookups that were started before the first was awaited are one round, and ten that were awaited one by one are ten.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    fuel: int = 0
    """WebAssembly instructions, starting the sandbox included; 0 where the host does not count them."""

    @property
    def bytes(self) -> int:
        """What came in: of the KV store and of backends."""
        return self.lookup_bytes + self.backend_bytes

    def sent(self) -> int:
        """The tick at which what is sent now is answered."""
        return self.rounds + 1

    def awaited(self, tick: int) -> None:
        """The guest waited for what is answered at `tick`."""
        self.rounds = max(self.rounds, tick)
