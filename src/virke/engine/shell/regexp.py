r"""Regular expressions as SQLite's shell has them (ext/misc/regexp.c), matched in time that grows with the text alone.

Pure. Knows patterns and texts; knows no SQL.

1. No pattern takes exponential time: a text is read once, and a character costs at most one look at each state.
2. A pattern has at most `STATES_MAX` states, repetitions written out; what is remembered while matching has a bound too.
3. `look` is called every few milliseconds of work, so that whoever runs the statement can end it.
4. As there: no captures, `\w`, `\d`, `\s` and `\b` know ASCII only, a leading `^` holds for all alternatives, and a NUL ends the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from virke.lazy_dataclasses import dataclass

STATES_MAX: Final = 5000
DEPTH_MAX: Final = 100
KEPT_MAX: Final = 200_000
"""States and characters that are remembered, all together; then they are forgotten and found again."""
STEPS_BETWEEN_LOOKS: Final = 16
CHARACTERS_BETWEEN_LOOKS: Final = 1 << 16
END: Final = ""
"""Stands for the character after the last one."""
_ACCEPTED: Final = -1
_DEAD: Final = -2
_AT_START, _AFTER_WORD, _AFTER_OTHER = range(3)
_WORD: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS: Final = frozenset("0123456789")
_SPACES: Final = frozenset(" \t\n\r\v\f")
_FOLD: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_ESCAPES: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {
    mark: mark for mark in "\\()*.+?[$^{|}]-"
}
_CODE: Final = r"u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})"
_COUNT: Final = r"([0-9]*)(,([0-9]*))?\}"
"""Compiled when they are asked for: most processes never are."""
_COUNT_DIGITS_MAX: Final = 6


class WrongPattern(ValueError):
    """The pattern is not one; the message says why."""


@dataclass(frozen=True, slots=True)
class Set:
    """Characters: some, and ranges of them; or all others."""

    characters: frozenset[str]
    ranges: tuple[tuple[str, str], ...] = ()
    is_negated: bool = False

    def has(self, character: str) -> bool:
        """Whether it is one of them."""
        found = character in self.characters or any(low <= character <= high for low, high in self.ranges)
        return found is not self.is_negated


@dataclass(frozen=True, slots=True)
class Fork:
    """Goes on in several places."""

    to: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assert:
    """Goes on with the next state where it holds: `start`, `end` or `boundary`."""

    what: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The text matches."""


State = str | Set | Fork | Assert | Accept
"""A text is one character that has to come next."""
_ANY: Final = Set(frozenset(), (), True)
_CLASSES: Final = {
    "d": Set(_DIGITS),
    "D": Set(_DIGITS, (), True),
    "s": Set(_SPACES),
    "S": Set(_SPACES, (), True),
    "w": Set(_WORD),
    "W": Set(_WORD, (), True),
}


class _Parser:
    """Makes the states of a pattern; jumps are relative while they are made, so that parts can be copied."""

    def __init__(self, pattern: str, *, folds: bool) -> None:
        self.rest, self.at, self.folds = pattern, 0, folds

    def whole(self) -> list[State]:
        """All states. Raises `WrongPattern`."""
        is_anchored = self.rest.startswith("^")
        self.at = int(is_anchored)
        found = self._read_alternatives(0)
        if self.at < len(self.rest):
            raise WrongPattern("unrecognized character")
        begin: list[State] = [] if is_anchored else [Fork((1, 3)), _ANY, Fork((-2,))]
        return _bounded_states([*begin, *found, Accept()])

    def _read_alternatives(self, depth: int) -> list[State]:
        if depth > DEPTH_MAX:
            raise WrongPattern("REGEXP pattern too big")
        found = self._read_sequence(depth)
        while self._peek_character() == "|":
            self.at += 1
            other = self._read_sequence(depth)
            found = _bounded_states([Fork((1, len(found) + 2)), *found, Fork((len(other) + 1,)), *other])
        return found

    def _read_sequence(self, depth: int) -> list[State]:
        done: list[State] = []
        last: list[State] | None = None
        while (mark := self._peek_character()) not in ("|", ")", END):
            self.at += 1
            if mark in "*+?{":
                last = self._repeated_states(mark, last)
                continue
            done += last or []
            last = self._read_element(mark, depth)
            _bounded_states(done)
        return _bounded_states(done + (last or []))

    def _read_element(self, mark: str, depth: int) -> list[State]:
        match mark:
            case "(":
                found = self._read_alternatives(depth + 1)
                if self._peek_character() != ")":
                    raise WrongPattern("unmatched '('")
                self.at += 1
                return found
            case ".":
                return [_ANY]
            case "^":
                return [Assert("start")]
            case "$":
                return [Assert("end")]
            case "[":
                return [self._read_set()]
            case "\\" if self._peek_character() == "b":
                self.at += 1
                return [Assert("boundary")]
            case "\\" if self._peek_character() in _CLASSES:
                self.at += 1
                return [_CLASSES[self.rest[self.at - 1]]]
            case "\\":
                return [self._read_escape()]
            case _:
                return [self._folded_character(mark)]

    def _repeated_states(self, mark: str, last: list[State] | None) -> list[State]:
        if last is None:
            raise WrongPattern(f"'{mark if mark != '{' else '{m,n}'}' without operand")
        match mark:
            case "*":
                return [Fork((1, len(last) + 2)), *last, Fork((-len(last) - 1,))]
            case "+":
                return [*last, Fork((-len(last), 1))]
            case "?":
                return [Fork((1, len(last) + 1)), *last]
        least, most = self._read_counts()
        if max(least, most or 0) * len(last) > STATES_MAX:
            raise WrongPattern("REGEXP pattern too big")
        found = last * least
        if most is None:
            return [*found, *self._repeated_states("*", last)]
        return found + [Fork((1, len(last) + 1)), *last] * (most - least)

    def _read_counts(self) -> tuple[int, int | None]:
        found = re.compile(_COUNT).match(self.rest, self.at)
        if not found:
            raise WrongPattern("unmatched '{'")
        if max(len(found[1]), len(found[3] or "")) > _COUNT_DIGITS_MAX:
            raise WrongPattern("REGEXP pattern too big")
        self.at = found.end()
        least = int(found[1] or 0)
        most = least if found[2] is None else int(found[3] or 0)
        if not least and not most:
            raise WrongPattern("both m and n are zero in '{m,n}'")
        if 0 < most < least:
            raise WrongPattern("n less than m in '{m,n}'")
        return least, most or None

    def _read_set(self) -> Set:
        characters: set[str] = set()
        ranges: list[tuple[str, str]] = []
        is_negated = self._peek_character() == "^"
        self.at += is_negated
        while self._peek_character() != END:
            if self.rest.startswith("[:", self.at):
                raise WrongPattern("POSIX character classes not supported")
            low = self._read_member()
            if self._peek_character() == "-":
                self.at += 1
                ranges.append((low, self._read_member()))
            else:
                characters.add(low)
            if self._peek_character() == "]":
                self.at += 1
                return Set(frozenset(characters), tuple(ranges), is_negated)
        raise WrongPattern("unclosed '['")

    def _read_member(self) -> str:
        if (mark := self._peek_character()) == END:
            raise WrongPattern("unclosed '['")
        self.at += 1
        return self._read_escape() if mark == "\\" else self._folded_character(mark)

    def _read_escape(self) -> str:
        if code := re.compile(_CODE).match(self.rest, self.at):
            self.at = code.end()
            return chr(int(code[1] or code[2], 16))
        mark = self._peek_character()
        if mark not in _ESCAPES:
            raise WrongPattern("unknown \\ escape")
        self.at += 1
        return _ESCAPES[mark]

    def _peek_character(self) -> str:
        return self.rest[self.at : self.at + 1]

    def _folded_character(self, character: str) -> str:
        return character.translate(_FOLD) if self.folds else character


def _bounded_states(states: list[State]) -> list[State]:
    if len(states) > STATES_MAX:
        raise WrongPattern("REGEXP pattern too big")
    return states


class Pattern:
    """A pattern that was read; `matches` says whether it is found in a text. One thread at a time uses it."""

    def __init__(self, pattern: str, look: Callable[[], None], *, folds: bool = False) -> None:
        """`folds`: letters of ASCII match whatever their case. Raises `WrongPattern`."""
        self._states = _Parser(pattern.partition("\0")[0], folds=folds).whole()
        self._folds = folds
        self._look = look
        self._steps = self._kept = 0
        self._sets: list[tuple[tuple[int, ...], int]] = []
        self._numbers: dict[tuple[tuple[int, ...], int], int] = {}
        self._next: list[dict[str, int]] = []

    def matches(self, text: str) -> bool:
        """Whether it is found in `text`."""
        now = self._number_of_set((0,), _AT_START)
        for part in _parts_of_text(text.partition("\0")[0]):
            for character in part.translate(_FOLD) if self._folds else part:
                then = self._next[now].get(character)
                now = self._take_step(now, character) if then is None else then
                if now < 0:
                    return now == _ACCEPTED
            self._look()
        return self._take_step(now, END) == _ACCEPTED

    def _take_step(self, now: int, character: str) -> int:
        """Where `character` leads from a set of states; remembered."""
        self._steps += 1
        if not self._steps % STEPS_BETWEEN_LOOKS:
            self._look()
        if self._kept > KEPT_MAX:
            here = self._sets[now]
            self._sets.clear()
            self._numbers.clear()
            self._next.clear()
            self._kept = 0
            now = self._number_of_set(*here)
        states, before = self._sets[now]
        found = self._reached_states(states, before, character)
        if found is None:
            then = _ACCEPTED
        elif not found:
            then = _DEAD
        else:
            then = self._number_of_set(found, _AFTER_WORD if character in _WORD else _AFTER_OTHER)
        self._next[now][character] = then
        self._kept += 1
        return then

    def _reached_states(self, begin: tuple[int, ...], before: int, character: str) -> tuple[int, ...] | None:
        """The states after `character`; None: it is accepted before it."""
        holds = {
            "start": before == _AT_START,
            "end": character == END,
            "boundary": (before == _AFTER_WORD) is not (character in _WORD),
        }
        todo, seen = list(begin), set(begin)
        found: list[int] = []
        while todo:
            at = todo.pop()
            match self._states[at]:
                case Accept():
                    return None
                case Fork(to):
                    places = [at + far for far in to]
                case Assert(what):
                    places = [at + 1] if holds[what] else []
                case str() as wanted:
                    places = []
                    if wanted == character:
                        found.append(at + 1)
                case Set() as wanted:
                    places = []
                    if character != END and wanted.has(character):
                        found.append(at + 1)
            new = [place for place in places if place not in seen]
            seen.update(new)
            todo += new
        return tuple(sorted(set(found)))

    def _number_of_set(self, states: tuple[int, ...], before: int) -> int:
        key = states, before
        if (known := self._numbers.get(key)) is not None:
            return known
        self._numbers[key] = number = len(self._sets)
        self._sets.append(key)
        self._next.append({})
        self._kept += len(states) + 8
        return number


def _parts_of_text(text: str) -> Iterator[str]:
    for at in range(0, len(text), CHARACTERS_BETWEEN_LOOKS):
        yield text[at : at + CHARACTERS_BETWEEN_LOOKS]
