"""The page of figures: what was measured replaces its own rows, and leaves the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.__main__ import BENCHMARKS, chosen, main
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


def test_each_budget_is_a_name_and_so_is_each_of_its_benchmarks() -> None:
    for budget in (f"B{number}" for number in range(1, 19)):
        assert [name for name in chosen([budget]) if name.split()[0] != budget] == []
    assert chosen(["b18"]) == ["B18 MANY", "B18 LARGE"]
    assert chosen(["large", "B1", "B18"]) == ["B18 LARGE", "B1", "B18 MANY"]
    assert chosen([]) == list(BENCHMARKS)


def test_a_benchmark_that_fails_leaves_its_rows_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> list[Figure]:
        raise RuntimeError("no such server")

    written = tmp_path / "figures.md"
    written.write_text(page("", {"B2": [Figure("B2", "kept", 1, "")]}, order=ORDER, day="2026-01-02", machine="old"))
    monkeypatch.setattr(bench, "BENCHMARKS", {"B2": fails, "B10": lambda: [Figure("B10", "new", 2, "")]})
    assert main(["B2", "B10", "--write", str(written)]) == 1
    rows = [line for line in written.read_text().splitlines() if line.startswith("| B")]
    assert [row.split(" | ")[1] for row in rows] == ["kept", "new"]
    assert "failed: B2" in capsys.readouterr().err
