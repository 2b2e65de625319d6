"""What a server asks of a database besides what callers ask: writes that no thread waits for.

Knows the parts of a database; knows no loop and no thread.

1. `enqueue` never waits. What it returns is to be called in a thread; it leads until nothing waits.
2. Whoever is told that a write is done sees it in the next read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from virke.engine.programs import Program, Step, hash_key
from virke.engine.queue import Pending
from virke.engine.results import bookmark_of

if TYPE_CHECKING:
    from virke.engine.assembly import Parts

COMPANY_SHARE: Final = 0.5
"""The part of the last commit that a server's leader waits for company (`commit_window_ms=auto`)."""


class Serving:
    """A database as a server has it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def take_over(self) -> None:
        """From now on a server writes here: the leader waits longer for company."""
        self._parts.writer.company_share = COMPANY_SHARE

    @property
    def foreign_keys(self) -> bool:
        """Whether foreign keys are checked where a client does not say: the database's setting."""
        return self._parts.branch.latest().root.settings.foreign_keys == "on"

    def program(
        self,
        steps: tuple[Step, ...],
        *,
        key: str | None = None,
        foreign_keys: bool | None = None,
        keeps_going: bool = False,
        timeout_ms: int | None = None,
    ) -> Program:
        """A program of this moment. Raises `Invalid`: the key is not text."""
        return Program(
            steps,
            self._parts.volume.environment.now_ms(),
            self.foreign_keys if foreign_keys is None else foreign_keys,
            hash_key(key) if key else None,
            keeps_going=keeps_going,
            timeout_ms=timeout_ms,
        )

    def enqueue(self, program: Program, on_done: Callable[[Pending], None]) -> Callable[[], None] | None:
        """Put a program in line; see `Writes.enqueue`. Raises `Denied`, `Invalid`: it may not write, or is closed."""
        return self._parts.writes.enqueue(program, on_done)

    @property
    def stale_ms(self) -> int | None:
        """How old the state is that reads see, if it is older than allowed (`stale_if_down_ms`)."""
        return self._parts.freshness.stale_ms

    def bookmark(self) -> str:
        """The bookmark of the newest state that this process knows."""
        return bookmark_of(self._parts.branch.latest().root)
