"""How much memory this process may use, as the system says: the machine's, or the limit of its control group.

Knows where Linux writes such limits (control groups of version 1 and 2); reads a few small files, and believes what can
be read. Elsewhere it knows the machine's memory at most.

1. The smallest limit counts: of the process's own group and of all groups above it.
2. Nothing here raises: what can't be read, or is not a number, is not a limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

SHARE: Final = 4
"""A process takes one part in so many by default, and never more than `MOST_BYTES`."""
MOST_BYTES: Final = 1 << 30
UNKNOWN_BYTES: Final = 1 << 30
"""Where nothing is known of the machine."""
_FILE_BYTES_MAX: Final = 1 << 16
_CONTROL_FILES: Final = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""By the controller that a line of /proc/self/cgroup names: none in version 2."""


def default_budget_bytes(system: Path = Path("/"), ram_bytes: int | None = None) -> int:
    """The memory that a process may use if its user says nothing; `system` is where /proc and /sys are."""
    limits = [ram_bytes or _ram_bytes(), *_group_limits(system)]
    return min(min((limit for limit in limits if limit), default=UNKNOWN_BYTES) // SHARE, MOST_BYTES)


def _ram_bytes() -> int | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES")  # less than one where the system does not know, as in WebAssembly
        return os.sysconf("SC_PAGE_SIZE") * pages if pages > 0 else None
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return None


def _group_limits(system: Path) -> Iterator[int]:
    """The limits of all groups that this process is in."""
    mount = system / "sys" / "fs" / "cgroup"
    for line in _text_of_file(system / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller, name in _CONTROL_FILES.items():
            if controller not in controllers.split(","):
                continue
            base = mount / controller
            group = PurePosixPath(path.lstrip("/"))
            # in a container the path may be the host's: then the group itself is at the mount
            for folder in (group, *group.parents):
                with suppress(ValueError):
                    yield int(_text_of_file(base / folder / name))


def _text_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
