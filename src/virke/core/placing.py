"""One record into one register, by compare-and-swap, and found out honestly: what creation and deletion are made of.

Pure: a generator of effects. A commit has more to find out (core/commit): here no ring is asked, the caller's `look`
says whether what the register shows is our record, or makes ours impossible.

1. The swap is sent again (once its slot has come, if that is what it was refused for) only while `look` sees neither: records are such that a repeat is harmless.
2. `Unproved` says whether some request can have been applied. It is all that is said when the tries are over.
3. A store that fails is asked as often as the back-off has it, and for what it shows: as in core/commit, rule 6.
4. An error that the world raises says nothing of the requests before it: `Unproved`, unless none can have been applied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from virke.core.backoff import read_root, tries_again
from virke.core.effects import (
    Absent,
    AwaitSlot,
    Effect,
    Lost,
    Mismatch,
    Outcome,
    Paced,
    Pause,
    Record,
    Refused,
    RemoveRoot,
    Swapped,
    SwapRoot,
)
from virke.errors import Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass

SENDS: Final = 8
SLOTS: Final = 64
ABSENT_READS: Final = 8


@dataclass(frozen=True, slots=True)
class Placed:
    """It is there, or was and has been replaced since."""


@dataclass(frozen=True, slots=True)
class Beaten:
    """The register holds something else, and will never hold ours."""

    by: Record | Absent


@dataclass(frozen=True, slots=True)
class Unproved:
    """The tries are over. `is_surely_not`: no request was applied, and none is on its way."""

    reason: str
    is_surely_not: bool


Look = Callable[[Record | Absent], Placed | Beaten | None]
Placing = Generator[Effect, Outcome, Placed | Beaten | Unproved]


def place_record(swap: SwapRoot | RemoveRoot, look: Look) -> Placing:
    """Perform `swap` until it is known what became of it."""
    is_surely_not, reason = True, ""
    sends = slots = failed = 0
    while sends < SENDS and slots < SLOTS:
        try:
            answer = yield swap
            match answer:
                case Swapped():
                    return Placed()
                case Refused(why, is_down=True) if not sends:  # as in core/commit, rule 13
                    return Unproved(why, is_surely_not=True)
                case Refused(why):
                    reason = why
                case Paced():
                    reason = "it takes no more swaps at this moment"
                case Lost(why):
                    is_surely_not, reason = False, why
                case Mismatch():  # perhaps the answer to a repeat, on the way, of our own success
                    is_surely_not, reason = False, "the store does not show it"
            seen, failed = yield from read_root(swap.key, failed + isinstance(answer, Lost | Refused))
            found = look(seen) if isinstance(seen, Record | Absent) else None
            if isinstance(seen, Lost):
                break
            if found is None and isinstance(answer, Paced):
                slots += 1
                yield AwaitSlot(answer)
                continue
        except VirkeError as error:
            if is_surely_not:
                raise
            return Unproved(error.message, is_surely_not=False)
        if found is not None:
            return found
        sends += 1
        if isinstance(answer, Lost | Refused):
            if not (yield from tries_again(failed, answer.retry_after_s)):
                break
        elif sends < SENDS:
            yield Pause(sends - 1)
    return Unproved(reason, is_surely_not)


def read_record(key: str, *, expects: bool = False) -> Generator[Effect, Outcome, Record | Absent]:
    """What the register under `key` holds. With `expects`, absence is asked about again: it may be too new to be shown.

    Raises:
        Unavailable: the store does not answer.
    """
    absent = failed = 0
    while True:
        seen, failed = yield from read_root(key, failed)
        match seen:
            case Record() as record:
                return record
            case Absent() as none:
                absent += 1
                if not expects or absent == ABSENT_READS:
                    return none
                yield Pause(absent - 1)
            case Lost(reason, retry_after_s):
                raise Unavailable(f"the store does not answer: {reason}", retry_after_s=retry_after_s)
            case other:
                raise AssertionError(f"a root was asked for, not {other}")
