"""`make mutants`: change one thing of the code at a time, and see that a test fails.

    python -m tests.mutants [FILE …] [--limit N] [--seed N] [--only TEXT] [--quick] [--budget SECONDS] [--tests FILE …] [--list]

1. The project is copied, and only the copy is changed; a run may be ended at any time.
2. The tests of a file must pass without a change first. Then a change is tried inside a process that has loaded them (`inside`),
   by those that execute its statement: the few next to it first, which load in seconds, then all. What none of them notices, or can't be
   tried there, is tried by all tests in a process of their own.
3. A change is `killed` by a test that fails, or by tests that take `TIMEOUT` times as long (at least a minute); else it survives.
4. A survivor needs its reason in survivors.toml. Others, and reasons for what is killed by now, make the exit code 1.
   `--quick` tries nothing in a process of its own: what survives then may still be killed there.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import py_compile
import random
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
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final

from tests.mutants.inside import bound_memory
from tests.mutants.sites import Site, sites_of
from tests.mutants.suites import FAST, SUITES, near_for, suites_for

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
BUDGET_S: Final = 30.0


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
        hashed = py_compile.PycInvalidationMode.CHECKED_HASH  # a time would not show a change within one second
        compileall.compile_dir(folder / "src", quiet=2, invalidation_mode=hashed)

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self._folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}

    def inside(self, tests: Sequence[str]) -> subprocess.Popen[str]:
        """The process that loads tests, and tries changes by them."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.inside", *tests],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

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
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", FAST]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what a test started ends with it
            preexec_fn=bound_memory,
        )
        try:
            return process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


class Loaded:
    """The process that has loaded the tests of some files, as something to ask."""

    def __init__(self, copy: Copy, tests: Sequence[str], paths: Sequence[str]) -> None:
        self._process = copy.inside(tests)
        began = time.monotonic()
        found = self._ask({"trace": paths})
        if "error" in found or found["failed"]:
            sys.exit(f"these tests fail without a change: {found.get('error') or found['failed']}")
        took = f"{time.monotonic() - began:.0f} s"
        print(f"{found['tests']} tests, {found['starts']} of which start processes, in {took}", flush=True)

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def attempt(self, path: str, site: Site, budget_s: float) -> dict[str, Any]:
        """What became of a change here."""
        return self._ask({"path": path, "text": site.text, "line": site.statement, "budget_s": budget_s})

    def _ask(self, what: object) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(what), file=stdin, flush=True)
        answer: dict[str, Any] = json.loads(stdout.readline() or '{"error": "the process that loads them ended"}')
        return answer


@dataclass
class Report:
    """What became of the changes."""

    reasons: dict[str, dict[str, str]]
    killed: int = 0
    explained: int = 0
    unexplained: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)

    def note(self, path: str, site: Site, *, survived: bool, by: str) -> None:
        """One more, said at once."""
        reason = self.reasons.get(path, {}).get(site.name)
        where = f"{path}:{site.line}: {site.name}"
        if not survived:
            self.killed += 1
            self.outdated += [where] if reason else []
            print(f"killed    {where} ({by})", flush=True)
        elif reason:
            self.explained += 1
            print(f"explained {where}: {reason}", flush=True)
        else:
            self.unexplained.append(where)
            print(f"SURVIVED  {where} ({by})", flush=True)


def chosen(sites: Sequence[Site], *, limit: int | None, seed: int, only: str) -> list[Site]:
    """At most so many of them, spread over the file: at random, one of each part of it, in their order."""
    fitting = [site for site in sites if only in site.name]
    if limit is None or limit >= len(fitting):
        return fitting
    ends = [number * len(fitting) // limit for number in range(limit + 1)]
    choose = random.Random(seed).randrange
    return [fitting[choose(first, last)] for first, last in pairwise(ends)]


def try_near(loaded: Loaded, path: str, sites: Sequence[Site], report: Report, budget_s: float) -> list[Site]:
    """Make each change of a file, and ask the tests next to it; what they do not notice."""
    left = []
    for site in sites:
        found = loaded.attempt(path, site, budget_s)
        if found["outcome"] == "killed":
            report.note(path, site, survived=False, by=found["by"])
        else:
            left.append(site)
    print(f"{path}: {len(left)} of {len(sites)} are left for all of its tests", flush=True)
    return left


def try_file(copy: Copy, loaded: Loaded, path: str, sites: Sequence[Site], report: Report, options: Options) -> None:
    """Make each change of a file, and ask its tests."""
    tests, source = tuple(options.tests or suites_for(path)), (ROOT / path).read_text(encoding="utf-8")
    before, began = (report.killed, report.explained, len(report.unexplained)), time.monotonic()
    for site in sites:
        found = loaded.attempt(path, site, options.budget)
        survived, by = found["outcome"] != "killed", found.get("by", found["outcome"])
        if survived and not options.quick:
            timeout_s = copy.time_limit_s(tests)
            copy.write(path, site.text)
            survived, by = copy.passes(tests, timeout_s), "all its tests in a process of their own"
        report.note(path, site, survived=survived, by=by)
    copy.write(path, source)
    after = (report.killed, report.explained, len(report.unexplained))
    killed, explained, unexplained = (now - then for now, then in zip(after, before, strict=True))
    took_s = time.monotonic() - began
    print(
        f"{path}: {len(sites)} tried, {killed} killed, {explained} survived for a reason, {unexplained} survived; "
        f"{took_s:.0f} s, {took_s / len(sites):.1f} s each"
    )


class Options(argparse.Namespace):
    """What the command line has."""

    files: list[str]
    limit: int | None
    seed: int
    only: str
    shows: bool
    quick: bool
    budget: float
    tests: list[str] | None


def main() -> int:
    """Try the changes of some files, and say which survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Change the code, see a test fail.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="of src/virke; all that decide about writes without it"
    )
    parser.add_argument("--limit", type=int, help="at most so many changes of each file, at random")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--only", default="", metavar="TEXT", help="changes whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="try nothing in a process of its own")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="of tests, for one change that none notices"
    )
    parser.add_argument("--tests", nargs="*", metavar="FILE", help="ask these only, while they are being written")
    parser.add_argument("--list", dest="shows", action="store_true", help="print the changes, and try none")
    options = parser.parse_args(namespace=Options())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the tests under way end, and the copy goes
    report, sites = Report(tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))), {}
    for path in files_of(options.files):
        if not suites_for(path):
            parser.error(f"no tests are known for {path}: tests/mutants/suites.py")
        every = sites_of((ROOT / path).read_text(encoding="utf-8"))
        sites[path] = chosen(every, limit=options.limit, seed=options.seed, only=options.only)
    if options.shows:
        print(*(f"{path}:{site.line}: {site.name}" for path in sites for site in sites[path]), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="virke-mutants-") as folder:
        copy = Copy(Path(folder))
        for near, alike in groupby((path for path in sites if sites[path]), near_for):
            paths = list(alike)
            if near and not options.tests:
                with Loaded(copy, near, paths) as loaded:
                    for path in paths:
                        sites[path] = try_near(loaded, path, sites[path], report, options.budget)
        for tests, alike in groupby((path for path in sites if sites[path]), suites_for):
            tests = options.tests or tests
            paths = list(alike)
            with Loaded(copy, tests, paths) as loaded:
                for path in paths:
                    try_file(copy, loaded, path, sites[path], report, options)
    print(f"{report.killed} killed, {report.explained} survived for a reason, {len(report.unexplained)} survived")
    for where in report.outdated:
        print(f"has a reason in survivors.toml, and is killed: {where}")
    return 1 if report.unexplained or report.outdated else 0


if __name__ == "__main__":
    sys.exit(main())
