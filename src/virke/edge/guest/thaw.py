"""Frozen dataclasses are thawed in the image: there, each field of a new one costs 2,000 instructions to set, else 150.

That nothing changes them is what types and the tests of every other place see to, where they stay frozen.

Knows the modules of the project that are imported; changes no class of a program, which may count on the error.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from typing import Any, Final

OURS: Final = "virke"
_GUARDS: Final = ("__setattr__", "__delattr__")


def thaw() -> int:
    """Thaw what is imported, and say how many classes that were; once, since it finds none again."""
    found = {made for module in _modules() for made in vars(module).values() if _is_frozen(made)}
    for made in found:
        _thaw(made)
    return len(found)


def _modules() -> list[Any]:
    return [module for name, module in sys.modules.items() if name.split(".")[0] == OURS]


def _is_frozen(made: object) -> bool:
    """Whether it is one of ours whose `__init__` and guards were generated."""
    if not isinstance(made, type) or not is_dataclass(made) or made.__module__.split(".")[0] != OURS:
        return False
    own = vars(made)
    return "__dataclass_params__" in own and made.__dataclass_params__.init and all(name in own for name in _GUARDS)  # type: ignore[attr-defined]


def _thaw(made: type) -> None:
    """The same arguments, set as any attributes are."""
    after = getattr(made, "__post_init__", None)
    same = make_dataclass(
        made.__name__,
        [(one.name, object, _again(one)) for one in fields(made)],
        namespace={} if after is None else {"__post_init__": after},
        eq=False,
        repr=False,
    )
    init = same.__init__  # type: ignore[misc]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    type.__setattr__(made, "__init__", init)
    for name in _GUARDS:
        type.__delattr__(made, name)


def _again(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return field(default_factory=one.default_factory, init=one.init, kw_only=bool(one.kw_only))
    return field(default=one.default, init=one.init, kw_only=bool(one.kw_only))
