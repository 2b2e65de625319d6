"""Run inside the component, not on the machine: pytest over the folders in `FOLDERS`, and what became of each test as JSON."""

import concurrent.futures
import json
import os
import sys
import types
from collections import Counter

import pytest

FOLDERS: list[str] = []  # filled in by test_inside


class NoThreads:
    """What `virke.opening` imports along with the rest."""

    def __init__(self, *args: object, **options: object) -> None:
        raise RuntimeError("there are no threads inside WebAssembly")


class Results:
    """What became of the tests, by name; for what failed, why."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Those that need threads, worlds of the protocol, which are the same on every Python, and the slow ones."""
        for item in items:
            self.counts[next((name for name in ("native", "once") if item.get_closest_marker(name)), "slow")] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that can't be imported."""
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext
            print(f"\n{report.nodeid}\n{report.longreprtext}")  # at once: a trap would leave nothing
        elif report.skipped:
            self.skipped[report.nodeid] = report.longreprtext
        elif report.when == "call":
            self.counts["passed"] += 1


for name in (
    "fcntl",
    "mmap",
):  # empty: tests import `virke.opening` along; what uses them there fails, and is marked native
    sys.modules[name] = types.ModuleType(name)
os.register_at_fork = lambda **hooks: None
setattr(concurrent.futures, "ThreadPoolExecutor", NoThreads)  # noqa: B010 (the type checker is right elsewhere)
os.chdir("/project")
os.getuid = lambda: 0  # pytest asks whose its temporary folder is; that Virke never does is test_edge_clean's matter
results = Results()
OFF = "cacheprovider faulthandler logging"  # a folder to write to, signals, and a module that needs both
status = pytest.main(
    [
        *FOLDERS,
        *(f"-pno:{name}" for name in OFF.split()),
        "-q",
        "--capture=no",  # there are no descriptors to redirect
        "--tb=short",
        "--continue-on-collection-errors",
        "--override-ini=addopts=--strict-markers --strict-config",
        "-m=not native and not once and not slow and not prove and not clients",
    ],
    plugins=[results],
)
answer = json.dumps(
    {"status": int(status), "counts": results.counts, "failed": results.failed, "skipped": results.skipped}
)
