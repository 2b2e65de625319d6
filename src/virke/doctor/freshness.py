"""Whether reads are as new as the store declares, also for those who know an old state.

Knows R6 and what a store declares of its reads; knows nothing of what is written.

1. Of a store that declares no read to be old, one old answer refutes it, however rare: of one in a hundred, 768 reads miss
   all with a chance of 1 : 2,000.
2. An eventual store may answer old values; how long is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Final

from virke.core.effects import Generation, Lost, Mismatch, ReadOutcome, Record
from virke.doctor.trial import Trial, outcome_text
from virke.doctor.verdict import Finding, Refuted, Unproved
from virke.errors import Unavailable
from virke.lazy_dataclasses import dataclass

WRITES: Final = 12
READS: Final = 4
"""What each of many threads reads after a write."""
OLDER: Final = 3
"""How many states that were replaced last a reader may know."""
READERS: Final = 4
READS_MAX: Final = 100
STALE_WARN_MS: Final = 1000.0
_LATE: Final = "Others see a commit more than a second late; where that matters, read with `strong` or a bookmark (P5)."


@dataclass(frozen=True)
class _Behind:
    """How one reader came to see a write: old reads before it did, milliseconds until then, and the generation."""

    reads: int
    waited_ms: float
    seen: Generation | None


def stale_reads(trial: Trial) -> Finding:
    """What the register declares of its reads: right after each write many read, or on an eventual one, until they see it."""
    if trial.is_eventual:
        return _seen_at_last(trial)
    return _all_new(trial, "reads right after a write", lambda key, _: trial.register.read(key))


def stale_conditional_reads(trial: Trial) -> Finding:
    """R6 for what is known and old: each read after a change that knows a state from before it gets the new one."""
    if trial.is_eventual:
        return Finding("not asked: this store declares that reads may be old")

    def read(key: str, known: Sequence[Generation]) -> ReadOutcome:
        return trial.register.read(key, known[trial.environment.random_bytes(1)[0] % len(known)])

    return _all_new(trial, "reads that know an older state", read)


def _all_new(trial: Trial, what: str, read: Callable[[str, Sequence[Generation]], ReadOutcome]) -> Finding:
    """After each write many threads read several times; `read` is given the generations that were replaced last."""
    key = trial.register_key()
    known = [trial.applied(key, b"0", None)]
    answers, old, first = 0, 0, ""
    for number in range(1, WRITES + 1):
        data = b"%d" % number
        new = trial.applied(key, data, known[-1])
        for outcome in chain.from_iterable(trial.together(partial(_read_often, read, key, known[-OLDER:]))):
            answers += 1
            if not (isinstance(outcome, Record) and outcome.data == data):
                old += 1
                first = first or outcome_text(outcome)
        known.append(new)
        if trial.is_over or not answers:  # who was not answered once is not asked hundreds of times
            break
    if old:
        share = f"{old} of {answers}, {100 * old / answers:.0f} %" if old * 100 >= answers else f"{old} of {answers}"
        raise Refuted(f"declares that no read is old: {share} of the {what} were ({first})")
    if not answers:
        raise Unproved("no read was answered")
    return Finding(f"{answers} {what}, none was old")


def _read_often(
    read: Callable[[str, Sequence[Generation]], ReadOutcome], key: str, known: Sequence[Generation], _: int
) -> list[ReadOutcome]:
    answers = []
    for _ in range(READS):
        with suppress(Unavailable):  # no answer is not an old answer
            answers.append(read(key, known))
    return answers


def _seen_at_last(trial: Trial) -> Finding:
    """After each write several readers read until they see it; how long that took at worst."""
    key, readers = trial.register_key(), list[_Behind]()
    base = trial.applied(key, b"0", None)
    for number in range(1, WRITES + 1):
        data = b"%d" % number
        match trial.register.swap(key, data, base):
            case Mismatch():
                raise Refuted("a swap with the right generation was refused")
            case Lost(reason):
                raise Unproved(f"the answer to a swap was lost: {reason}")
        since = trial.environment.monotonic()
        found = trial.together(partial(_read_until, trial, key, data, since=since), READERS)
        readers += found
        seen = next((one.seen for one in found if one.seen), None)
        if seen is None or trial.is_over:
            break
        base = seen
    return _staleness_finding(readers)


def _read_until(trial: Trial, key: str, data: bytes, _: int, *, since: float) -> _Behind:
    old, seen = 0, None
    for attempt in range(READS_MAX):
        try:
            record = trial.register.read(key)
            if isinstance(record, Record) and record.data == data:
                seen = record.generation
                break
            old += 1
        except Unavailable:
            pass  # no answer is not an old answer
        if trial.is_over:
            break
        trial.pause(attempt)
    return _Behind(old, (trial.environment.monotonic() - since) * 1000, seen)


def _staleness_finding(readers: Sequence[_Behind]) -> Finding:
    worst = max(readers, key=lambda one: (one.reads > 0, one.waited_ms))
    if not worst.reads:
        if all(one.seen is None for one in readers):
            raise Unproved("no read was answered")
        return Finding(f"{len(readers)} reads right after a write, none was old")
    shown = "" if worst.seen else ", and it was still not shown"
    found = f"{worst.reads} old read{'s'[: worst.reads != 1]} in {worst.waited_ms:.0f} ms after a write{shown}"
    late = worst.waited_ms > STALE_WARN_MS or not worst.seen
    return Finding(f"at worst {found}", _LATE if late else "")
