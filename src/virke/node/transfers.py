"""Imports and exports of a node: a few at a time, in threads of their own.

Knows operations and threads; knows no socket.

1. They never take the threads that reads need: an import waits for its client's bytes.
2. Beyond `TRANSFERS_MAX` at a time, the next one is `Busy`: each needs room on the disk, and none waits with a body half
   read.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import BoundedSemaphore
from typing import Final

from virke.api.messages import Parts
from virke.api.operations import Export, Import
from virke.api.performing import perform_operation
from virke.errors import Busy
from virke.node.databases import Databases
from virke.scopes import Scope

TRANSFERS_MAX: Final = 4


class Transfers:
    """What performs imports and exports."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._threads = ThreadPoolExecutor(TRANSFERS_MAX, "virke-transfer")
        self._free = BoundedSemaphore(TRANSFERS_MAX)

    async def perform(self, operation: Import | Export, scope: Scope) -> object:
        """Do it, with what `scope` allows. Raises `Busy`, and as `perform`."""
        if not self._free.acquire(blocking=False):
            raise Busy(f"{TRANSFERS_MAX} imports and exports run here already; nothing was changed")
        try:
            loop, run = asyncio.get_running_loop(), copy_context().run
            done = await loop.run_in_executor(self._threads, run, perform_operation, operation, self._databases, scope)
            if isinstance(done, Parts):
                return Parts(done, partial(self._end_transfer, done))
        except BaseException:
            self._free.release()
            raise
        self._free.release()
        return done

    def _end_transfer(self, parts: Parts) -> None:
        try:
            parts.close()
        finally:
            self._free.release()

    def close(self) -> None:
        """Wait for what runs."""
        self._threads.shutdown(wait=True, cancel_futures=True)
