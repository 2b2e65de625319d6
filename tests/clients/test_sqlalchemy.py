"""SQLAlchemy's own test suite runs on the dialect: its sources of the version that is pinned, with their own requirements."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.clients.install import SDIST, VENV
from tests.clients.running import a_node

pytestmark = [pytest.mark.slow, pytest.mark.clients]
SUITE: Final = "test/dialect/test_suite.py"
PASSED: Final = 1596
ASYNC_PASSED: Final = 1610
EXTENSION_PASSED: Final = 290
SKIPPED_BECAUSE: Final = {
    r"not (postgresql|mysql|mssql|sqlite)\b.*": "other databases have it, and SQLite has not",
    r"custom function( or mariadb or sqlite)?": "a condition of the test itself: what SQLite's types, or a version of it, have not",
    r"not supported \(\?\)": "temporary tables: as for files of SQLite, they do not outlive their transaction",
    r"SQLite numeric limitation": "SQLite has no decimal numbers",
    r"sqlite or oracle": "CREATE SCHEMA",
    r"marked as skip": "the test itself says so",
}
"""Every reason for which a test is skipped, and what it means here."""


class Outcome:
    """What a run of the suite said."""

    def __init__(self, text: str) -> None:
        self.text = text
        summary = text.splitlines()[-1]
        self.counts = {
            word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)
        }
        self.failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        self.reasons = set(re.findall(r"^SKIPPED .*\(call\)' : (.*)$", text, re.MULTILINE))

    @property
    def passed(self) -> int:
        """How many tests passed."""
        return self.counts.get("passed", 0)


def run(url: str, tests: str = SUITE) -> Outcome:
    """Run tests of SQLAlchemy's sources on a database."""
    [sources] = SDIST.glob("sqlalchemy-*/")
    options = ["-q", "-rsfE", "-p", "no:logging", "-p", "no:cacheprovider", "--maxfail=1000"]
    command = [str(VENV / "bin" / "python"), "-m", "pytest", tests, *options, "--dburi", url]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=900, check=False)
    assert " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    return Outcome(done.stdout)


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    if not list(SDIST.glob("sqlalchemy-*/")):
        pytest.skip("the clients are not installed: python -m tests.clients.install")


def unlisted(reasons: set[str]) -> set[str]:
    """Reasons that nobody has looked at."""
    return {reason for reason in reasons if not any(re.fullmatch(known, reason) for known in SKIPPED_BECAUSE)}


@pytest.mark.parametrize("store", ["memory://suite", "local:FOLDER"])
def test_the_suite_passes_embedded(store: str, tmp_path: Path) -> None:
    outcome = run(f"sqlite+virke:///suite?store={store.replace('FOLDER', str(tmp_path))}")
    assert outcome.failed == []
    assert outcome.passed >= PASSED
    assert unlisted(outcome.reasons) == set()


def test_the_suite_passes_on_a_node(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as url:
        outcome = run(f"sqlite+virke://{url.removeprefix('http://')}/suite?tls=0")
    assert outcome.failed == []
    assert outcome.passed >= PASSED


def test_the_suite_passes_with_asyncio() -> None:
    outcome = run("sqlite+aiovirke:///suite?store=memory://suite")
    assert outcome.failed == []
    assert outcome.passed >= ASYNC_PASSED


def test_the_tests_of_the_asyncio_extension_pass() -> None:
    outcome = run("sqlite+aiovirke:///suite?store=memory://suite", "test/ext/asyncio")
    assert outcome.failed == []
    assert outcome.passed >= EXTENSION_PASSED
