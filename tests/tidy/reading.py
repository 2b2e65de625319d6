"""What the rules know of a file: its syntax tree, its place and what it imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Final

Files = Mapping[str, str]
Rule = Callable[[Files], list[str]]

SOURCE: Final = "src/virke/"
PUBLIC: Final = ""
"""The unit of `virke/__init__.py`: it may import all of Virke, what stands above `api` may import it."""
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def parse(path: str, text: str) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(text, filename=path)


def trees(files: Files, *prefixes: str) -> Iterator[tuple[str, ast.Module]]:
    """Path and syntax tree of each Python file under one of `prefixes` (none given: all)."""
    for path, text in files.items():
        if path.endswith(".py") and (not prefixes or path.startswith(prefixes)):
            yield path, parse(path, text)


def unit_of(path: str) -> str:
    """The first name below `virke`: `src/virke/core/ids.py` → `core`, `src/virke/errors.py` → `errors`."""
    first = path.removeprefix(SOURCE).split("/")[0].removesuffix(".py")
    return PUBLIC if first == "__init__" else first


def imports(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that is imported, anywhere in the file, `from a import b` as `a.b`."""
    package = PurePosixPath(path).parent.parts[1:]  # without `src`
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def matches(dotted: str, modules: frozenset[str]) -> bool:
    """Whether `dotted` is one of `modules` or inside one."""
    parts = dotted.split(".")
    return any(".".join(parts[:end]) in modules for end in range(1, len(parts) + 1))


def is_third_party(dotted: str) -> bool:
    """Whether `dotted` belongs neither to Python (or its type checkers) nor to Virke."""
    top = dotted.split(".")[0]
    return top not in ("virke", "_typeshed") and top not in sys.stdlib_module_names


def files_of(dotted: str, files: Files) -> Iterator[str]:
    """The files of Virke that run when `dotted` is imported, `virke/__init__.py` left out."""
    parts = dotted.split(".")
    for end in range(2, len(parts) + 1):
        stem = "src/" + "/".join(parts[:end])
        yield from (path for path in (f"{stem}/__init__.py", f"{stem}.py") if path in files)
