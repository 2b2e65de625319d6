"""What a deferred write was answered, so that running it again can be held against it; and the randomness it drew.

Pure values. Knows answers, and nothing of journals and pushes.

1. A write that is run again draws the same random bytes as the first time (`SeededBytes`).
2. It must answer what its caller was answered (`check_answers`): otherwise nothing of it may be applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b, shake_256
from typing import Final

from virke.core.ids import ID_BYTES
from virke.engine.programs import Answer, Skipped
from virke.engine.results import QueryResult
from virke.engine.sqlite import Row
from virke.errors import Conflict, VirkeError
from virke.lazy_dataclasses import dataclass

SEED_BYTES: Final = 16
ROWS_BYTES_MAX: Final = 16 << 10
"""Longer answers are kept as a digest."""
_SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Answered:
    """What one step was answered; `rows` is None if they were too many to keep, or if it was an error or skipped."""

    rows: tuple[Row, ...] | None
    digest: bytes
    affected: int = 0
    rowid: int | None = None


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What a write that is run again drew its random bytes from, and what it was answered (None: it is run first now).

    `counts_only`: its caller was answered the rows affected and nothing else.
    """

    seed: bytes
    answers: tuple[Answered, ...] | None = None
    counts_only: bool = False


def kept_answers(answers: Sequence[Answer]) -> tuple[Answered, ...]:
    """What is kept of a program's answers."""
    return tuple(_kept_answer(one) for one in answers)


def _kept_answer(answer: Answer) -> Answered:
    match answer:
        case Skipped():
            return Answered(None, _digest_of_rows([("skipped",)]))
        case VirkeError(kind=kind, message=message):
            return Answered(None, _digest_of_rows([("error", kind, message)]))
        case QueryResult():
            size = sum(len(value) if isinstance(value, (str, bytes)) else 8 for row in answer.rows for value in row)
            rows = tuple(answer.rows) if size + 8 * len(answer.rows) <= ROWS_BYTES_MAX else None
            return Answered(rows, _digest_of_rows(answer.rows), answer.rows_affected, answer.last_insert_rowid)


def _digest_of_rows(rows: Iterable[Row]) -> bytes:
    digest = blake2b(digest_size=ID_BYTES)
    for row in rows:
        digest.update(repr(row).encode(errors="surrogatepass"))
    return digest.digest()


def check_answers(first: FirstRun | None, answers: Sequence[Answer]) -> None:
    """Raise `Conflict` unless a write that was run again answers what it answered first."""
    if first is None or first.answers is None:
        return
    was, now = first.answers, kept_answers(answers)
    if first.counts_only:
        before, after = sum(one.affected for one in was), sum(one.affected for one in now)
        if before != after:
            raise _difference_error("rows affected", before, after)
        return
    for old, new in zip(was, now, strict=False):
        if old.digest != new.digest:
            raise _difference_error("rows", old.rows, new.rows)
        if old.affected != new.affected:
            raise _difference_error("rows affected", old.affected, new.affected)
        if old.rowid != new.rowid:
            raise _difference_error("last_insert_rowid", old.rowid, new.rowid)
    if len(was) != len(now):
        raise _difference_error("results", len(was), len(now))


def _difference_error(what: str, before: object, after: object) -> Conflict:
    then, now = _short_text(before), _short_text(after)
    before_and_now = f"{what} {then}, now {now}" if then != now and before is not None else f"other {what} than now"
    return Conflict(
        f"it was answered with {before_and_now}, because other commits came first; nothing of it was applied"
    )


def _short_text(value: object) -> str:
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


class SeededBytes:
    """Random bytes that are the same for the same seed: what `random()` and `randomblob()` are made of."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._drawn = 0

    def __call__(self, length: int) -> bytes:
        """The next `length` bytes."""
        self._drawn += 1
        return shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(length)
