"""One sandbox: an instance of the component in a thread of its own, and the requests that it takes one after the other.

1. It takes its first request by being started, each later one by asking for it (`next_request`); between two it is idle.
2. A request is answered when the guest sends the answer, not when it is done: what it does afterwards is counted apart.
3. If it ends before it answered, its request is answered with 500 and says why. It never takes another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from virke.edge.host.counting import Counts
from virke.edge.host.exchange import Body, Headers, Request, Response
from virke.edge.host.values import Handles, Resource, Trap
from virke.edge.host.wasm import Sandboxed

INSTRUCTIONS_A_MS: Final = 3_000_000
"""What a vCPU does in a millisecond, about: where instructions are counted, so is its time, and does not depend on load."""


class Taken:
    """A request, and the place for its answer."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.response: Response | None = None
        self._answered = threading.Event()

    def answer(self, response: Response) -> None:
        """Give the answer to whoever waits."""
        self.response = response
        self._answered.set()

    def wait(self) -> Response:
        """The answer, once it is there."""
        self._answered.wait()
        assert self.response is not None
        return self.response


class Sandbox:
    """See the module; `number` distinguishes sandboxes."""

    def __init__(
        self, number: int, memory: Sandboxed, on_idle: Callable[[Sandbox, float | None], Taken | None]
    ) -> None:
        self.number = number
        self.handles = Handles()
        self.failure: BaseException | None = None
        self.counts = Counts()
        self.requests = 0
        self.is_idle = False
        self._memory = memory
        self._on_idle = on_idle
        self._taken: Taken | None = None
        self._answering: Response | None = None
        self._fuel_before = 0
        self._cpu_before_s = 0.0

    def run(self, first: Taken, enter: Callable[[Request], tuple[Resource, Resource]]) -> str | None:
        """Take `first` and what comes after it; answers why it ended, None if by itself."""
        self._cpu_before_s = time.thread_time()
        self._begin_request(first)
        why: str | None = None
        try:
            self._memory.run(self, *enter(first.request))
        except Trap as trap:
            why = str(trap)
        except BaseException as error:
            self._end_request(f"the host failed: {error!r}")  # or whoever asked waits for ever
            raise
        self._end_request(why)
        self._memory.close()
        return why

    def next_request(self, timeout_s: float | None) -> Request | None:
        """Wait for another request; None if none comes."""
        self._end_request(None)
        taken = self._on_idle(self, timeout_s)
        if taken is None:
            return None
        self._begin_request(taken)
        return taken.request

    def answer(self, status: int, headers: Headers, body: Body) -> None:
        """Send the answer. Raises `Trap` if there was one already."""
        if self._taken is None:
            raise Trap("a request was answered twice")
        taken, self._taken = self._taken, None
        self._note_fuel()
        self._answering = Response(status, headers, body, self.counts, is_fresh=self.requests == 1)
        self.counts = self._answering.after
        if not body.is_closed:
            self.counts = self._answering.counts  # a streamed body is part of the answer until it ends
        taken.answer(self._answering)

    def body_closed(self, body: Body) -> None:
        """A body ended; if it is the answer's, what follows is after it."""
        if self._answering is not None and self._answering.stream is body and self.counts is self._answering.counts:
            self._note_fuel()
            self.counts = self._answering.after

    @property
    def vcpu_ms(self) -> int:
        """The processor's time of this sandbox, in whole milliseconds as the platform says it."""
        if used := self._memory.fuel_used:
            return used // INSTRUCTIONS_A_MS
        return int((time.thread_time() - self._cpu_before_s) * 1000)

    def _begin_request(self, taken: Taken) -> None:
        self.requests += 1
        self.counts, self._taken, self._answering = Counts(), taken, None
        self._fuel_before = self._memory.fuel_used

    def _end_request(self, why: str | None) -> None:
        if self._answering is not None:
            self._note_fuel()
            self._answering.stream.close(cut=True)
            self._answering = None
        if self._taken is not None:
            taken, self._taken = self._taken, None
            why = why or "the sandbox ended without an answer"
            self._note_fuel()
            text = Body(why.encode())
            taken.answer(Response(500, (), text, self.counts, is_fresh=self.requests == 1, trap=why))

    def _note_fuel(self) -> None:
        used = self._memory.fuel_used
        self.counts.fuel += used - self._fuel_before
        self._fuel_before = used
