"""The lists of what differs are those of the pages: docs/hrana.md from sqld, docs/django.md from Django's own backend."""

from __future__ import annotations

from pathlib import Path

from tests.clients.differences import DIFFERENCES
from tests.clients.django_suite import FAILURES, VERSION

DOCS = Path(__file__).parents[2] / "docs"


def test_each_allowed_difference_is_a_row_of_the_documentation() -> None:
    rows = {
        line.split(" | ")[0].removeprefix("| ")
        for line in (DOCS / "hrana.md").read_text().splitlines()
        if line.startswith("| ")
    }
    listed = {row for checks in DIFFERENCES.values() for row in checks.values()}
    assert listed - rows == set()


def test_each_test_of_django_that_fails_is_a_row_of_the_page_with_its_reason() -> None:
    page = (DOCS / "django.md").read_text()
    rows = {tuple(line.strip("| ").split(" | ")) for line in page.splitlines() if line.startswith("| `")}
    assert {row for row in rows if "." in row[0]} == {(f"`{name}`", reason) for name, reason in FAILURES.items()}
    assert f"Django {VERSION}" in page
