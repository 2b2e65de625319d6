"""Rules 5 to 8: sizes, docstrings, and what has no place in any file."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from tests.tidy.reading import FUNCTIONS, SOURCE, Files, trees

FILE_LINES_MAX: Final = 500
FILE_LINES_AIM: Final = 350
ENGINE: Final = "src/virke/engine/"
ENGINE_LINES_MAX: Final = 400
CLASS_LINES_MAX: Final = {"src/virke/engine/database.py": ("Database", 250)}
"""Facades, which grow most easily, and how long they may become."""
FUNCTION_LINES_MAX: Final = 70
POSITIONAL_MAX: Final = 4
QUERY: Final = frozenset(
    {
        ("src/virke/engine/database.py", "query"),
        ("src/virke/client/database.py", "query"),
        ("src/virke/edge/guest/divided.py", "query"),
    }
)
"""The warm read: Python checks each option that is given by name only, at each call, which makes it 7 % slower."""

JUNK_NAMES: Final = frozenset("common helper helpers manager managers misc util utils".split())
_UNMERGED: Final = ("<" * 7 + " ", ">" * 7 + " ")
_OPEN_END = re.compile(r"\b(?:TODO|FIXME)\b")
_BLANKET_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")
_MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|home|Users)/"
    r"|://[^/\s]*\.(?:corp|internal|intranet|lan|local)\b"
    r"|://(?:10|192\.168)\.\d"
    r"|^--(?:extra-)?(?:index-url|find-links)\b",
    re.MULTILINE,
)


# Rule 5: sizes


def sizes(files: Files) -> list[str]:
    """Rule 5."""
    found = []
    for path, tree in trees(files):
        lines = len(files[path].splitlines())
        end = ENGINE_LINES_MAX if path.startswith(ENGINE) else FILE_LINES_MAX
        if lines > end:
            found.append(f"{path}:{end + 1}: {lines} lines, {end} is the end: split it")
        found += _long_classes(path, tree)
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    found.append(f"{path}:{node.lineno}: {node.name}() has {length} lines of {FUNCTION_LINES_MAX}")
        if path.startswith(SOURCE):
            found += _long_signatures(path, tree)
    return found


def _long_classes(path: str, tree: ast.Module) -> Iterator[str]:
    name, end = CLASS_LINES_MAX.get(path, ("", 0))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > end:
                yield f"{path}:{node.lineno}: class {name} has {length} lines of {end}"


def _long_signatures(path: str, tree: ast.Module) -> Iterator[str]:
    methods = {item for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body}
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            bound = node in methods and not any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
            count = len(node.args.posonlyargs) + len(node.args.args) - bound
            if count > POSITIONAL_MAX and (path, node.name) not in QUERY:
                yield f"{path}:{node.lineno}: {node.name}() takes {count} positional parameters of {POSITIONAL_MAX}"


def grown_files(files: Files) -> list[str]:
    """Files past the size to aim at, as advice and no rule."""
    counts = ((path, len(files[path].splitlines())) for path, _ in trees(files))
    return [f"{path}: {n} lines, aim at {FILE_LINES_AIM}" for path, n in counts if FILE_LINES_AIM < n <= FILE_LINES_MAX]


# Rule 6: docstrings


def docstrings(files: Files) -> list[str]:
    """Rule 6; a method whose name a documented Protocol or ABC method of Virke has may leave its own out."""
    contracts = {name for _, tree in trees(files, SOURCE) for name in _contracts(tree)}
    found = []
    for path, tree in trees(files, SOURCE):
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].strip()
        if not (first.endswith((".", "!", "?")) and len(first.split()) >= 3):
            found.append(f"{path}:1: the module docstring starts with a sentence")
        found += [f"{path}:{line}: {name} has no docstring" for line, name in _undocumented(tree, contracts)]
    return found


def _contracts(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(b).split("[")[0] in {"Protocol", "ABC"} for b in node.bases
        ):
            yield from (item.name for item in node.body if isinstance(item, FUNCTIONS) and ast.get_docstring(item))


def _undocumented(owner: ast.Module | ast.ClassDef, contracts: set[str]) -> Iterator[tuple[int, str]]:
    exempt = set() if isinstance(owner, ast.Module) else contracts
    for node in owner.body:
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or node.name.startswith("_"):
            continue
        follows = any(re.search(r"(?:^|\.)(?:setter|deleter|overload)$", ast.unparse(d)) for d in node.decorator_list)
        if not ast.get_docstring(node) and not follows and node.name not in exempt:
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node, contracts)


# Rules 7 and 8: what has no place here


def no_junk(files: Files) -> list[str]:
    """Rule 7."""
    found = []
    for path, tree in trees(files):
        found += [
            f"{path}:1: '{part}' says nothing"
            for part in PurePosixPath(path).with_suffix("").parts
            if part in JUNK_NAMES
        ]
        found += [f"{path}:{line}: swallows every error" for line in _swallowing(tree)]
        for line, comment in _comments(files[path]):
            if _BLANKET_IGNORE.search(comment):
                found.append(f"{path}:{line}: a type ignore names its code")
        if path.startswith("src/"):
            numbered = enumerate(files[path].splitlines(), 1)
            found += [f"{path}:{line}: finish it first" for line, text in numbered if _OPEN_END.search(text)]
    for path, text in files.items():
        lines = enumerate(text.splitlines(), 1)
        found += [f"{path}:{line}: a merge is not finished" for line, text in lines if text.startswith(_UNMERGED)]
    return found


def _swallowing(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is not None and ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(isinstance(s, (ast.Pass, ast.Continue)) or ast.unparse(s) == "..." for s in node.body)
            if node.type is None or (broad and silent):
                yield node.lineno


def _comments(text: str) -> Iterator[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return ((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)


def no_machine(files: Files) -> list[str]:
    """Rule 8, for text files of every kind."""
    return [
        f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: '{hit.group()}' is somebody's machine"
        for path, text in files.items()
        for hit in _MACHINE.finditer(text)
    ]
