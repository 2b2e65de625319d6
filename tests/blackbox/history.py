"""What clients asked and were answered, and whether that can be true: the one checker of every place.

Knows writes, reads and when they were; knows no store, no process and no SQL. Times are of one clock of the machine.

1. A write puts a row of its writer into each of two tables, in one transaction. It is `kept` (answered), `refused`
   (an error that says that nothing was changed) or neither: `open` (unknown), or its client was killed.
2. A read answers how many rows each writer has: in the one table, different ones among them, in the other table.
3. `find_faults` names each promise that was broken: lost, doubled, refused and there, never written, in part, stale
   beyond the promise, gone back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

KEPT: Final = "kept"
REFUSED: Final = "refused"
OPEN: Final = "open"
STRONG: Final = "strong"
SESSION: Final = "session"


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a writer."""

    writer: str
    number: int
    began_ns: int
    ended_ns: int = 0
    outcome: str = OPEN


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of a writer a read saw."""

    rows: int
    different: int
    twins: int


@dataclass(frozen=True, slots=True)
class Read:
    """One read of a reader."""

    reader: str
    began_ns: int
    ended_ns: int
    consistency: str
    counts: Mapping[str, Counts]


@dataclass
class History:
    """All writes and reads, in the order of each client, and how old `session` reads may be."""

    staleness_ns: int
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    def find_faults(self, rows: Sequence[tuple[str, int]], twins: Sequence[tuple[str, int]]) -> list[str]:
        """What is wrong with it, given what both tables hold at the end; nothing, if every promise was kept."""
        found = [*self._of_the_end(rows, "rows"), *self._of_the_end(twins, "twins")]
        if set(rows) != set(twins):
            found.append(f"in part: {sorted(set(rows) ^ set(twins))[:5]}")
        return found + list(self._of_reads())

    def _of_the_end(self, there: Sequence[tuple[str, int]], table: str) -> Iterator[str]:
        times = Counter(there)
        doubled = [key for key, count in times.items() if count > 1]
        begun = {(one.writer, one.number): one.outcome for one in self.writes}
        kept = {key for key, outcome in begun.items() if outcome == KEPT}
        refused = {key for key, outcome in begun.items() if outcome == REFUSED}
        for what, wrong in (
            ("doubled", doubled),
            ("lost", kept - set(times)),
            ("refused and there", refused & set(times)),
            ("never written", set(times) - set(begun)),
        ):
            if wrong:
                yield f"{what} in {table}: {len(wrong)}, as {sorted(wrong)[:5]}"

    def _of_reads(self) -> Iterator[str]:
        kept, begun = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
        for write in self.writes:
            if write.outcome == KEPT:
                kept[write.writer].append(write.ended_ns)
            if write.outcome != REFUSED:
                begun[write.writer].append(write.began_ns)
        for times in (*kept.values(), *begun.values()):
            times.sort()
        last: dict[str, Mapping[str, Counts]] = {}
        for read in self.reads:
            bound_ns = read.began_ns - (self.staleness_ns if read.consistency == SESSION else 0)
            for writer in {*kept, *read.counts}:
                seen = read.counts.get(writer, Counts(0, 0, 0))
                before = last.get(read.reader, {}).get(writer, Counts(0, 0, 0))
                least, most = bisect_left(kept[writer], bound_ns), bisect_left(begun[writer], read.ended_ns)
                for what, is_wrong in (
                    ("doubled", seen.rows != seen.different),
                    ("in part", seen.different != seen.twins),
                    ("stale", seen.rows < least),
                    ("never written", seen.different > most),
                    ("gone back", seen.rows < before.rows),
                ):
                    if is_wrong:
                        yield (
                            f"{what} in a {read.consistency} read of {read.reader}: {seen} of {writer}, "
                            f"of whose writes {least} were answered and {most} begun; {before} the time before"
                        )
            last[read.reader] = read.counts
