"""docs/figures.md: the last figures of every benchmark in one table, B1 to B18, each with the day on which it was measured.

Knows the page; measures nothing. A run replaces the rows of what it measured and leaves those of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.report import Figure

HEADINGS: Final = ("benchmark", "what", "measured", "limit", "verdict", "on")
HEAD: Final = """# Figures

`python -m bench NAME … --write docs/figures.md` measures and writes rows of this table; `make bench` prints all. A budget with several
benchmarks (`B17 BULK`) runs all of them by its number, or one by its own word. What the figures mean, and why some are over, is in [benchmarks.md](benchmarks.md). A limit is that of the budget; without one a figure is there to compare.
"""
_DAY: Final = re.compile(r"- (\d{4}-\d\d-\d\d): (.+)")
_ROW: Final = re.compile(r"\| *(?!benchmark|-)(\S.*?) *\|\n?")


def rows_of(name: str, figures: Iterable[Figure], day: str) -> list[tuple[str, ...]]:
    """The rows that a run of the benchmark `name` makes."""
    return [(name, *figure.cells[1:], day) for figure in figures]


def page(text: str, found: Mapping[str, Sequence[Figure]], *, order: Sequence[str], day: str, machine: str) -> str:
    """The page `text` with the figures that were `found`, by benchmark, on a `day` (ISO 8601)."""
    kept = [tuple[str, ...](re.split(r" *\| *", match[1])) for match in map(_ROW.fullmatch, text.splitlines()) if match]
    rows = [row for row in kept if row[0] not in found]
    for name, figures in found.items():
        rows += rows_of(name, figures, day)
    rows.sort(key=lambda row: order.index(row[0]))  # stable: the rows of one benchmark stay as it has them
    days = {match[1]: match[2] for match in map(_DAY.fullmatch, text.splitlines()) if match} | {day: machine}
    used = {row[-1] for row in rows}
    machines = [f"- {each}: {days[each]}" for each in sorted(days) if each in used]
    lines = [" | ".join(("", *row, "")).strip() for row in (HEADINGS, ["---"] * len(HEADINGS), *rows)]
    return "\n".join([HEAD, *machines, "", *lines, ""])
