"""Stores that say when they wait: what is done meanwhile begins and ends with it, in that thread alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from virke.stores.local.store import local_store
from virke.stores.memory import memory_store
from virke.stores.waiting import waiting, waits_within


def noting(notes: list[str], what: str) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def note() -> Iterator[None]:
        notes.append(f"{what} begins")
        yield
        notes.append(f"{what} ends")

    return note


def test_what_is_done_meanwhile_is_what_was_said_last_in_this_thread() -> None:
    notes: list[str] = []
    with waiting():
        pass
    with waits_within(noting(notes, "a")):
        with waits_within(noting(notes, "b")), waiting():
            notes.append("waits")
        other = threading.Thread(target=lambda: waiting().__enter__())
        other.start()
        other.join()
        with waiting():
            pass
    with waiting():
        pass
    assert notes == ["b begins", "waits", "b ends", "a begins", "a ends"]


def test_a_swap_of_a_local_store_waits_once(tmp_path: Path) -> None:
    store, notes = local_store(tmp_path), list[str]()
    store.register.swap("k", b"1", None)
    with waits_within(noting(notes, "wait")):
        store.register.swap("other", b"1", None)
    assert notes == ["wait begins", "wait ends"]
    assert store.says_waits
    assert not memory_store().says_waits
