"""SQL functions that take time proportional to their arguments, in place of SQLite's quadratic ones.

Installed on a connection when the first long value came by (`care`): on short ones SQLite's own are faster.

1. They answer as SQLite's do: `instr` counts bytes where both arguments are blobs, characters otherwise; every argument
   that is NULL makes the answer NULL (but a text with nothing replaced stays); numbers are the text that SQLite makes of them.
2. They build no value longer than SQLite would: its length is known before it is built.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Final

import apsw

from virke.errors import TooLarge

_FLAGS: Final = apsw.SQLITE_DETERMINISTIC | apsw.SQLITE_INNOCUOUS
REPLACED: Final = frozenset({"instr", "replace", "unhex", "trim", "ltrim", "rtrim"})
"""What `install_linear` replaces."""
_FEW: Final = 64
_HEX: Final = "[0-9a-fA-F]"
_Value = None | int | float | str | bytes


def install_linear(connection: apsw.Connection) -> None:
    """Replace `instr`, `replace`, `unhex` and `trim`, `ltrim`, `rtrim` with two arguments, for good."""
    text = reader_of_text(connection)

    def instr(whole: _Value, part: _Value) -> int | None:
        if whole is None or part is None:
            return None
        if isinstance(whole, bytes) and isinstance(part, bytes):
            return whole.find(part) + 1
        return text(whole).find(text(part)) + 1

    def replace(whole: _Value, old: _Value, new: _Value) -> _Value:
        if whole is None or old is None:
            return None
        subject, old = text(whole), text(old)
        if not old:
            return subject
        if new is None:
            return None
        new = text(new)
        size = len(subject) + subject.count(old) * (len(new) - len(old))
        if size > connection_limit():
            raise TooLarge("replace() would make a value that is longer than max_result_mb")
        return subject.replace(old, new)

    def trims(left: bool, right: bool) -> Callable[[_Value, _Value], str | None]:
        def trim(whole: _Value, unwanted: _Value) -> str | None:
            if whole is None or unwanted is None:
                return None
            subject, characters = text(whole), frozenset(text(unwanted))
            if characters and len(characters) <= _FEW:  # Python's own looks at each of them for every character
                few = "".join(characters)
                subject = subject.lstrip(few) if left else subject
                return subject.rstrip(few) if right else subject
            start, end = 0, len(subject)
            while left and start < end and subject[start] in characters:
                start += 1
            while right and start < end and subject[end - 1] in characters:
                end -= 1
            return subject[start:end]

        return trim

    def unhex(digits: _Value, ignored: _Value) -> bytes | None:
        if digits is None or ignored is None:
            return None
        subject = text(digits)
        skip = re.escape("".join(set(re.sub(_HEX, "", text(ignored)))))
        between = f"[{skip}]*+" if skip else ""
        if not re.fullmatch(f"(?:{between}{_HEX}{{2}})*+{between}", subject):
            return None
        return bytes.fromhex("".join(re.findall(f"{_HEX}+", subject)))

    itself = weakref.ref(connection)

    def connection_limit() -> int:
        alive = itself()
        return alive.limit(apsw.SQLITE_LIMIT_LENGTH) if alive else 0

    functions: list[tuple[str, int, Callable[..., _Value]]] = [
        ("instr", 2, instr),
        ("replace", 3, replace),
        ("unhex", 2, unhex),
        ("trim", 2, trims(True, True)),
        ("ltrim", 2, trims(True, False)),
        ("rtrim", 2, trims(False, True)),
    ]
    assert {name for name, *_ in functions} == REPLACED
    for name, arguments, function in functions:
        connection.create_scalar_function(name, function, arguments, deterministic=True, flags=_FLAGS)


def reader_of_text(connection: apsw.Connection) -> Callable[[_Value], str]:
    """What reads a value that is not NULL as the text that SQLite makes of it."""
    itself = weakref.ref(connection)

    def text(value: _Value) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        alive = itself()
        assert alive is not None, "a function is called by its connection"
        return str(alive.execute("SELECT CAST(? AS TEXT)", (value,)).fetchall()[0][0])

    return text
