"""Tries changes in one process that has loaded the tests of some files already: `python -m tests.mutants.inside TEST …`.

Reads one JSON line for each thing to do from stdin, and writes one for what became of it to stdout.

1. The process itself runs no test and changes nothing: a child of it does, which ends with one change. So nothing that a
   test or a change left behind reaches the next one.
2. First a child runs all tests and notes which lines each one executes. A change is tried by those that execute its
   line, without those that start processes (which would run the code unchanged), quick ones and those that noticed most so far
   first, until one fails.
3. A child takes no more processor time than `SLACK_S` and `TIMES` what a test took before, and no more memory than
   `MEMORY_BYTES`; else the change is noticed, too.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

import pytest

from tests.mutants.replacing import Functions, Unfit, functions_of, replace
from tests.mutants.suites import FAST
from tests.mutants.tracing import Seen, Tracing

SLACK_S: Final = 5
WAITS_S: Final = 40
TIMES: Final = 5
MEMORY_BYTES: Final = 3 << 30
"""A loop that a change made endless takes no more."""
PASSED, FAILED, UNFIT, BROKEN = 0, 1, 3, 4


def bound_memory() -> None:
    """Of this process and what it starts."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


@contextmanager
def _ending() -> Iterator[None]:
    """A child never goes on with what its parent was about to do."""
    try:
        yield
    finally:
        traceback.print_exc()
        os._exit(BROKEN)


@dataclass(eq=False)
class Inside:
    """A plugin of pytest, in place of its loop over the tests."""

    asked: IO[str]
    answers: IO[str]
    failed: bool = False
    _seen: dict[str, Seen] = field(default_factory=dict)
    _noticed: Counter[str] = field(default_factory=Counter)
    _functions: dict[str, Functions] = field(default_factory=dict)

    def pytest_sessionstart(self) -> None:
        """The same examples for each change; a failure need not be made small."""
        from hypothesis import Phase, settings  # pytest wants to load it first

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings.get_profile("ci"), database=None, phases=phases)
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In a child."""
        self.failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do what is asked, until nothing is."""
        if session.testsfailed:
            self._answer({"error": "the tests can't be loaded"})
            return True
        for line in self.asked:
            what = json.loads(line)
            self._answer(self._trace(session, what["trace"]) if "trace" in what else self._try(session, **what))
        return True

    def _answer(self, answer: Mapping[str, object]) -> None:
        print(json.dumps(answer), file=self.answers, flush=True)

    def _trace(self, session: pytest.Session, files: Sequence[str]) -> dict[str, object]:
        modules = [import_module(_module(file)) for file in files]
        with tempfile.TemporaryFile() as found:
            if (child := os.fork()) == 0:
                with _ending():
                    tracing = Tracing()
                    session.config.pluginmanager.register(tracing)
                    tracing.begin(modules)
                    self._run(session.items)
                    pickle.dump(tracing.tests, found)
                    found.flush()
                    os._exit(PASSED)
            _, status = os.waitpid(child, 0)
            if status:
                return {"error": "the tests can't be traced"}
            found.seek(0)
            self._seen = pickle.load(found)
        failed = [name for name, seen in self._seen.items() if seen.failed]
        starts = sum(seen.starts for seen in self._seen.values())
        return {"tests": len(self._seen), "starts": starts, "failed": failed}

    def _run(self, items: Sequence[pytest.Item], *, until_failed: bool = False) -> str:
        """Run tests in this child; the first that failed."""
        for item, after in zip(items, [*items[1:], None], strict=True):
            if until_failed:
                self._limit(self._seen[item.nodeid].seconds)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if until_failed and self.failed:
                return item.nodeid
        return ""

    @staticmethod
    def _limit(seconds: float) -> None:
        """Rule 3. Without a handler the signal ends the process: also in a loop of C, and where exceptions are caught."""
        signal.setitimer(signal.ITIMER_PROF, SLACK_S + TIMES * seconds)
        signal.alarm(math.ceil(WAITS_S + TIMES * seconds))

    def _try(self, session: pytest.Session, path: str, text: str, line: int, budget_s: float) -> Any:
        """One change of a file; `line`: of its statement, 0 if that runs when the module is loaded."""
        module = import_module(_module(path))
        file = str(module.__file__)
        chosen = self._chosen(file, line, budget_s)
        if not chosen:
            return {"outcome": "unseen"}
        functions = self._functions.setdefault(file, functions_of(file))
        items = {item.nodeid: item for item in session.items}
        reads, writes = os.pipe()
        if (child := os.fork()) == 0:
            with _ending():
                os.setsid()
                bound_memory()
                self._limit(0)
                try:
                    replace(module, functions, Path(path).read_text(encoding="utf-8"), text)
                except Unfit:
                    os._exit(UNFIT)
                except BaseException:
                    by = "loading it"
                else:
                    by = self._run([items[name] for name in chosen], until_failed=True)
                os.write(writes, by.encode())
                os._exit(FAILED if by else PASSED)
        os.close(writes)
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with os.fdopen(reads, "rb") as told:
            os.set_blocking(reads, False)  # what the child started may still hold the other end
            by = (told.read() or b"").decode()
        code = os.waitstatus_to_exitcode(status)
        if code == UNFIT:
            return {"outcome": "unfit"}
        if code == PASSED:
            return {"outcome": "survived", "tests": len(chosen)}
        self._noticed[by] += 1
        return {"outcome": "killed", "by": by or f"signal {-code}"}

    def _chosen(self, file: str, line: int, budget_s: float) -> list[str]:
        fitting = [
            (seen.seconds / (1 + 5 * self._noticed[name]), name)
            for name, seen in self._seen.items()
            if not (seen.starts or seen.failed) and (line in seen.lines[file] if line else seen.lines[file])
        ]
        chosen: list[str] = []
        left_s = budget_s
        for _, name in sorted(fitting):
            left_s -= self._seen[name].seconds
            if chosen and left_s < 0:
                break
            chosen.append(name)
        return chosen


def _module(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def main() -> int:
    """Load the tests, and do what stdin asks."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", FAST]
    return int(pytest.main([*options, *sys.argv[1:]], plugins=[Inside(asked, answers)]))


if __name__ == "__main__":
    sys.exit(main())
