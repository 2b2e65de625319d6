"""What a register promises, one call after the other.

Knows the sentences R2 to R11 of the contract; what happens when many call at once is `races`' matter.

1. Each check uses registers of its own.
2. That a refused call changed nothing is proved by a swap at the old generation, which a stale read can't fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from virke.core.effects import Generation, Lost, Record, Swapped, Unchanged
from virke.doctor.trial import Trial, check_refused, outcome_text
from virke.doctor.verdict import Finding, Refuted, Unproved

_EQUAL: Final = b"equal"


def create_only(trial: Trial) -> Finding:
    """R2."""
    key = trial.register_key()
    first = trial.applied(key, b"first", None)
    check_refused(trial.register.swap(key, b"second", None), "a second creation")
    trial.untouched(key, b"first", first)
    return Finding("a second creation is refused and changes nothing")


def check_swap(trial: Trial) -> Finding:
    """R3, the swap that is applied."""
    key = trial.register_key()
    first = trial.applied(key, b"1", None)
    second = trial.applied(key, b"2", first)
    if trial.shown(key, b"2").generation != second and not trial.is_eventual:
        raise Refuted("a swap answers another generation than the one that is read")
    return Finding("a swap with the right generation replaces the value")


def stale_swap(trial: Trial) -> Finding:
    """R3, the swap that came too late."""
    key = trial.register_key()
    first = trial.applied(key, b"1", None)
    second = trial.applied(key, b"2", first)
    check_refused(trial.register.swap(key, b"3", first), "a swap with a stale generation")
    trial.untouched(key, b"2", second)
    return Finding("a stale generation is refused and changes nothing")


def missing_swap(trial: Trial) -> Finding:
    """R3, the swap of a key that is not there."""
    other, missing = trial.register_key(), trial.register_key()
    generation = trial.applied(other, b"1", None)
    check_refused(trial.register.swap(missing, b"1", generation), "a swap of a missing key")
    trial.applied(missing, b"1", None)
    return Finding("a swap of a missing key is refused and creates nothing")


def check_removal(trial: Trial) -> Finding:
    """R9."""
    key = trial.register_key()
    first = trial.applied(key, b"1", None)
    second = trial.applied(key, b"2", first)
    check_refused(trial.register.remove(key, first), "a removal with a stale generation")
    trial.removed(key, second)
    check_refused(trial.register.remove(key, second), "a removal of a missing key")
    check_refused(trial.register.swap(key, b"3", second), "a swap of a removed key")
    return Finding("a register is removed at its generation only")


def conditional_read(trial: Trial) -> Finding:
    """R6."""
    key, register = trial.register_key(), trial.register
    first = trial.applied(key, b"1", None)
    trial.shown(key, b"1")
    same = trial.until(lambda: register.read(key, first), lambda now: now == Unchanged(), register.consistency)
    if same != Unchanged() and not (isinstance(same, Record) and same.data == b"1"):
        raise Refuted(f"a read of what is known: {outcome_text(same)}")
    trial.applied(key, b"2", first)

    def is_new(outcome: object) -> bool:
        return isinstance(outcome, Record) and outcome.data == b"2"

    if not is_new(news := trial.until(lambda: register.read(key, first), is_new, register.consistency)):
        raise Refuted(f"a read of what has changed: {outcome_text(news)}")
    if isinstance(same, Record):
        return Finding("sends what is known once more", "Each look for news moves the whole root: reads are slower.")
    return Finding("what is known is not sent again, what has changed is")


def check_generations(trial: Trial) -> Finding:
    """R4."""
    key, seen = trial.register_key(), list[Generation]()
    for _ in range(2):
        base: Generation | None = None
        for _ in range(3):
            base = _fresh_generation(trial, key, base, seen)
            for past in seen:
                check_refused(trial.register.swap(key, _EQUAL, past), "a swap with a generation of the past")
            seen.append(base)
        trial.removed(key, seen[-1])
    return Finding(f"{len(seen)} writes of equal bytes had {len(seen)} generations")


def _fresh_generation(trial: Trial, key: str, base: Generation | None, seen: Sequence[Generation]) -> Generation:
    """The generation after a swap to equal bytes, which has to be none of those `seen`."""

    def is_fresh(now: object) -> bool:
        return isinstance(now, Record) and now.generation not in seen

    match trial.register.swap(key, _EQUAL, base):
        case Swapped(None):
            now = trial.until(lambda: trial.register.read(key), is_fresh, trial.register.consistency)
            generation = now.generation if isinstance(now, Record) else None
        case Swapped(generation):
            pass
        case Lost(reason):
            raise Unproved(f"the answer to a swap was lost: {reason}")
        case _:
            raise Refuted("a swap with the right generation was refused")
    if generation is None:
        raise Refuted("what was written is not read")
    if generation in seen:
        raise Refuted(f"{len(seen) + 1} writes of equal bytes, and a generation came back")
    return generation


def keys_listed(trial: Trial) -> Finding:
    """R11."""
    made = sorted(trial.register_key() for _ in range(4))
    generations = [trial.applied(key, b"", None) for key in made]
    trial.removed(made[0], generations[0])

    def listed() -> list[str]:
        return [key for key in trial.register.keys(made[0].rpartition(".")[0]) if key in made]

    found = trial.until(listed, lambda now: now == made[1:], trial.register.consistency)
    if found != made[1:]:
        raise Refuted(f"3 registers are there and 1 was removed, the listing has {len(found)} of them")
    return Finding("a listing has what is there and not what was removed")
