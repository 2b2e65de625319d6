"""Bookmarks: a read that carries one sees nothing older, or gets an error that says why it can't.

Knows the branch and what a bookmark proves (core/lineage); knows no pages and no SQL.

1. A bookmark comes from a caller. If it contradicts the history that is known, that is an error of the request
   (`Invalid`), never of the database.
2. For bookmarks that are newer than what is known the root is read, at most once per `LOOK_EVERY_S`, for all requests
   that wait together.
3. Where reads are linearizable the first read begun after the request decides: what it does not show is not in this
   history, and if this process knew that state, the store lost it (`Corrupt`).
4. Elsewhere the state may only not be shown yet: a request waits for at most `WAIT_MOST_S`, then `Unavailable`.
"""

from __future__ import annotations

import threading
from typing import Final

from virke.core.lineage import Behind, Contradicts, Mark, held_against
from virke.engine.branch import Branch
from virke.engine.results import mark_in
from virke.errors import Corrupt, Invalid, Unavailable

LOOK_EVERY_S: Final = 0.05
WAIT_MOST_S: Final = 1.0


class Bookmarks:
    """The requests of one database that carry a bookmark."""

    def __init__(self, branch: Branch) -> None:
        self._branch = branch
        self._environment = branch.environment
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._begun = self._done = 0
        """The numbers of the last look that was begun, and of the last that was answered."""

    def wait_for(self, bookmark: str) -> None:
        """Make the state that `bookmark` names known.

        Raises:
            Invalid: it is not one of this history. Unavailable: the store does not show it yet. Corrupt: it lost it.
        """
        name, mark = mark_in(bookmark)
        if name != self._branch.branch:
            raise Invalid(f"bookmark {bookmark!r} is of another branch than {self._branch.branch!r}")
        first, until_s = self._begun, self._environment.monotonic() + WAIT_MOST_S
        while True:
            done = self._done  # before the root is looked at: what came meanwhile is looked at in the next round
            if not self._is_behind(bookmark, mark):
                return
            if self._branch.is_linearizable:
                if done > first:
                    raise self._not_there(bookmark, mark)
                self._look_at_root(first)
            elif self._environment.monotonic() >= until_s:
                raise Unavailable("the store does not show the state of this bookmark yet; repeat the call")
            else:
                self._look_at_root(done)

    def _is_behind(self, bookmark: str, mark: Mark) -> bool:
        match held_against(mark, self._branch.latest().root):
            case Contradicts(reason):
                raise Invalid(f"bookmark {bookmark!r} is not one of this database's history: {reason}")
            case found:
                return isinstance(found, Behind)

    def _not_there(self, bookmark: str, mark: Mark) -> Corrupt | Invalid:
        if self._branch.was_known_here(mark):
            return Corrupt(f"the store lost commits: it does not show the state of bookmark {bookmark!r} any more")
        return Invalid(
            f"bookmark {bookmark!r} is newer than this database: it is from another one, or its store lost it"
        )

    def _look_at_root(self, after: int) -> None:
        """Read the root, unless another request has had it read since look number `after`."""
        with self._lock:
            if self._done > after:
                return
            if (left_s := self._looked_at + LOOK_EVERY_S - self._environment.monotonic()) > 0:
                self._environment.wait(left_s)
            self._looked_at = self._environment.monotonic()
            self._begun += 1
            self._branch.refresh()
            self._done = self._begun
