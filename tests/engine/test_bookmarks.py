"""Requests that wait for bookmarks at the same moment."""

from __future__ import annotations

import threading
import time

import pytest

from tests.engine.test_consistency import StaleRegister
from tests.engine.world import NAME, make
from virke.core.effects import Generation, ReadOutcome
from virke.engine.bookmarks import Bookmarks
from virke.engine.branch import Branch
from virke.engine.environment import Environment
from virke.engine.results import bookmark_of
from virke.errors import Invalid
from virke.stores.base import Consistency, Register, Store
from virke.stores.memory import memory_store


class HeldRegister(StaleRegister):
    """A linearizable register that counts reads, and holds the next one when it is told to."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.reads = 0
        self._held: tuple[threading.Event, threading.Event] | None = None

    @property
    def consistency(self) -> Consistency:
        return Consistency.LINEARIZABLE

    def hold(self, entered: threading.Event, go: threading.Event) -> None:
        """The next read says that it is there, and waits."""
        self._held = entered, go

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self.reads += 1
        held, self._held = self._held, None
        if held:
            held[0].set()
            held[1].wait(10)
        return super().read(key, known)


@pytest.mark.native
def test_requests_that_wait_for_a_bookmark_together_share_a_read() -> None:
    """While one is under way seven more come: the next read serves them all."""
    inner, asked = memory_store(), set[int]()
    make(inner).close()
    register, entered, go = HeldRegister(inner.register), threading.Event(), threading.Event()

    def monotonic() -> float:
        asked.add(threading.get_ident())
        return time.monotonic()

    environment = Environment(monotonic=monotonic)
    branch = Branch(Store(inner.url, register, inner.blobs), NAME, environment)
    bookmarks, future = Bookmarks(branch), bookmark_of(branch.refresh().root).replace(".00000001.", ".000000ff.")
    future = future.replace(".0000000000000001.", ".00000000000000ff.")
    register.hold(entered, go)
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(Invalid) as error:
            bookmarks.wait_for(future)
        told.append(error.value.kind)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    threads[0].start()
    assert entered.wait(10)
    asked.clear()
    for thread in threads[1:]:
        thread.start()
    while len(asked) < 7:
        time.sleep(0)
    register.reads = 0
    go.set()
    for thread in threads:
        thread.join(10)
    assert (told, register.reads) == (["invalid"] * 8, 1)
