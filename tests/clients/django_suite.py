"""Django's own tests, from its sdist, run on `virke.django`: where they come from, and which of them fail for which reason.

Run with the Django that is installed here, whose sources are pinned with it in `requirements.lock`.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from tests.servers.sqld import PLACE

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 900
VERSION: Final = version("django")
SOURCE: Final = PLACE / "django"
SUITE: Final = SOURCE / f"django-{VERSION}" / "tests"
APPS: Final = ("backends", "queries", "transactions", "migrations", "schema", "introspection")

_SIGNATURES: Final = "backends.sqlite.test_creation.TestDbSignatureTests"
FAILURES: Final[Mapping[str, str]] = {
    f"{_SIGNATURES}.test_custom_test_name": "a test database of another name is refused",
    f"{_SIGNATURES}.test_get_test_db_clone_settings_name": "a clone of a database that is not a throw-away one is refused",
    "backends.tests.BackendTestCase.test_unicode_password": "`PASSWORD` is refused",
}
"""Each is a row of docs/django.md."""
_RAN: Final = re.compile(r"^Ran (\d+) tests", re.MULTILINE)
_FAILED: Final = re.compile(r"^(?:ERROR|FAIL|UNEXPECTED SUCCESS): \w+ \(([\w.]+)\)", re.MULTILINE)


class Outcome(NamedTuple):
    """What the tests of one app ended as, and all that they said."""

    ran: int
    failed: frozenset[str]
    said: str


def fetch() -> str | None:
    """Put the suite into its place; why that can't be done, else None."""
    if SUITE.exists():
        return None
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(SOURCE), f"django=={VERSION}"]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return f"pip could not fetch the sources of Django {VERSION}"
    [archive] = SOURCE.glob(f"[dD]jango-{VERSION}.tar.gz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"sha256:{digest}" in (ROOT / "requirements.lock").read_text(), (
        f"{archive.name} is not the one that was pinned"
    )
    with tarfile.open(archive) as opened:
        opened.extractall(SOURCE, filter="data")
    return None


def run(app: str) -> Outcome:
    """Run the tests of one app. Raises `AssertionError`: they did not run to their end."""
    program = [
        sys.executable,
        "-W",
        "ignore",
        "runtests.py",
        "--settings=tests.clients.django_settings",
        "--parallel=1",
        app,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE_")}
    done = subprocess.run(
        program,
        cwd=SUITE,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    counted = _RAN.search(done.stderr)
    assert counted is not None, done.stdout[-3000:] + done.stderr[-3000:]
    return Outcome(int(counted[1]), frozenset(_FAILED.findall(done.stderr)), done.stderr)
