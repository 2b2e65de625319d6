"""Proving that a root is the newest: what a `strong` read needs, and an answer that changed nothing.

Knows the volume and the commit protocol.

1. Where reads are linearizable, one conditional read is the proof.
2. On an eventual store only a swap proves it: the root is replaced by itself, with the next version. Whoever waits
   while another's swap, begun after it asked, succeeds, needs none of its own.
"""

from __future__ import annotations

from typing import Final

from virke.core.change import next_root, untouched
from virke.core.commit import Plan
from virke.core.root import RootAt
from virke.engine.outcome import commit_plan
from virke.engine.turns import Turns
from virke.engine.volume import Volume
from virke.errors import OutcomeUnknown, Unavailable

ATTEMPTS: Final = 16


def is_newest(volume: Volume, turns: Turns, base: RootAt) -> bool:
    """Whether nothing was committed since `base`, as of some moment during the call; the caller leads.

    Raises:
        Unavailable: nobody can tell.
    """
    if volume.branch.is_linearizable:
        return volume.branch.refresh().root is base.root
    environment = volume.environment
    same = next_root(base.root, environment.commit_id(), untouched(base.root, environment.now_ms()))
    began_at = environment.monotonic()
    try:
        if commit_plan(volume, base, Plan(same)) is None:
            return False
        turns.took(same.head.commit_id, began_at)
        return True
    except OutcomeUnknown as error:  # whether it happened is nobody's concern: it changes nothing
        raise Unavailable(f"the store does not show its newest state: {error.message}") from error


def confirm(volume: Volume, turns: Turns) -> None:
    """Make the newest root known, as of some moment during the call.

    Raises:
        Unavailable: the store does not answer, or other commits won every race.
    """
    if volume.branch.is_linearizable:
        volume.branch.refresh()
        return
    asked_at = volume.environment.monotonic()
    for _ in range(ATTEMPTS):
        with turns.lead:
            if turns.proved_from > asked_at or is_newest(volume, turns, volume.branch.latest()):
                return
    raise Unavailable("other commits won every race; repeat the call")
