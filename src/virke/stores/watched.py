"""A store whose keys each have one process of this machine that changes them: the others see at once when it did.

Knows the contract, and the stamps of a folder on this machine (`local.stamps`); knows no database. A local store has stamps of
its own, for whatever process changes it; on an eventual one a stamp would say of an old read that it is the newest.

1. Before a change that `owns` is answered its stamp is another one, whatever became of it: the answer may be lost, and the
   change be there. So is it when the owner learns of a change by others.
2. A stamp that changed too often costs a conditional read, nothing else.
3. The owner of a key needs no stamp of it: it knows its own changes. Those of other machines show in no stamp, so equal ones
   are no proof that a state is the newest (L2); they say that nothing was answered here since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from virke.core.effects import Generation, ReadOutcome, Record, SwapOutcome
from virke.stores.base import Consistency, Register, Store, Watch
from virke.stores.local.stamps import Stamps


def make_stamps(folder: Path) -> None:
    """Make the file of the stamps, before the first of those processes begins. Raises `OSError`."""
    Stamps(folder).prepare(is_new=True)


def watched_store(store: Store, folder: Path, owns: Callable[[str], bool]) -> Store:
    """`store`, with the stamps of a folder of this machine, where it has none and they can be true. Raises `OSError`."""
    if store.watch is not None or store.register.consistency is not Consistency.LINEARIZABLE:
        return store
    stamps = Stamps(folder)
    stamps.prepare(is_new=True)

    def watch(key: str) -> Watch:
        return _constant_stamp if owns(key) else stamps.watch(key)

    return replace(store, register=_Register(store.register, stamps, owns), watch=watch, stamp_of=None)


def _constant_stamp() -> bytes:
    return b""


class _Register:
    def __init__(self, inner: Register, stamps: Stamps, owns: Callable[[str], bool]) -> None:
        self._inner = inner
        self._stamps = stamps
        self._owns = owns
        self._lock = threading.Lock()

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        outcome = self._inner.read(key, known)
        if isinstance(outcome, Record):
            self._note_change(key)
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        try:
            return self._inner.swap(key, data, base)
        finally:
            self._note_change(key)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        try:
            return self._inner.remove(key, base)
        finally:
            self._note_change(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)

    def _note_change(self, key: str) -> None:
        if self._owns(key):
            with self._lock:
                self._stamps.change(key)
