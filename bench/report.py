"""What a benchmark answers: figures against their budget, as a table or as JSON.

Knows no database. A figure is a count or a ratio within one run, so that it means something on any machine;
the few absolute times are marked with their unit.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from virke.engine.sqlite import SQLITE_VERSION

_HEADINGS: Final = ("budget", "what", "measured", "limit", "verdict")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `at_most` and `at_least` are its budget; with neither it is shown for comparison only."""

    budget: str
    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_within(self) -> bool | None:
        """Whether the budget holds; None if there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        limit = "–"
        if self.at_most is not None:
            limit = f"≤ {number(self.at_most)}"
        elif self.at_least is not None:
            limit = f"≥ {number(self.at_least)}"
        verdict = {True: "ok", False: "OVER", None: "–"}[self.is_within]
        return self.budget, self.what, f"{number(self.value)} {self.unit}".rstrip(), limit, verdict


def number(value: float) -> str:
    """A value with three significant digits, thousands grouped."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> str:
    """What the figures were measured on."""
    return f"{os.cpu_count()} CPUs, Python {platform.python_version()}, SQLite {SQLITE_VERSION}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as a table in Markdown, columns aligned."""
    rows = [_HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def as_json(figures: Sequence[Figure]) -> str:
    """The figures and the machine as one JSON object."""
    found = [{**asdict(figure), "ok": figure.is_within} for figure in figures]
    return json.dumps({"machine": machine(), "figures": found}, indent=2, ensure_ascii=False)
