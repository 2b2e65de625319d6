"""Frozen dataclasses are thawed in the image: there, each field of a new one costs 2,000 instructions to set, else 150.

That nothing changes them is what types and the tests of every other place see to, where they stay frozen. What waits for its first
use to be compiled, of any dataclass and any pattern, is compiled in the image too, where no request waits for it.

Knows the modules of the project that are imported; changes no class of a program, which may count on the error.
"""

from __future__ import annotations

import sys
from dataclasses import is_dataclass
from typing import Any, Final, TypeGuard

from virke.lazy_dataclasses import GUARDS, compile_now
from virke.lazy_dataclasses import thaw_class as thaw_one
from virke.lazy_patterns import Later

OURS: Final = "virke"


def thaw() -> int:
    """Thaw what is imported, and say how many classes that were; once, since it finds none again."""
    made = {one for module in _own_modules() for one in vars(module).values() if _is_ours(one)}
    frozen = [one for one in made if _is_frozen(one)]
    for one in frozen:
        thaw_one(one)
    for one in made:
        compile_now(one)
    for module in _own_modules():
        for pattern in [value for value in vars(module).values() if isinstance(value, Later)]:
            pattern.compile_now()
    return len(frozen)


def _own_modules() -> list[Any]:
    return [module for name, module in sys.modules.items() if name.split(".")[0] == OURS]


def _is_ours(made: object) -> TypeGuard[type]:
    return isinstance(made, type) and is_dataclass(made) and made.__module__.split(".")[0] == OURS


def _is_frozen(made: object) -> bool:
    """Whether it is one of ours whose `__init__` and guards were generated."""
    if not _is_ours(made):
        return False
    own = vars(made)
    return "__dataclass_params__" in own and made.__dataclass_params__.init and all(name in own for name in GUARDS)  # type: ignore[attr-defined]
