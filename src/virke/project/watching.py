"""Changes of a project's files, as they are saved. The only file that imports watchfiles.

Knows which folders hold no source; knows nothing of what is done about a change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watchfiles import watch

from virke.errors import VirkeError
from virke.interrupts import mark_signals_met

HINT: Final = "WATCHFILES_FORCE_POLLING=1 looks at the files in a loop instead"
QUIET_MS: Final = 300
"""How long changes are gathered that follow each other, as when an editor saves several files."""
STEP_MS: Final = 50
NOT_SOURCE: Final = frozenset({"node_modules", "venv", "__pycache__", "dist", "build"})


def watch_changes(folder: Path, tick_ms: int) -> Iterator[frozenset[Path]]:
    """Paths that changed, relative to the folder; an empty set after each `tick_ms` without a change.

    Raises:
        KeyboardInterrupt: a signal came. VirkeError: the system does not say what changes, here.
    """
    top = folder.resolve()

    def is_source(change: object, path: str) -> bool:
        if not Path(path).is_relative_to(top):
            return False
        parts = Path(path).relative_to(top).parts
        return not any(part in NOT_SOURCE or part.startswith(".") for part in parts[:-1])

    told = watch(
        top,
        watch_filter=is_source,
        debounce=QUIET_MS,
        step=STEP_MS,
        rust_timeout=tick_ms,
        yield_on_timeout=True,
        raise_interrupt=True,
        ignore_permission_denied=True,
    )
    while True:
        try:
            found = next(told)
        except KeyboardInterrupt:
            mark_signals_met()  # the library drops what the signal's handler raised, and raises one of its own
            raise
        except (OSError, RuntimeError) as error:  # the second is what its core raises
            raise VirkeError(f"can't watch {top} for changes: {error}", hint=HINT) from error
        yield frozenset(Path(path).relative_to(top) for _, path in found)
