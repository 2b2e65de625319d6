"""What all suites share: Hypothesis profiles, and assertion messages for the conformance suites."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import settings

# A failure prints a blob that replays it. CI runs the same examples every time: red means that the code changed.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# A shell that starts the tests in the background, or `nohup`, has these ignored: commands under test would inherit that.
for ignored, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if (number := getattr(signal, ignored, None)) is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

pytest.register_assert_rewrite("tests.stores.conformance")
if sys.platform != "wasi":  # no processes there: tests/wasi
    pytest_plugins = ["tests.servers.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs inside WebAssembly comes first: it takes longest, and at the end one worker would wait for the other."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/wasi/"))
