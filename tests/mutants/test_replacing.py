"""Changed code takes the place of what is imported, or says that it can't; and what tests execute is noted."""

from __future__ import annotations

import ast
import importlib.util
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutants.__main__ import Copy, Loaded
from tests.mutants.replacing import Unfit, functions_of, replace, replace_code
from tests.mutants.sites import sites_of
from tests.mutants.tracing import NOTE, noting

SOURCE = """
from functools import cache
LIMIT = 3
TABLE = {"a": (1, LIMIT)}
MADE = object() if LIMIT > 2 else None
def plain(n=5):
    return n < LIMIT
@cache
def cached(n):
    return [one - 1 for one in range(n)]
class A:
    size = 7
    def method(self, n):
        def inner():
            return n + 1
        return inner()
    @property
    def shown(self):
        return super().__repr__()
HELD = A.method
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "virke_changed.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("virke.changed_by_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _change(module: ModuleType, old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    replace(module, functions_of(str(module.__file__)), SOURCE, SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "asked", "before", "after"),
    [
        ("n < LIMIT", "n <= LIMIT", "m.plain(3)", False, True),
        ("one - 1", "one + 1", "m.cached(1)", [-1], [1]),
        ("n + 1", "n - 1", "m.HELD(None, 4)", 5, 3),
        ("LIMIT = 3", "LIMIT = 4", "m.plain(3)", False, True),
        ("n=5", "n=2", "m.plain()", False, True),
        ("size = 7", "size = 8", "m.A().size", 7, 8),
        ("(1, LIMIT)", "(2, LIMIT)", "m.TABLE", {"a": (1, 3)}, {"a": (2, 3)}),
    ],
)
def test_a_change_is_seen_by_all_who_have_the_function_or_the_value(
    module: ModuleType, old: str, new: str, asked: str, before: object, after: object
) -> None:
    ask = compile(asked, "asked", "eval")
    if "cached" not in asked:  # which remembers
        assert eval(ask, {"m": module}) == before
    _change(module, old, new)
    assert eval(ask, {"m": module}) == after


def test_a_constant_that_another_module_has_is_changed_there_too(module: ModuleType) -> None:
    other = ModuleType("tests.other_of_a_test")
    vars(other)["LIMIT"] = 3
    sys.modules[other.__name__] = other
    try:
        _change(module, "LIMIT = 3", "LIMIT = 4")
        assert vars(other)["LIMIT"] == 4
    finally:
        del sys.modules[other.__name__]


@pytest.mark.parametrize(
    ("old", "new"), [("LIMIT > 2", "LIMIT >= 2"), ("return super().__repr__()", "return None"), ("@cache\n", "")]
)
def test_what_can_not_be_changed_in_place_is_said(module: ModuleType, old: str, new: str) -> None:
    with pytest.raises(Unfit):
        _change(module, old, new)


def test_each_statement_that_is_executed_is_noted(module: ModuleType) -> None:
    lines: set[int] = set()
    vars(module)[NOTE] = lines.add
    functions = functions_of(str(module.__file__))
    replace_code(str(module.__file__), functions, ast.parse(SOURCE), noting(SOURCE))
    answers = module.plain(1), module.HELD(None, 4)
    assert (answers, lines) == ((True, 5), {7, 14, 15, 16})


@pytest.mark.slow
@pytest.mark.once
def test_a_change_is_tried_by_the_tests_that_execute_it(tmp_path: Path) -> None:
    """Each outcome, on a small file of the project."""
    copy, path, test = Copy(tmp_path), "src/virke/core/turn.py", "tests/mutants/test_small.py"
    source = (
        "def f(n):\n    while n < 0:\n        pass\n    if n > 2:\n        return -n\n    return n + 0\n"
        "A = object() if f(1) else 9\n"
    )
    copy.write(path, source)
    copy.write(test, "from virke.core import turn\ndef test_it() -> None:\n    assert turn.f(2) == 2\n")
    with Loaded(copy, [test], [path]) as loaded:
        attempts = {site.name: loaded.attempt(path, site, budget_s=30) for site in sites_of(source)}
    expected = {
        "f: n < 0 → n <= 0": {"outcome": "survived", "tests": 1},
        "f: n < 0 → True": {"outcome": "killed", "by": f"signal {signal.SIGPROF.value}"},
        "f: n > 2 → n >= 2": {"outcome": "killed", "by": f"{test}::test_it"},
        "f: return -n → return None": {"outcome": "unseen"},
        "f: n + 0 → (n - 0)": {"outcome": "survived", "tests": 1},
        "module: f(1) → False": {"outcome": "unfit"},
    }
    assert {name: attempts[name] for name in expected} == expected
