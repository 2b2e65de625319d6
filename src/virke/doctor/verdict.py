"""What a check says, and what all of them say together.

Pure. Knows neither stores nor how a check is made.

1. A check has one sentence for what it means if the store keeps the contract and one for what it means if not;
   a warning brings its own.
2. A store is fit if every check was made and none failed. A check that could not be finished proves nothing.
"""

from __future__ import annotations

from enum import Enum

from virke.lazy_dataclasses import dataclass


class Status(Enum):
    """How a check ended; `SKIPPED` is one that could not be finished."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found, and what that means for the databases in the store."""

    name: str
    status: Status
    found: str
    means: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check that the store passed has found; `warning` says what is to be known of it all the same."""

    found: str
    warning: str = ""


class Refuted(Exception):
    """The store does not do what it promises; the text says what was found."""


class Unproved(Exception):
    """The check could not be finished, an answer was lost for instance; the text says why."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one kind of call took, in milliseconds."""

    name: str
    count: int
    median_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """The examination of one store: verdicts in the order of the checks, calls to the store, seconds."""

    store: str
    checks: tuple[Verdict, ...]
    latencies: tuple[Latency, ...]
    calls: int
    elapsed_s: float

    def named(self, status: Status) -> list[str]:
        """The names of the checks that ended so."""
        return [verdict.name for verdict in self.checks if verdict.status is status]

    @property
    def is_refused(self) -> bool:
        """Whether a check failed."""
        return bool(self.named(Status.FAIL))

    @property
    def is_fit(self) -> bool:
        """Whether databases may live in the store (invariant 2)."""
        return not self.is_refused and not self.named(Status.SKIPPED)
