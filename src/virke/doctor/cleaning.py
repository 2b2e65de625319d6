"""Removing what an examination wrote.

Knows registers and objects; knows no check.

1. Only keys of this run are touched.
2. A step that fails is tried once more; after `FAILURES_MAX` errors in a row nothing is tried any more.
3. What is left, or may be, is named: what could not be removed, and where listings are up to date, what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from virke.core.effects import Record, Swapped, Tier
from virke.doctor.traces import TracedRegister, Traces
from virke.doctor.trial import wait_for_turn
from virke.doctor.verdict import Status, Verdict
from virke.engine.environment import Environment
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Consistency, Register, Store

NAME: Final = "cleaning up"
FAILURES_MAX: Final = 4
TRIES: Final = 2
_REMOVALS_MAX: Final = 7
_PAUSE_S: Final = 0.05
_PAUSE_MOST_S: Final = 4.0
_NAMED_MAX: Final = 5


@dataclass
class _Failures:
    """How many errors came in a row, and the last one of all."""

    in_a_row: int = 0
    last: Exception | None = None


def remove_traces(store: Store, traces: Traces, environment: Environment) -> Verdict:
    """Remove what `traces` name, and say what could not be."""
    register = TracedRegister(store.register, traces, partial(wait_for_turn, environment))
    steps: list[tuple[Sequence[str], Callable[[], Sequence[str]]]] = [
        ([key], partial(_remove_register, register, key, environment)) for key in traces.there
    ]
    steps += [(traces.objects.get(tier, ()), partial(_delete_objects, store, tier, traces)) for tier in store.blobs]
    steps.append(([f"doctor/{traces.run}"], lambda: [*_still_there(store, traces)]))
    failures = _Failures()
    left = sorted({name for names, step in steps for name in _left_by(step, names, failures)})
    if not left:
        return Verdict(NAME, Status.OK, "all that was written is removed", "Nothing is left behind.")
    more = f" and {len(left) - _NAMED_MAX} more" if len(left) > _NAMED_MAX else ""
    why = f" ({failures.last})" if failures.last else ""
    found = f"may be left: {', '.join(left[:_NAMED_MAX])}{more}{why}"
    means = f"No database needs it: what begins with doctor/{traces.run} may be deleted by hand."
    return Verdict(NAME, Status.WARN, found, means)


def _left_by(step: Callable[[], Sequence[str]], names: Sequence[str], failures: _Failures) -> Sequence[str]:
    """What a step could not remove: what it says, or all of its `names` if it fails."""
    for _ in range(TRIES):
        if failures.in_a_row >= FAILURES_MAX:
            break
        try:
            left = step()
        except Exception as error:  # whatever it is: the next step may go
            failures.in_a_row += 1
            failures.last = error
        else:
            failures.in_a_row = 0
            return left
    return names


def _remove_register(register: Register, key: str, environment: Environment) -> Sequence[str]:
    """Remove one register; the key if that was not possible."""
    for attempt in range(_REMOVALS_MAX):
        if attempt:
            environment.pause(attempt, first_s=_PAUSE_S, longest_s=_PAUSE_MOST_S)
        record = register.read(key)
        if isinstance(record, Record):
            if isinstance(register.remove(key, record.generation), Swapped):
                return ()
        elif register.consistency is Consistency.LINEARIZABLE:
            return ()
    return (key,)


def _delete_objects(store: Store, tier: Tier, traces: Traces) -> Sequence[str]:
    """Delete a tier's objects; and where registers are objects, what is left of those that were removed."""
    store.blobs[tier].delete([*traces.objects.get(tier, ()), *traces.registers])
    return ()


def _still_there(store: Store, traces: Traces) -> Iterator[str]:
    if store.register.consistency is Consistency.LINEARIZABLE:
        yield from store.register.keys(traces.register_prefix)
    for blobs in store.blobs.values():
        if blobs.consistency is Consistency.LINEARIZABLE:
            for prefix in (traces.object_prefix, traces.register_prefix):
                yield from (item.key for item in blobs.list(prefix))
