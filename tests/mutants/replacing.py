"""Puts changed code in the place of what is imported already, so that no module and no test is loaded again for a change.

Knows modules, functions and their code; knows nothing of tests.

1. A function keeps its identity: its `__code__` is replaced, as other modules have the function by a name of their own.
2. A constant is replaced wherever a module has that value under that name; so are defaults of parameters and of classes.
3. What can be neither is said (`Unfit`): never is a change believed to be made that was not.
4. A replaced constant may still be missing where a value was made of it before. Then tests that would notice do not: a survivor
   is tried in a process of its own, too.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

_OPTIMIZED: Final = 0x01
"""The flag of code that is a function's, and neither a module's nor the body of a class."""
_WATCHED: Final = ("virke", "tests")


class Unfit(Exception):
    """The change can't be made in place."""


Functions = dict[tuple[str, int], list[FunctionType]]


def functions_of(path: str) -> Functions:
    """All functions that exist of a file, by their name and first line."""
    found: Functions = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == path:
            found.setdefault(_place(thing.__code__), []).append(thing)
    return found


def replace(module: ModuleType, functions: Functions, old: str, new: str) -> None:
    """Make a module behave as if its source were `new`.

    Raises:
        Unfit: that can't be done. What was replaced by then stays.
    """
    path = module.__file__ or ""
    if replace_code(path, functions, ast.parse(old), ast.parse(new)):
        return
    after = compile(new, path, "exec", dont_inherit=True)
    names = dict(vars(module))
    for name in ("__name__", "__package__", "__file__", "__spec__", "__loader__"):
        names[name] = getattr(module, name)
    fresh: dict[str, Any] = {name: names[name] for name in names if name.startswith("__")}
    exec(after, fresh)
    if not _take_values(module, fresh):
        raise Unfit


def replace_code(path: str, functions: Functions, old: ast.Module, new: ast.Module) -> bool:
    """Give all functions of a file their new code; whether that makes the whole difference.

    Raises:
        Unfit: a function can't have its new code.
    """
    before, after = (compile(tree, path, "exec", dont_inherit=True) for tree in (old, new))
    return _replace(before, after, functions)


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _inner(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _replace(before: CodeType, after: CodeType, functions: Functions) -> bool:
    """Replace what differs; whether all of it could be. The body of a module or class ran already."""
    if _is_same(before, after):
        return True
    if before.co_flags & _OPTIMIZED:
        living = functions.get(_place(before), [])
        for one in living:
            try:
                one.__code__ = after
            except ValueError as error:  # it uses other variables of the function around it
                raise Unfit from error
        pairs = _pairs(before, after)
        for inner_before, inner_after in pairs:
            _replace(inner_before, inner_after, functions)
        return bool(living)
    if len(_inner(before)) != len(_inner(after)):
        return False
    done = [_replace(*pair, functions) for pair in _pairs(before, after)]
    return all(done) and _own(before) == _own(after)


def _pairs(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    inner = _inner(before), _inner(after)
    if len(inner[0]) == len(inner[1]):
        yield from zip(*inner, strict=True)


def _own(code: CodeType) -> tuple[object, ...]:
    """What a code does, without the code that is in it."""
    constants = [repr(one) if not isinstance(one, CodeType) else one.co_qualname for one in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable


def _is_same(before: CodeType, after: CodeType) -> bool:
    inner = _inner(before), _inner(after)
    return _own(before) == _own(after) and all(map(_is_same, *inner))


def _is_simple(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_simple, value))
    if isinstance(value, dict):
        return all(map(_is_simple, value)) and all(map(_is_simple, value.values()))
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _differ(old: object, new: object) -> bool:
    return _is_simple(old) and _is_simple(new) and repr(old) != repr(new)


def _take_values(module: ModuleType, fresh: dict[str, Any]) -> bool:
    """Rule 2: whether any value was another one."""
    taken = False
    for name, new in fresh.items():
        old = vars(module).get(name)
        if name.startswith("__") or name not in vars(module):
            continue
        if _differ(old, new):
            _set_everywhere(name, old, new)
            taken = True
        elif isinstance(old, FunctionType) and isinstance(new, FunctionType):
            taken |= _take_defaults(old, new)
        elif isinstance(old, type) and isinstance(new, type) and old.__module__ == module.__name__:
            taken |= _take_class(old, new)
    return taken


def _set_everywhere(name: str, old: object, new: object) -> None:
    for each in list(sys.modules.values()):
        if each.__name__.split(".")[0] in _WATCHED and repr(vars(each).get(name)) == repr(old):
            setattr(each, name, new)


def _take_defaults(old: FunctionType, new: FunctionType) -> bool:
    taken = False
    for name in ("__defaults__", "__kwdefaults__"):
        if _differ(getattr(old, name), getattr(new, name)):
            setattr(old, name, getattr(new, name))
            taken = True
    return taken


def _take_class(old: type, new: type) -> bool:
    taken = False
    for name, value in vars(new).items():
        current = vars(old).get(name)
        if isinstance(current, FunctionType) and isinstance(value, FunctionType):
            taken |= _take_defaults(current, value)
        elif not name.startswith("__") and name in vars(old) and _differ(current, value):
            type.__setattr__(old, name, value)
            taken = True
    return taken
