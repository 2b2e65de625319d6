"""Rules 1 to 4: what may be imported, and called, where."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.tidy.reading import (
    PUBLIC,
    SOURCE,
    Files,
    files_of,
    imports,
    is_third_party,
    matches,
    parse,
    trees,
    unit_of,
)

LAYERS: Final[tuple[frozenset[str], ...]] = (
    frozenset(
        {
            "errors",
            "keys",
            "config",
            "processes",
            "collector",
            "machine",
            "nearest",
            "scopes",
            "interrupts",
            "lazy_dataclasses",
            "lazy_patterns",
        }
    ),
    frozenset({"core"}),
    frozenset({"stores"}),
    frozenset({"engine"}),
    frozenset({"transfer", "journal", "migrations", "doctor", "tokens"}),
    frozenset({"api"}),
    frozenset({"client"}),
    frozenset({"opening"}),
    frozenset({PUBLIC}),
    frozenset({"asgi_server", "node", "edge", "runtime", "dbapi", "aio"}),
    frozenset({"sqlalchemy", "django", "datasette", "arrow", "pytest_plugin"}),
    frozenset({"project"}),
    frozenset({"cli", "__main__"}),
)
LAYER_OF: Final = {unit: number for number, layer in enumerate(LAYERS) for unit in layer}

IMPURE_MODULES: Final = frozenset(
    "apsw asyncio concurrent ctypes fcntl glob http importlib io logging mmap multiprocessing os pathlib random "
    "secrets select selectors shutil signal socket sqlite3 ssl subprocess tempfile threading time urllib.request "
    "_thread".split()
)
EDGE_MODULES: Final = frozenset(
    "asyncio concurrent ctypes fcntl glob http importlib mmap multiprocessing pathlib select selectors shutil signal "
    "socket sqlite3 ssl subprocess tempfile urllib.request".split()
)
EDGE_NAMES: Final = {
    "threading": frozenset(
        {"Lock", "RLock", "Condition", "Event", "TIMEOUT_MAX", "get_ident"}
    ),  # locks work without threads
    "_thread": frozenset({"start_new_thread"}),  # a RuntimeError there, which its one user provides for
    "os": frozenset({"urandom"}),
    "io": frozenset({"BytesIO", "StringIO"}),
}
"""Modules of which the edge has only these names."""
EDGE_LIBRARIES: Final = frozenset({"apsw"})
WORLD_CALLS: Final = frozenset({"open", "print", "input", "breakpoint", "eval", "exec", "__import__"})
COMPILERS: Final = frozenset({"src/virke/lazy_dataclasses.py"})
"""Files that compile what they wrote themselves, which needs nothing of the world."""
CLOCK_CALLS: Final = frozenset({"now", "utcnow", "today"})

IMPORTER_PACKAGES: Final = {
    "apsw": "src/virke/engine/sqlite",
    "componentize_py_types": "src/virke/edge/guest",
    "wit_world": "src/virke/edge/guest",
    "click": "src/virke/cli",
    "django": "src/virke/django",
    "sqlalchemy": "src/virke/sqlalchemy",
}
ASKED_BY: Final = {"django": frozenset({"src/virke/runtime/django.py"})}
"""Frameworks that also load a file of their own: it imports them because they are running, and replaces nothing of theirs."""
SYSTEM_MODULES: Final = frozenset({"fcntl", "msvcrt", "resource"})
"""Modules of Python that not every system has: one file imports them, too."""


def import_arrows(files: Files) -> list[str]:
    """Rule 1."""
    found = []
    for path, tree in trees(files, SOURCE):
        unit = unit_of(path)
        if unit not in LAYER_OF:
            found.append(f"{path}:1: '{unit}' has no row in LAYERS")
            continue
        if unit == PUBLIC:
            continue
        for line, dotted in imports(path, tree):
            top, _, rest = dotted.partition(".")
            target = rest.split(".")[0]
            if top != "virke":
                continue
            if target not in LAYER_OF and not any(files_of(f"virke.{target}", files)):
                target = PUBLIC  # a name that the public package exports
            if LAYER_OF.get(target, len(LAYERS)) > LAYER_OF[unit]:
                found.append(f"{path}:{line}: '{unit}' may not import '{dotted}', which is above it")
    return found


def core_is_pure(files: Files) -> list[str]:
    """Rule 2."""
    found = []
    for path, tree in trees(files, f"{SOURCE}core/"):
        found += [
            f"{path}:{line}: core is pure and may not import '{dotted}'"
            for line, dotted in imports(path, tree)
            if matches(dotted, IMPURE_MODULES)
        ]
        found += _calls(path, tree, WORLD_CALLS, CLOCK_CALLS)
    return found


def _calls(path: str, tree: ast.AST, builtins: frozenset[str], methods: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in builtins:
                yield f"{path}:{node.lineno}: may not call {name}()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in methods:
                yield f"{path}:{node.lineno}: may not call .{name}(): time comes in as an argument"


def edge_clean(files: Files) -> list[str]:
    """Rule 3."""
    found = []
    for path, reached_from in _reached(files).items():
        tree = parse(path, files[path])
        reason = f"runs at the edge (imported by {reached_from})" if reached_from else "runs at the edge"
        found += [f"{path}:{line}: {reason} and may not {what}" for line, what in _edge_findings(path, tree)]
    return found


def _reached(files: Files) -> dict[str, str]:
    """All files that `core` and `engine` run, each with the file that imports it ("" for those two themselves)."""
    reached = {path: "" for path, _ in trees(files, f"{SOURCE}core/", f"{SOURCE}engine/")}
    waiting = list(reached)
    while waiting:
        path = waiting.pop()
        for _, dotted in imports(path, parse(path, files[path])):
            for target in files_of(dotted, files) if dotted.startswith("virke.") else ():
                if target not in reached:
                    reached[target] = path
                    waiting.append(target)
    return reached


def _edge_findings(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    optional = {inner for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in _guarded_imports(node)}
    for line, dotted in imports(path, tree):
        module, _, name = dotted.partition(".")
        if matches(dotted, EDGE_MODULES) or (module in EDGE_NAMES and name and name not in EDGE_NAMES[module]):
            yield line, f"import '{dotted}'"
        elif is_third_party(dotted) and module not in EDGE_LIBRARIES and line not in optional:
            yield line, f"need '{module}' (import it in try … except ImportError, with a way without)"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name not in EDGE_NAMES.get(module, {name}):
                yield node.lineno, f"use '{module}.{name}'"
            case ast.Import(names=names):
                yield from ((node.lineno, f"rename '{a.name}'") for a in names if a.asname and a.name in EDGE_NAMES)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inner = (n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom)))
                yield from ((n.lineno, f"import inside {node.name}()") for n in inner)
            case ast.Call(func=ast.Name(id=name)) if name in WORLD_CALLS and not (name == "exec" and path in COMPILERS):
                yield node.lineno, f"call {name}()"


def _guarded_imports(node: ast.Try) -> set[int]:
    """Lines of the imports that may fail without harm."""
    caught = {
        name.id
        for handler in node.handlers
        if handler.type
        for name in ast.walk(handler.type)
        if isinstance(name, ast.Name)
    }
    if not caught & {"ImportError", "ModuleNotFoundError"}:
        return set()
    return {n.lineno for body in node.body for n in ast.walk(body) if isinstance(n, (ast.Import, ast.ImportFrom))}


def one_importer(files: Files) -> list[str]:
    """Rule 4."""
    importers: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees(files, SOURCE):
        for _, dotted in imports(path, tree):
            library = dotted.split(".")[0]
            if path in ASKED_BY.get(library, ()):
                continue
            if is_third_party(dotted) or library in SYSTEM_MODULES:
                folder = IMPORTER_PACKAGES.get(library)
                importers[library].add(folder if folder and path.startswith(f"{folder}/") else path)
    return [
        f"{sorted(paths)[0]}:1: one file imports '{library}', not {len(paths)}: {', '.join(sorted(paths))}"
        for library, paths in sorted(importers.items())
        if len(paths) > 1
    ]
