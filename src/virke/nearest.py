"""Which of some known words was meant. Pure, and cheap to load: only an error asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CHARACTERS_MAX: Final = 64
WORDS_MAX: Final = 1000
_SAME_PART: Final = 3
"""A word may differ in one of so many characters."""


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that differs least from `word`, in at most a third of its characters; None if there is none."""
    asked = word.lower()
    best: tuple[int, str] | None = None
    for number, name in enumerate(known):
        if number >= WORDS_MAX:
            break
        far_max = max(len(asked), len(name)) // _SAME_PART
        if max(len(asked), len(name)) > CHARACTERS_MAX or abs(len(asked) - len(name)) > far_max:
            continue
        far = _edit_distance(asked, name.lower())
        if far <= far_max and (best is None or far < best[0]):
            best = far, name
    return best[1] if best else None


def meant_hint(word: str, known: Iterable[str]) -> dict[str, str]:
    """The context of an error: a hint with the word that was meant, if there is one."""
    found = nearest_word(word, known)
    return {} if found is None else {"hint": f"did you mean {found!r}?"}


def _edit_distance(one: str, other: str) -> int:
    """How many characters have to be put in, taken out, changed, or swapped with the next."""
    before: list[int] = []
    now = list(range(len(other) + 1))
    for row, mark in enumerate(one, 1):
        older, before, now = before, now, [row]
        for column, wanted in enumerate(other, 1):
            far = min(before[column] + 1, now[-1] + 1, before[column - 1] + (mark != wanted))
            if row > 1 < column and mark == other[column - 2] and one[row - 2] == wanted:
                far = min(far, older[column - 2] + 1)
            now.append(far)
    return now[-1]
