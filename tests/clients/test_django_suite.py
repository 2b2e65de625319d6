"""Django's own tests pass on `virke.django`, except for those that docs/django.md lists, each for its reason."""

from __future__ import annotations

import re

import pytest

from tests.clients.django_suite import APPS, FAILURES, ROOT, SUITE, VERSION, run

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.once]
PAGE = (ROOT / "docs" / "django.md").read_text()


@pytest.mark.parametrize("app", APPS)
def test_an_app_fails_where_the_page_says_so(app: str) -> None:
    if not SUITE.exists():
        pytest.skip(f"the tests of Django {VERSION} are not here: python -m tests.clients.install")
    found = run(app)
    expected = {name for name in FAILURES if name.startswith(f"{app}.")}
    assert found.failed == expected, found.said[-20000:]
    [row] = re.findall(rf"^\| `{app}` \| (\d+) \| (\d+) \|$", PAGE, flags=re.MULTILINE)
    assert row == (str(found.ran), str(len(expected)))
