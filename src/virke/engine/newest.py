"""Proving that a root is the newest: what a `strong` read needs, and an answer that changed nothing.

Knows the volume and the commit protocol.

1. Where reads are linearizable, one conditional read is the proof.
2. On an eventual store only a swap proves it: the root is replaced by itself, with the next version.
"""

from __future__ import annotations

from typing import Final

from virke.core.change import next_root, untouched
from virke.core.commit import Plan
from virke.core.root import RootAt
from virke.engine.outcome import commit_plan
from virke.engine.volume import Volume
from virke.errors import OutcomeUnknown, Unavailable
from virke.stores.base import Consistency

ATTEMPTS: Final = 16


def is_newest(volume: Volume, base: RootAt) -> bool:
    """Whether nothing was committed since `base`, as of some moment during the call. Raises `Unavailable`."""
    if volume.store.register.consistency is Consistency.LINEARIZABLE:
        return volume.refresh().root is base.root
    environment = volume.environment
    same = next_root(base.root, environment.commit_id(), untouched(base.root, environment.now_ms()))
    try:
        return commit_plan(volume, base, Plan(same)) is not None
    except OutcomeUnknown as error:  # whether it happened is nobody's concern: it changes nothing
        raise Unavailable(f"the store does not show its newest state: {error.message}") from error


def confirm(volume: Volume) -> None:
    """Make the newest root known, as of some moment during the call.

    Raises:
        Unavailable: the store does not answer, or other commits won every race.
    """
    if volume.store.register.consistency is Consistency.LINEARIZABLE:
        volume.refresh()
        return
    for _ in range(ATTEMPTS):
        if is_newest(volume, volume.latest()):
            return
    raise Unavailable("other commits won every race; repeat the call")
