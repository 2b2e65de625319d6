"""Where a file can be changed, and how: each change is one that a slip of a hand could make.

Knows Python's syntax; knows nothing of tests and of where files are.

1. A change keeps the file's other bytes as they are, so that it is shown and applied as text.
2. What says nothing of behaviour is left alone: annotations, docstrings, assertions, messages, and what only type checkers run.
3. A change has a name that outlives other lines of the file: the function or constant that it is in, what was there, what is there now,
   and which of several alike it is.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}
_SHOWN_MAX: Final = 120
_MODULE: Final = "module"


@dataclass(frozen=True, slots=True)
class Site:
    """One change: the function or constant, the line, what was there, what is there instead, and the text of the whole file with it."""

    function: str
    line: int
    old: str
    new: str
    text: str
    number: int = 1
    statement: int = 0
    """The first line of the statement that it is in; 0 for what runs when the module is loaded."""

    @property
    def name(self) -> str:
        """Invariant 3."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.function}: {_shown(self.old)} → {_shown(self.new)}{again}"


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN_MAX else f"{words[:_SHOWN_MAX]}…"


def sites_of(source: str) -> list[Site]:
    """Every change of a file, in the order of its lines. Each is valid Python."""
    found: list[Site] = []
    seen = Counter[tuple[str, str, str]]()
    for function, node, new, statement in _changes_in(ast.parse(source), _MODULE, 0):
        old = ast.get_source_segment(source, node) or ""
        seen[function, old, new] += 1
        text = _replaced(source, node, new)
        ast.parse(text)
        found.append(Site(function, node.lineno, old, new, text, seen[function, old, new], statement))
    return sorted(found, key=lambda site: site.line)


Node = ast.expr | ast.stmt
Change = tuple[str, Node, str, int]


def _replaced(source: str, node: Node, new: str) -> str:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = source.encode()
    return (data[:start] + new.encode() + data[end:]).decode()


def _changes_in(node: ast.AST, function: str, statement: int) -> Iterator[Change]:
    """All changes of a node and what is in it, with the function and the statement that each is in."""
    if _says_nothing(node):
        return
    if statement and isinstance(node, ast.stmt):
        statement = node.lineno
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = node.name if function == _MODULE else f"{function}.{node.name}"
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and function == _MODULE:
        function = node.target.id
    yield from ((function, at, new, statement) for at, new in _changes_of(node))
    for part in _parts(node):
        runs_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        begins = part.lineno if runs_later and isinstance(part, ast.stmt) else statement
        yield from _changes_in(part, function, begins)


def _says_nothing(node: ast.AST) -> bool:
    """Invariant 2."""
    if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _parts(node: ast.AST) -> list[ast.AST]:
    """What is looked into further: without annotations, decorators and messages."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*(one for one in node.args.defaults), *(one for one in node.args.kw_defaults if one), *node.body]
        case ast.ClassDef():
            return list(node.body)
        case ast.AnnAssign():
            return [node.value] if node.value else []
        case ast.Raise() | ast.JoinedStr():
            return []
    return list(ast.iter_child_nodes(node))


def _changes_of(node: ast.AST) -> Iterator[tuple[Node, str]]:
    match node:
        case ast.Compare(ops=[only]) if type(only) in _COMPARED:
            yield node, ast.unparse(ast.Compare(node.left, [_COMPARED[type(only)]()], node.comparators))
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.BinOp() if type(node.op) in _COMPUTED and not _is_text(node):
            yield node, f"({ast.unparse(ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right))})"
        case ast.AugAssign() if type(node.op) in _COMPUTED:
            yield node, ast.unparse(ast.AugAssign(node.target, _COMPUTED[type(node.op)](), node.value))
        case ast.Constant(value=bool() as value):
            yield node, str(not value)
        case ast.Constant(value=int() as value):
            yield node, str(value + 1)
        case ast.If() | ast.While() | ast.IfExp():
            yield from ((node.test, word) for word in ("True", "False") if not isinstance(node.test, ast.Constant))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.Raise() | ast.Delete():
            yield node, "pass"
        case ast.Break():
            yield node, "continue"
        case ast.Continue():
            yield node, "pass"
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom() | ast.Await()):
            yield node, "pass"


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )
