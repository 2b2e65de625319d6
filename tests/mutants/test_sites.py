"""The changes that `make mutants` makes: each is one slip, is valid Python, and leaves alone what says nothing of behaviour."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, SURVIVORS, Copy, chosen, files_of
from tests.mutants.sites import sites_of
from tests.mutants.suites import SUITES, suites_for


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b < c", ["b < c → b <= c"]),
        ("a = b is None", ["b is None → b is not None"]),
        ("a = b and c", ["b and c → (b or c)"]),
        ("a = not b", ["not b → (b)"]),
        ("a = b + c", ["b + c → (b - c)"]),
        ("a += b", ["a += b → a -= b"]),
        ("a = True", ["True → False"]),
        ("a = 7", ["7 → 8"]),
        ("if a:\n    b", ["a → True", "a → False"]),
        ("a()", ["a() → pass"]),
        ("raise a", ["raise a → pass"]),
        ("while True:\n    break", ["True → False", "break → continue"]),
        ("a = 'ä' + b", []),
        ("a: Literal[1] = b", []),
        ("assert a < b", []),
        ('"""Words."""', []),
        ("import a", []),
        ("a = f'{b + c}'", []),
    ],
)
def test_each_change_is_one_slip(source: str, expected: list[str]) -> None:
    assert [site.name.removeprefix("module: ") for site in sites_of(source)] == expected


def test_a_change_is_named_by_its_constant() -> None:
    assert [site.name for site in sites_of("A: Final = 7\nb = 7\n")] == ["A: 7 → 8", "module: 7 → 8"]


def test_a_change_is_named_by_its_function_and_keeps_the_rest() -> None:
    source = 'class A:\n    def f(self, n: int = 1) -> int:\n        """ä"""  # ö\n        return g(n - 1) - 1\n'
    assert [(site.line, site.name) for site in sites_of(source)] == [
        (2, "A.f: 1 → 2"),
        (4, "A.f: return g(n - 1) - 1 → return None"),
        (4, "A.f: g(n - 1) - 1 → (g(n - 1) + 1)"),
        (4, "A.f: n - 1 → (n + 1)"),
        (4, "A.f: 1 → 2 (2)"),
        (4, "A.f: 1 → 2 (3)"),
    ]
    assert sites_of(source)[3].text == source.replace("g(n - 1)", "g((n + 1))")


def test_every_change_of_the_files_that_decide_about_writes_is_valid_python() -> None:
    for path in ("src/virke/core/commit.py", "src/virke/engine/committing.py", "src/virke/journal/connection.py"):
        sites = sites_of((ROOT / path).read_text(encoding="utf-8"))
        assert len({site.name for site in sites}) == len(sites) > 50
        assert {isinstance(ast.parse(site.text), ast.Module) for site in sites} == {True}


def test_a_change_is_tried_by_what_executes_its_statement() -> None:
    source = "A = 1\ndef f(n=2):\n    if n:\n        return g(\n            3)\n    def h(m=4):\n        return m - n\n"
    found = {(site.old, site.statement) for site in sites_of(source) if site.old.isdecimal() or len(site.old) == 5}
    assert found == {("1", 0), ("2", 0), ("3", 4), ("4", 6), ("m - n", 7)}


def test_the_same_seed_chooses_the_same_changes() -> None:
    sites = sites_of("\n".join(f"a{n} = {n}" for n in range(50)))
    first, again, other = (chosen(sites, limit=5, seed=seed, only="") for seed in (1, 1, 2))
    assert (first == again, first == other, len(first)) == (True, False, 5)
    assert [int(site.old) // 10 for site in first] == [0, 1, 2, 3, 4]  # spread over the file
    assert [site.old for site in chosen(sites, limit=None, seed=1, only=": 7 →")] == ["7"]


def test_every_file_that_decides_about_writes_has_tests_that_are_there() -> None:
    files = files_of([])
    assert {"src/virke/core/commit.py", "src/virke/engine/writer.py", "src/virke/journal/file.py"} <= set(files)
    assert [path for path in files if not suites_for(path)] == []
    assert [test for tests in SUITES.values() for test in tests if not (ROOT / test).exists()] == []
    assert SURVIVORS.is_file()


def test_a_change_that_takes_memory_without_end_is_stopped(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.write("tests/mutants/test_greedy.py", "def test_greedy() -> None:\n    assert bytes(4 << 30)\n")
    copy.write("tests/mutants/test_modest.py", "def test_modest() -> None:\n    assert bytes(1 << 20)\n")
    assert [copy.passes([f"tests/mutants/test_{name}.py"], 60) for name in ("greedy", "modest")] == [False, True]
