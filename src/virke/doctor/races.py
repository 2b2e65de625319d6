"""What holds when many call at once: creations and increments.

Knows threads and R2, R5, B2; knows nothing of a single caller.

1. A race is bounded by attempts and by time. One that was cut short says how far it came.
2. A call that the store called off (`Unavailable`) was not applied, and one whose answer was lost may have been: neither
   is counted as a success, and neither alone is held against the store.
3. The last value is read with a swap behind it, so a stale read can't pass for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import Final

from virke.core.effects import Generation, Lost, Mismatch, ReadOutcome, Record, Stored, SwapOutcome, Swapped, Tier
from virke.doctor.trial import THREADS, Trial
from virke.doctor.verdict import Finding, Refuted, Unproved
from virke.errors import Exists, Unavailable
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Range

ROUNDS: Final = 4
INCREMENTS: Final = 4
"""What each thread adds."""
ATTEMPTS_MAX: Final = 40
"""Swaps that each thread tries."""
LAST_READS_MAX: Final = 20


# Creations


def creation_race(trial: Trial) -> Finding:
    """R2 and R5: sixteen create one register."""

    def create(key: str, number: int) -> SwapOutcome | Unavailable:
        try:
            return trial.register.swap(key, b"%d" % number, None)
        except Unavailable as error:
            return error

    decided = 0
    for _ in range(ROUNDS):
        key = trial.register_key()
        outcomes = trial.together(partial(create, key))
        winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Swapped)]
        _one_winner(winners, len(outcomes) - outcomes.count(Mismatch()) - len(winners), "creations of one register")
        if winners:
            trial.shown(key, b"%d" % winners[0])
        decided += len(winners)
        if trial.is_over:
            break
    return _decided_finding(decided)


def object_race(trial: Trial, tier: Tier) -> Finding:
    """B2: sixteen put other bytes under one key."""

    def put(key: str, number: int) -> object:
        try:
            return trial.blobs(tier).put_new(key, b"%d" % number)
        except (Exists, Unavailable) as error:
            return error

    decided = 0
    for _ in range(ROUNDS):
        key = trial.object_key(tier)
        outcomes = trial.together(partial(put, key))
        winners = [number for number, outcome in enumerate(outcomes) if outcome == Stored()]
        exists = sum(isinstance(outcome, Exists) for outcome in outcomes)
        _one_winner(winners, len(outcomes) - exists - len(winners), "puts of other bytes under one key")
        if winners:
            trial.got(tier, [Range(key)], [b"%d" % winners[0]])
        decided += len(winners)
        if trial.is_over:
            break
    return _decided_finding(decided)


def _one_winner(winners: Sequence[int], unknown: int, what: str) -> None:
    if len(winners) > 1:
        raise Refuted(f"{len(winners)} of {THREADS} {what} at once were answered as applied")
    if not winners and not unknown:
        raise Refuted(f"none of {THREADS} {what} at once was applied")


def _decided_finding(rounds: int) -> Finding:
    if not rounds:
        raise Unproved("no round had a winner: the store called all of them off, or lost the answers")
    return Finding(f"{rounds} of {ROUNDS} rounds of {THREADS} at once had a winner, none had two")


# Increments


@dataclass
class _Counted:
    """What one thread did to the counter; `bases` are the generations that it replaced."""

    bases: list[Generation] = field(default_factory=list)
    lost: int = 0
    called_off: int = 0
    tries: int = 0

    def numbers(self) -> tuple[int, int, int]:
        """How many swaps were applied, of how many that is unknown, and how many were tried."""
        return len(self.bases), self.lost + self.called_off, self.tries


def lost_updates(trial: Trial) -> Finding:
    """R5: sixteen count up by compare-and-swap, their first swaps on one generation."""
    key = trial.register_key()
    start = Record(b"0", trial.applied(key, b"0", None))
    began = trial.environment.monotonic()
    threads = trial.together(lambda _: _count_up(trial, key, start))
    took_s = trial.environment.monotonic() - began
    replaced = Counter(base for one in threads for base in one.bases)
    applied, unsure, tries = (sum(numbers) for numbers in zip(*(one.numbers() for one in threads), strict=True))
    if applied > len(replaced):
        raise Refuted(f"{applied} swaps were answered as applied, on only {len(replaced)} generations")
    if not applied:
        nothing = f"none of {tries} swaps by {THREADS} at once was applied"
        raise Unproved(nothing) if unsure or trial.is_eventual else Refuted(nothing)
    last, lost = _last_value(trial, key), sum(one.lost for one in threads)
    if not applied <= last <= applied + lost:
        raise Refuted(f"{applied} increments were answered as applied, the counter says {last}")
    wanted = THREADS * INCREMENTS
    amount = f"{wanted}" if applied == wanted else f"{applied} of {wanted}"
    return Finding(f"{amount} increments by {THREADS} at once, none lost ({tries} swaps, {took_s:.1f} s)")


def _count_up(trial: Trial, key: str, start: Record) -> _Counted:
    done, losses = _Counted(), 0
    record: ReadOutcome = start
    while len(done.bases) < INCREMENTS and done.tries < ATTEMPTS_MAX and not trial.is_over:
        done.tries += 1
        try:
            if done.tries > 1:
                record = trial.register.read(key)
            if isinstance(record, Record):
                match trial.register.swap(key, b"%d" % (_number_in(record) + 1), record.generation):
                    case Swapped():
                        done.bases.append(record.generation)
                        losses = 0
                        continue
                    case Lost():
                        done.lost += 1
            elif not trial.is_eventual:
                raise Refuted("the counter is not there any more")
        except Unavailable as error:
            done.called_off += 1
            if error.context.get("is_answer"):  # what can't be understood is not understood by asking again
                break
        trial.pause(losses)
        losses += 1
    return done


def _number_in(record: Record) -> int:
    if not record.data.isdigit():
        raise Refuted(f"the counter holds what no writer wrote: {record.data[:32]!r}")
    return int(record.data)


def _last_value(trial: Trial, key: str) -> int:
    """The counter's value (invariant 3)."""
    for attempt in range(LAST_READS_MAX):
        record = trial.register.read(key)
        if isinstance(record, Record) and isinstance(trial.register.swap(key, record.data, record.generation), Swapped):
            return _number_in(record)
        trial.pause(attempt)
    raise Unproved("the counter could not be read without another writer's swap in between")
