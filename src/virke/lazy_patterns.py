"""Regular expressions that are compiled when they are first used (decision 0051): most starts need few of them.

Knows nothing else of Virke.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

METHODS: Final = ("match", "fullmatch", "search", "findall", "finditer", "split", "sub", "subn")


class Later:
    """Has the methods of the pattern: its own ones, once the first was called."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)
        self.compile_now()
        return vars(self)[name]

    def compile_now(self) -> None:
        """Compile it before it is used, for a place where a first use would be slow."""
        compiled = re.compile(self._text, self._flags)
        vars(self).update((name, getattr(compiled, name)) for name in METHODS)


if TYPE_CHECKING:
    pattern = re.compile
else:
    pattern = Later
