"""Values of `-p` on the command line, turned into SQL values.

Pure. A value becomes a number only if it is written like one; `text:` forces text.

1. `null` → NULL, `true` and `false` → 1 and 0, `x'…'` → BLOB, `12` → INTEGER, `1.5` and `1e3` → REAL, else text.
2. Digits with a leading zero or plus stay text (`007`, `+49…`): as a number they would lose it.
3. `name=value` names a parameter only if the SQL has named ones; otherwise it is text like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from virke.cli.render import Value
from virke.errors import UsageError
from virke.lazy_patterns import pattern

TEXT_PREFIX: Final = "text:"

_INTEGER = pattern(r"-?(?:0|[1-9][0-9]*)")
_REAL = pattern(r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|(?<=[0-9])(?:\.)?[eE][+-]?[0-9]+|(?<=[0-9])\.)")
_BLOB = pattern(r"[xX]'((?:[0-9a-fA-F]{2})*)'")
_NAMED = pattern(r"[:@$]?([^\W\d]\w*)=(.*)", re.DOTALL)
_WORDS: Final[Mapping[str, Value]] = {"null": None, "NULL": None, "true": 1, "false": 0}


def value_of(text: str) -> Value:
    """The SQL value that `text` writes (invariants 1 and 2).

    Raises:
        UsageError: an integer does not fit in 64 bits.
    """
    if text.startswith(TEXT_PREFIX):
        return text.removeprefix(TEXT_PREFIX)
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _parsed_integer(text)
    if _REAL.fullmatch(text):
        return float(text)
    blob = _BLOB.fullmatch(text)
    return bytes.fromhex(blob[1]) if blob else text


def _parsed_integer(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise UsageError(
            f"{text[:40]} does not fit in a 64-bit integer: write {TEXT_PREFIX}{text[:40]} to pass it as text"
        )
    return int(text)


def bind_values(values: Sequence[str], names: Sequence[str]) -> list[Value] | dict[str, Value]:
    """The values of all `-p` for SQL whose named parameters are `names`: by position, or by name.

    Raises:
        UsageError: some are by name and some are not, a name is unknown, or given twice.
    """
    named = [_NAMED.fullmatch(value) for value in values] if names else []
    found = [match for match in named if match]
    if not found:
        return [value_of(value) for value in values]
    if len(found) < len(values):
        raise UsageError("give all parameters by name (-p name=value) or all by position (-p value)")
    bound: dict[str, Value] = {}
    for match in found:
        name = match[1]
        if name not in names:
            raise UsageError(f"the statement has no parameter {name!r}; it has: {', '.join(names)}")
        if name in bound:
            raise UsageError(f"parameter {name!r} is given twice")
        bound[name] = value_of(match[2])
    return bound
