"""CPython's own tests of `sqlite3` pass on `virke.dbapi`, except those that are listed with their reason."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.dbapi.expected import FAILS

ROOT = Path(__file__).resolve().parents[2]
PASSED_MIN = 0.95 if sys.version_info < (3, 13) else 0.93  # of which many are about its deprecations


def _has_tests_of_sqlite3() -> bool:
    try:
        return find_spec("test.test_sqlite3") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.once
@pytest.mark.skipif(not _has_tests_of_sqlite3(), reason="this Python was installed without its `test` package")
def test_cpython_s_own_tests_pass_except_those_with_a_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dbapi.cpython"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ended: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    failed = {name for name, how in ended.items() if how == "failed"}
    expected = {name for name, (since, _) in FAILS.items() if name in ended and sys.version_info >= since}
    assert (failed - expected, expected - failed) == (set(), set())
    passed = sum(how == "passed" for how in ended.values())
    assert passed >= 340, "the suites were run"
    assert passed / (passed + len(failed)) >= PASSED_MIN


def test_each_test_that_fails_is_documented_with_its_reason() -> None:
    """The list of the page is the list of the test."""
    page = (ROOT / "docs" / "dbapi.md").read_text()
    for name, (_, reason) in FAILS.items():
        assert f"`{name.rpartition('.')[2]}`" in page, name
        assert reason in page, reason
