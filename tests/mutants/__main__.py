"""`make mutants`: change one thing of the code at a time, and see that a test fails.

    python -m tests.mutants [FILE …] [--limit N] [--seed N] [--only TEXT] [--list]

1. The project is copied, and only the copy is changed; a run may be ended at any time.
2. The tests of a file must pass without a change first. Then a change is `killed` by a test that fails, or by tests that
   take `TIMEOUT` times as long (at least a minute); else it survives.
3. A survivor needs its reason in survivors.toml. Others, and reasons for what is killed by now, make the exit code 1.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.mutants.sites import Site, sites_of
from tests.mutants.suites import FAST, SUITES, suites_for

ROOT: Final = Path(__file__).parents[2]
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
COPIED: Final = (
    "src",
    "tests",
    "vectors",
    "docs",
    "bench",
    "pyproject.toml",
    "ARCHITECTURE.md",
    "README.md",
    "Makefile",
)
TIMEOUT: Final = 2.0
LEAST_S: Final = 60.0
MEMORY_BYTES: Final = 3 << 30
"""A loop that a change made endless takes no more."""


def files_of(named: Sequence[str]) -> list[str]:
    """The files that are named, or all that decide about writes, by their paths below the project."""
    if named:
        return [str(Path(name).resolve().relative_to(ROOT)) for name in named]
    found = [path for begin in SUITES for path in _below(begin)]
    return sorted(set(found))


def _below(begin: str) -> list[str]:
    path = ROOT / begin
    files = path.rglob("*.py") if path.is_dir() else [path]
    return [str(file.relative_to(ROOT)) for file in files]


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


class Copy:
    """The project in a folder of its own, where one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._took_s: dict[Sequence[str], float] = {}
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            else:
                shutil.copy(source, folder / name)

    def time_limit_s(self, tests: Sequence[str]) -> float:
        """How long these tests may take with a change; they run without one first, once. Exits if they fail."""
        if tests not in self._took_s:
            began = time.monotonic()
            if not self.passes(tests):
                sys.exit(f"these tests fail without a change: {' '.join(tests)}")
            self._took_s[tests] = time.monotonic() - began
        return max(LEAST_S, TIMEOUT * self._took_s[tests])

    def write(self, path: str, text: str) -> None:
        """Change a file, or bring it back."""
        (self._folder / path).write_text(text, encoding="utf-8")

    def passes(self, tests: Sequence[str], timeout_s: float | None = None) -> bool:
        """Whether all tests pass, in time; they are asked in this order, until one fails."""
        environment = os.environ | {"PYTHONPATH": str(self._folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", FAST]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what a test started ends with it
            preexec_fn=_bound_memory,
        )
        try:
            return process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


@dataclass
class Report:
    """What became of the changes."""

    reasons: dict[str, dict[str, str]]
    killed: int = 0
    explained: int = 0
    unexplained: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)

    def note(self, path: str, site: Site, *, survived: bool) -> None:
        """One more, said at once."""
        reason = self.reasons.get(path, {}).get(site.name)
        where = f"{path}:{site.line}: {site.name}"
        if not survived:
            self.killed += 1
            self.outdated += [where] if reason else []
            print(f"killed    {where}", flush=True)
        elif reason:
            self.explained += 1
            print(f"explained {where}: {reason}", flush=True)
        else:
            self.unexplained.append(where)
            print(f"SURVIVED  {where}", flush=True)


def chosen(sites: Sequence[Site], *, limit: int | None, seed: int, only: str) -> list[Site]:
    """At most so many of them, at random, in their order."""
    fitting = [site for site in sites if only in site.name]
    if limit is None or limit >= len(fitting):
        return fitting
    numbers = random.Random(seed).sample(range(len(fitting)), limit)
    return [fitting[number] for number in sorted(numbers)]


def try_file(copy: Copy, path: str, sites: Sequence[Site], report: Report) -> None:
    """Make each change of a file, and ask its tests."""
    tests, source = suites_for(path), (ROOT / path).read_text(encoding="utf-8")
    timeout_s = copy.time_limit_s(tests)
    for site in sites:
        copy.write(path, site.text)
        report.note(path, site, survived=copy.passes(tests, timeout_s))
    copy.write(path, source)


def main() -> int:
    """Try the changes of some files, and say which survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Change the code, see a test fail.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="of src/virke; all that decide about writes without it"
    )
    parser.add_argument("--limit", type=int, help="at most so many changes of each file, at random")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--only", default="", metavar="TEXT", help="changes whose name has this in it")
    parser.add_argument("--list", action="store_true", help="print the changes, and try none")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the tests under way end, and the copy goes
    report = Report(tomllib.loads(SURVIVORS.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="virke-mutants-") as folder:
        copy = None if options.list else Copy(Path(folder))
        for path in files_of(options.files):
            if not suites_for(path):
                parser.error(f"no tests are known for {path}: tests/mutants/suites.py")
            sites = sites_of((ROOT / path).read_text(encoding="utf-8"))
            sites = chosen(sites, limit=options.limit, seed=options.seed, only=options.only)
            if copy is None:
                print(*(f"{path}:{site.line}: {site.name}" for site in sites), sep="\n")
            elif sites:
                try_file(copy, path, sites, report)
    print(f"{report.killed} killed, {report.explained} survived for a reason, {len(report.unexplained)} survived")
    for where in report.outdated:
        print(f"has a reason in survivors.toml, and is killed: {where}")
    return 1 if report.unexplained or report.outdated else 0


if __name__ == "__main__":
    sys.exit(main())
