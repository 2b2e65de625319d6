"""A store that can be told to fail, and to recover: chosen calls with a chosen error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, SwapOutcome
from virke.errors import VirkeError
from virke.stores.base import Blobs, Call, Listed, Range, Register, Store


class Moody:
    """`inner`, of which the calls that `fail` names raise its error, and nothing is carried out."""

    def __init__(self, inner: Store) -> None:
        self._error: VirkeError | None = None
        self._calls: frozenset[Call] = frozenset()
        self._spared = 0
        blobs = {tier: _Blobs(self, one) for tier, one in inner.blobs.items()}
        self.store = Store(inner.url, _Register(self, inner.register), blobs)  # type: ignore[arg-type]

    def fail(self, error: VirkeError, *calls: Call, after: int = 0) -> None:
        """From now on these calls raise, but for the first few."""
        self._error, self._calls, self._spared = error, frozenset(calls), after

    def recover(self) -> None:
        """From now on all is well."""
        self._error = None

    def ask(self, call: Call) -> None:
        """Raise, if this call is one that fails now."""
        if self._error and call in self._calls:
            self._spared -= 1
            if self._spared < 0:
                raise self._error


class _Register:
    def __init__(self, mood: Moody, inner: Register) -> None:
        self._mood = mood
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._mood.ask(Call.SWAP)
        return self._inner.swap(key, data, base)

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self._mood.ask(Call.READ)
        return self._inner.read(key, known)

    def keys(self, prefix: str) -> Iterator[str]:
        self._mood.ask(Call.KEYS)
        return self._inner.keys(prefix)


class _Blobs:
    def __init__(self, mood: Moody, inner: Blobs) -> None:
        self._mood = mood
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        self._mood.ask(Call.PUT)
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        self._mood.ask(Call.PUT)
        return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        self._mood.ask(Call.GET)
        return self._inner.get(ranges)

    def delete(self, keys: Sequence[str]) -> None:
        self._mood.ask(Call.DELETE)
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._mood.ask(Call.LIST)
        return self._inner.list(prefix)
