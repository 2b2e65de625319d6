"""The page of figures: what was measured replaces its own rows, and leaves the others."""

from __future__ import annotations

from pathlib import Path

from bench.__main__ import BENCHMARKS
from bench.figures import HEAD, page
from bench.report import Figure

ORDER = ["B1", "B2", "B10"]
PAGE = Path(__file__).parents[2] / "docs" / "figures.md"


def test_a_run_replaces_its_own_rows() -> None:
    text = page("", {"B10": [Figure("B10", "a", 3, "M", at_most=2)]}, order=ORDER, day="2026-01-02", machine="old")
    text = page(text, {"B2": [Figure("B2", "b", 1, "")]}, order=ORDER, day="2026-01-03", machine="new")
    text = page(text, {"B2": [Figure("B2", "c", 2, "×", at_least=1)]}, order=ORDER, day="2026-01-04", machine="newer")
    assert text == (
        f"{HEAD}\n- 2026-01-02: old\n- 2026-01-04: newer\n\n"
        "| benchmark | what | measured | limit | verdict | on |\n| --- | --- | --- | --- | --- | --- |\n"
        "| B2 | c | 2 × | ≥ 1 | ok | 2026-01-04 |\n| B10 | a | 3 M | ≤ 2 | OVER | 2026-01-02 |\n"
    )
    again = page(text, {}, order=ORDER, day="2026-01-05", machine="none")
    assert again == text


def test_the_page_of_the_project_is_one_that_a_run_would_leave_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, {}, order=list(BENCHMARKS), day="2000-01-01", machine="") == text
