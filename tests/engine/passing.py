"""A register that passes everything on, for suites where something happens at one of its calls."""

from __future__ import annotations

from collections.abc import Iterator

from virke.core.effects import Generation, ReadOutcome, SwapOutcome
from virke.stores.base import Consistency, Register


class PassingRegister:
    """`inner`, until a subclass says otherwise."""

    def __init__(self, inner: Register) -> None:
        self._inner = inner

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)
