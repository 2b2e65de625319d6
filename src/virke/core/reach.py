"""Which versions can be read from a root, and what to say of those that can't.

Pure. Knows roots; knows no store.
"""

from __future__ import annotations

from virke.core.ids import PageCount, Version
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.core.root import Root
from virke.core.segment import Head
from virke.errors import NotFound


def checked_version(root: Root, version: int) -> Version:
    """`version`, if `root` can show it.

    Raises:
        NotFound: it is in the future, or older than the history that is kept.
    """
    oldest, newest = max(1, root.horizon.version), root.head.version
    if not 1 <= version <= newest:
        raise NotFound(
            f"version {version} does not exist; the newest is {newest}",
            hint=f"versions {oldest} to {newest} can be read",
        )
    if version < oldest:
        raise older_than_history(root, f"version {version}")
    return Version(version)


def older_than_history(root: Root, what: str, since: str = "") -> NotFound:
    """The error that says that `what` was collected, and what keeps history for longer."""
    oldest, days = root.horizon.version, root.settings.history_days
    return NotFound(
        f"{what} is older than the history kept (from {oldest})",
        hint=f"the oldest that can be read is version {oldest}{since}; "
        f"the setting history_days (now {days}) says for how long history is kept",
    )


def empty_head(root: Root, version: Version) -> Head:
    """The state of a database before its first pages."""
    return Head(version, root.head.commit_id, root.created_ms, PAGE_SIZE_DEFAULT, PageCount(0), 0)
