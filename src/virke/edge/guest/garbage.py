"""When Python looks for cycles that nothing refers to any more: after an answer, where no request and no step of upkeep pays for it.

By itself Python looks as soon as so many objects are new, whoever made them: 1.3 to 1.7 million instructions in the middle of any request.

Knows Python's collector; knows no request.

1. What was there when the component was built is never looked at: its memory stays shared with the image.
2. A single request that makes very many objects is interrupted all the same, or they would fill the sandbox.
"""

from __future__ import annotations

import gc
from typing import Final

NEW_MAX: Final = 4_000
"""New objects after which it is time to look."""
NEW_IN_A_REQUEST_MAX: Final = 50_000
"""Objects with a header each: some 5 MiB."""


def keep_what_is_here() -> None:
    """What exists by now is never looked at; while the component is built."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_IN_A_REQUEST_MAX)


def collect_after_answer() -> None:
    """Look, if it is time."""
    if gc.get_count()[0] >= NEW_MAX:
        gc.collect()
