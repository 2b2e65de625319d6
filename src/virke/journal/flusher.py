"""Pushes pending writes in the background: a thread that lives only while something is pending (P9).

Knows threads and time, and nothing of what is pushed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from virke.errors import VirkeError


class Flusher:
    """See `engine.deferred.Flusher` for what each method promises."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._woken = False
        self._thread: threading.Thread | None = None
        self._flush: Callable[[], int] | None = None
        self._interval_s: Callable[[], float] = lambda: 1.0

    def start(self, flush: Callable[[], int], interval_s: Callable[[], float]) -> None:
        """Push with `flush`, which says how many writes are still pending, every `interval_s()` seconds."""
        self._flush, self._interval_s = flush, interval_s

    def wake(self, *, at_once: bool = False) -> None:
        """Something is pending: see to it, in time or now."""
        with self._lock:
            self._woken = True
            if self._flush and not self._stop.is_set() and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._run_rounds, args=(at_once,), name="virke-flush", daemon=True)
                with suppress(
                    RuntimeError
                ):  # no thread is left, or the interpreter ends: a later write, or `flush`, pushes
                    thread.start()
                    self._thread = thread

    def _run_rounds(self, at_once: bool) -> None:
        while not self._stop.wait(0 if at_once else self._interval_s()):
            at_once, self._woken = False, False
            try:
                left = self._flush() if self._flush else 0
            except VirkeError:
                continue  # nothing is lost: the writes stay pending, `status` shows them, the next round tries again
            with self._lock:
                if not left and not self._woken:  # else something came after the count
                    self._thread = None
                    return

    def stop(self) -> None:
        """End the thread; what is pending stays in the journal."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
