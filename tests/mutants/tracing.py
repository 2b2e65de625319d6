"""Which statements of some files each test executes, how long it takes, and whether it starts processes, which execute them unseen.

The files' functions get a call before each statement, which notes its line: a tracer of the interpreter's would slow down all other
code as well.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from tests.mutants.replacing import functions_of, replace_code

NOTE: Final = "__note__"
STARTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system"})


@dataclass
class Seen:
    """What one test did. `starts`: it, or a fixture of its, started a process."""

    lines: dict[str, frozenset[int]] = field(default_factory=dict)
    seconds: float = 0.0
    starts: bool = False
    failed: bool = False


@dataclass(eq=False)
class Tracing:
    """A plugin of pytest."""

    tests: dict[str, Seen] = field(default_factory=dict)
    _now: dict[str, set[int]] = field(default_factory=dict)
    _started: int = 0
    _starting_fixtures: set[str] = field(default_factory=set)

    def begin(self, modules: Sequence[ModuleType]) -> None:
        """Note what is executed and started from now on; that can't be ended, so it is done in a process that ends."""
        for module in modules:
            assert module.__file__
            lines = self._now[module.__file__] = set()
            vars(module)[NOTE] = lines.add
            source = Path(module.__file__).read_text(encoding="utf-8")
            replace_code(module.__file__, functions_of(module.__file__), ast.parse(source), noting(source))
        sys.addaudithook(self._heard)

    def _heard(self, event: str, _arguments: object) -> None:
        self._started += event in STARTS

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Which fixtures start processes: those of a whole session do so for the first test only."""
        before = self._started
        result = yield
        if self._started > before:
            self._starting_fixtures.add(fixturedef.argname)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """One test."""
        seen = self.tests[item.nodeid] = Seen()
        for lines in self._now.values():
            lines.clear()
        before, began = self._started, time.process_time()
        try:
            return (yield)
        finally:
            seen.seconds = time.process_time() - began
            seen.lines = {file: frozenset(lines) for file, lines in self._now.items()}
            fixtures: list[str] = getattr(item, "fixturenames", [])
            seen.starts = self._started > before or not self._starting_fixtures.isdisjoint(fixtures)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Whether it passed."""
        self.tests[report.nodeid].failed |= report.failed


def noting(source: str) -> ast.Module:
    """The file whose functions call `NOTE` with the line of each statement before it."""
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(function):
                _note_in(inner, is_function=inner is function)
    return ast.fix_missing_locations(tree)


def _note_in(node: ast.AST, *, is_function: bool) -> None:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not is_function:
        return  # a function in it has its own turn
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if isinstance(statements, list) and not any(map(_is_note, statements)):
            setattr(node, name, [one for each in statements for one in (*_note_of(each), each)])


def _note_of(statement: ast.stmt) -> list[ast.stmt]:
    call = ast.Call(ast.Name(NOTE, ast.Load()), [ast.Constant(statement.lineno)], [])
    return [ast.copy_location(ast.Expr(call), statement)]


def _is_note(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and NOTE in ast.dump(statement)
