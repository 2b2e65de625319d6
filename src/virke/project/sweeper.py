"""`python -m virke.project.sweeper`: ends the process groups that its parent left behind, when the parent is gone.

Reads lines: `+GROUP` is there, `-GROUP` has ended. When its standard input ends, however the parent ended, what is still
there is asked to end (SIGTERM) and, a while later, ended (SIGKILL). Knows nothing else, and loads nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

PATIENCE_S: Final = 2.0
STEP_S: Final = 0.05


def is_there(group: int) -> bool:
    """Whether any process of a group is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, 0)
        return True
    return False


def end_groups(groups: set[int]) -> None:
    """End these groups."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        deadline_s = time.monotonic() + PATIENCE_S
        while any(map(is_there, groups)) and time.monotonic() < deadline_s:
            time.sleep(STEP_S)


def main() -> None:
    """Keep the list until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set[int]()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups)


if __name__ == "__main__":
    main()
