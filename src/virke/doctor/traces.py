"""What a run writes: the keys that it was given, and which registers may still be there.

Knows the register protocol; knows no check.

1. Every key that a check writes was handed out here, so that it can be removed again.
2. Registers are `doctor/RUN.N`, objects `doctor/RUN/N`, with 64 random bits for RUN: no database has such keys, no two
   runs share one, and no key is also the folder of another.
3. A change that came too soon after others (`RateLimited`) was not made. It is tried again for as long as `wait` has
   patience, and counted.
4. A register may be there from the first write that was not definitely refused until a removal was answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from itertools import count

from virke.core.effects import Generation, Lost, ReadOutcome, SwapOutcome, Swapped, Tier
from virke.errors import RateLimited
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Consistency, Register

Wait = Callable[[RateLimited, int], bool]
"""Waits before the next of several attempts (0, 1, 2 …); False if there shall be none."""


@dataclass
class Traces:
    """The keys of one run: registers, those of them that may be there, and objects by tier."""

    run: str
    registers: list[str] = field(default_factory=list)
    there: dict[str, None] = field(default_factory=dict)
    objects: dict[Tier, list[str]] = field(default_factory=dict)

    @property
    def register_prefix(self) -> str:
        """What the keys of all registers begin with."""
        return f"doctor/{self.run}."

    @property
    def object_prefix(self) -> str:
        """What the keys of all objects begin with."""
        return f"doctor/{self.run}/"

    def register_key(self) -> str:
        """A key of the register that was never used."""
        self.registers.append(f"{self.register_prefix}{len(self.registers)}")
        return self.registers[-1]

    def object_key(self, tier: Tier) -> str:
        """A key of an object that was never used."""
        keys = self.objects.setdefault(tier, [])
        keys.append(f"{self.object_prefix}{len(keys)}")
        return keys[-1]


class TracedRegister:
    """`inner`, whose changes are written down in `traces` (invariants 3 and 4)."""

    def __init__(self, inner: Register, traces: Traces, wait: Wait) -> None:
        self._inner = inner
        self._there = traces.there
        self._wait = wait
        self.too_soon = 0

    @property
    def consistency(self) -> Consistency:
        """As the inner register."""
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """What the inner register reads."""
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Swap; the key may be there afterwards."""
        outcome = self._change_patiently(lambda: self._inner.swap(key, data, base))
        if isinstance(outcome, (Swapped, Lost)):
            self._there[key] = None
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Remove; then the key is not there any more."""
        outcome = self._change_patiently(lambda: self._inner.remove(key, base))
        if isinstance(outcome, Swapped):
            self._there.pop(key, None)
        return outcome

    def keys(self, prefix: str) -> Iterator[str]:
        """What the inner register lists."""
        return self._inner.keys(prefix)

    def _change_patiently(self, change: Callable[[], SwapOutcome]) -> SwapOutcome:
        for attempt in count():
            try:
                return change()
            except RateLimited as error:
                self.too_soon += 1
                if not self._wait(error, attempt):
                    raise
        raise AssertionError("it ends only by an answer or an error")
