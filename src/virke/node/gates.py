"""A gate for each database: of the transactions that write through this server one at a time goes on.

Knows the event loop; knows no database. Whoever waits does so on the loop: a thread that waited here would keep the one
that holds the gate from getting a thread for its COMMIT.

1. First come, first served. A wait is over after `wait_s`, which is `Busy`: nothing was begun.
"""

from __future__ import annotations

import asyncio

from virke.errors import Busy


class Gates:
    """The gates of one event loop, by the name of the database."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    async def enter(self, name: str, wait_s: float) -> None:
        """Hold the gate, once those before have left it. Raises `Busy`: that took too long."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            await asyncio.wait_for(lock.acquire(), wait_s)
        except TimeoutError as error:
            self._forget_user(name)
            raise Busy(f"database is locked: another transaction has been writing for {wait_s:g} s") from error
        except BaseException:
            self._forget_user(name)
            raise

    def leave(self, name: str) -> None:
        """Let the next one through."""
        self._locks[name].release()
        self._forget_user(name)

    def _forget_user(self, name: str) -> None:
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name], self._locks[name]
