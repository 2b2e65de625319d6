"""docs/reliability.md has a row for each promise of ARCHITECTURE.md, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"^\| (P\d+) \|(.*)\|$", re.MULTILINE)
TEST: Final = re.compile(r"`([\w/]+\.py)::(\w+)`")
FILE: Final = re.compile(r"`tests/([\w/]+(?:\.py)?)`")
COLUMNS: Final = 4


def names_in(file: str) -> set[str]:
    """The names of the tests of a file; none if there is no such file."""
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def missing(page: str) -> list[str]:
    """What a page names and the tests don't have."""
    lost = [f"{file}::{name}" for file, name in TEST.findall(page) if name not in names_in(file)]
    return lost + [name for name in FILE.findall(page) if not (ROOT / "tests" / name).exists()]


def test_every_promise_has_one_row_that_names_a_test() -> None:
    promised = re.findall(r"^\| (P\d+) \|", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE)
    rows = ROW.findall(PAGE)
    assert [name for name, _ in rows] == promised
    assert [name for name, row in rows if not TEST.search(row) or row.count(" | ") != COLUMNS - 1] == []


def test_every_test_that_is_named_is_there() -> None:
    assert missing(PAGE) == []


@pytest.mark.parametrize("name", ["promises/test_kill.py::test_gone", "promises/test_gone.py::test_gone"])
def test_a_test_that_is_not_there_is_found(name: str) -> None:
    assert missing(f"| P1 | `{name}` |") == [name]
