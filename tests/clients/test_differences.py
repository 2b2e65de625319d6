"""The list of differences from sqld is the one of docs/hrana.md."""

from __future__ import annotations

from pathlib import Path

from tests.clients.differences import DIFFERENCES

DOCS = Path(__file__).parents[2] / "docs" / "hrana.md"


def test_each_allowed_difference_is_a_row_of_the_documentation() -> None:
    rows = {line.split(" | ")[0].removeprefix("| ") for line in DOCS.read_text().splitlines() if line.startswith("| ")}
    listed = {row for checks in DIFFERENCES.values() for row in checks.values()}
    assert listed - rows == set()
