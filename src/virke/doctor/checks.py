"""Which checks there are, in their order, and what each of them means for a database.

Knows promises; how a check is made is the matter of `registers`, `races`, `objects` and `measures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from virke.core.effects import Tier
from virke.doctor import freshness, measures, objects, races, registers
from virke.doctor.trial import Trial
from virke.doctor.verdict import Finding, Latency
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Store
from virke.stores.object.url import SCHEMES, object_place

_NEXT_OBJECT_STORE: Final = re.compile(rf",(?=(?:{'|'.join(SCHEMES)}):)")
_HARMLESS: Final = "Numbers to plan with; no promise depends on them."
_UNUSABLE: Final = "The calls that a database makes most do not work (P1, P7)."
_DAMAGED: Final = "What a query reads would be damaged or missing: an error `Corrupt` instead of rows (P4, P7)."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try, and what it means if it holds or is broken (P1 … are the promises of ARCHITECTURE.md)."""

    name: str
    run: Callable[[Trial], Finding]
    holds: str
    broken: str


def checks_of(store: Store, add: Callable[[Latency], None]) -> Iterator[Check]:
    """The checks that `store` has to pass, in order; `add` is called with latencies."""
    yield from _REGISTER
    overwrites = _declares_overwriting(store.url)
    for tier in store.blobs:
        may_overwrite = overwrites and tier is Tier.OBJECT
        for name, run, holds, broken in _OBJECTS:
            if may_overwrite and run is races.object_race:
                continue
            if may_overwrite and run is objects.never_changed:
                run = objects.may_be_changed
            yield Check(f"{tier.value}: {name}", _on_tier(tier, run), holds, broken)
    yield Check("latency", partial(measures.register_latency, add=add), _HARMLESS, _UNUSABLE)
    for tier in store.blobs:
        run = partial(measures.object_latency, add=add)
        yield Check(f"{tier.value}: latency", _on_tier(tier, run), _HARMLESS, _UNUSABLE)


def _on_tier(tier: Tier, run: Callable[[Trial, Tier], Finding]) -> Callable[[Trial], Finding]:
    return lambda trial: run(trial, tier)


def _declares_overwriting(url: str) -> bool:
    """Whether the store was opened with `create_only=off`: it says so in its URL."""
    last = _NEXT_OBJECT_STORE.split(url)[-1]
    return last.split(":")[0] in SCHEMES and not object_place(last).create_only


_REGISTER: Final = (
    Check(
        "create only",
        registers.create_only,
        "Of two who create the same database, the second learns that it exists (P1).",
        "Creating a database would replace one that is there, and all of its writes would be lost (P1).",
    ),
    Check(
        "swap",
        registers.check_swap,
        "A commit replaces exactly the state that it was made from, and is seen (P1, P5).",
        "No commit could be trusted: what was answered would not be what others read (P1, P5).",
    ),
    Check(
        "stale swap",
        registers.stale_swap,
        "A writer that lost a race learns so and runs again (P1, P3).",
        "A writer that lost a race would wipe out the commits of the winner, unnoticed (P1).",
    ),
    Check(
        "swap of a missing key",
        registers.missing_swap,
        "A late commit can't bring back a database that was deleted (P3).",
        "A late commit would bring back a database that was deleted, and half of its objects are gone (P3, P7).",
    ),
    Check(
        "remove",
        registers.check_removal,
        "A database is deleted only in the state that the one who deletes it has seen (P1).",
        "Deleting a database could take a commit with it that no reader has seen, or not delete it at all (P1).",
    ),
    Check(
        "conditional read",
        registers.conditional_read,
        "To look for news costs one small request, and what is new is seen (P5).",
        "Readers would keep an old state, or take a foreign one for theirs (P4, P5).",
    ),
    Check(
        "generations",
        registers.check_generations,
        "No old state of a database can be taken for the present one, whatever was written since (P1).",
        "A writer could take an old state for the present one and overwrite what came between (P1, P2).",
    ),
    Check(
        "list of registers",
        registers.keys_listed,
        "`virke db list` shows every database, and garbage is distinguished from what a branch needs (P8).",
        "Databases would be missing from lists, and what they need could be collected (P8).",
    ),
    Check(
        "creation race",
        races.creation_race,
        "Of many who create the same database at once, exactly one does (P1).",
        "Two who create the same database at once would both believe that it is theirs; one loses all writes (P1).",
    ),
    Check(
        "lost updates",
        races.lost_updates,
        "Many writers at once lose nothing and double nothing (P1, P2).",
        "Commits that were answered would disappear when two writers meet (P1).",
    ),
    Check(
        "stale reads",
        freshness.stale_reads,
        "Readers see a commit as soon as this store promises to show it (P5).",
        "`strong` reads would answer old data, unnoticed (P5).",
    ),
    Check(
        "stale conditional reads",
        freshness.stale_conditional_reads,
        "A reader that knows an old state learns of the new one (P5).",
        "`strong` reads would answer old data for as long as their process knows an old state (P5).",
    ),
    Check("swap rate", measures.swap_rate, measures.RATE_HOLDS, _UNUSABLE),
)


_OBJECTS: Final[tuple[tuple[str, Callable[[Trial, Tier], Finding], str, str], ...]] = (
    ("put and get", objects.put_and_get, "Pages are read back as they were written (P4, P7).", _DAMAGED),
    (
        "never changed",
        objects.never_changed,
        "Nothing replaces what a snapshot reads (P4, P7).",
        "Pages could be replaced under a snapshot. If only Virke writes there, `create_only=off` in the URL says "
        "that you accept it (P4, P7).",
    ),
    ("ranges", objects.check_ranges, "A query reads exactly the pages that it needs (P4, P7).", _DAMAGED),
    (
        "range beyond the end",
        objects.beyond_the_end,
        "An object that was cut short is noticed (P7).",
        "An object that was cut short would not be noticed at once (P7).",
    ),
    (
        "large object",
        objects.check_large,
        "Large commits and imports fit (P6).",
        "Large commits and imports would fail, or be damaged (P6, P7).",
    ),
    (
        "delete",
        objects.check_delete,
        "Garbage goes, and nothing else (P8).",
        "Garbage would stay and be paid for, or more than garbage would go (P8).",
    ),
    (
        "list",
        objects.check_listing,
        "Collection sees every object that is there (P8).",
        "Collection would miss garbage, and a deleted database would leave objects behind (P8).",
    ),
    (
        "put race",
        races.object_race,
        "Of many who put other bytes under one key at once, exactly one does (P7).",
        "An object could be replaced by a writer who came at the same moment (P4, P7).",
    ),
    ("clock", measures.check_clock, "Times in history and grace periods can be trusted (P8).", measures.SKEWED),
)
