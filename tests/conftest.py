"""What all suites share: Hypothesis profiles, and assertion messages for the conformance suites."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A failure prints a blob that replays it. CI runs the same examples every time: red means that the code changed.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

pytest.register_assert_rewrite("tests.stores.conformance")
pytest_plugins = ["tests.servers.fixtures"]
