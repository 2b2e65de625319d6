"""What the columns of a CSV file can be, by their values.

Knows which values SQLite can hold exactly; knows no file and no table.

1. A column is INTEGER or REAL only if every value in the whole file is the same value as such a number: no leading
   zero or `+`, 64 bits, at most 17 digits with a fraction; and only if the number gives the digits again: they end in a zero
   in no value (except for a lone `.0`), or all values with decimals have as many (`1.9` and `1.10` are versions). Every other column is TEXT.
2. Nothing is not a value, and the empty text is none where a column is of numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Final

EMPTY_TEXT: Final = "\udc00"
"""What stands for `""` among fields: no text of a file can be this."""
EXACT_INTEGER_MAX: Final = 1 << 53
REAL_DIGITS_MAX: Final = 17
_INTEGER = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?").fullmatch
_DECIMALS = re.compile(r"\.([0-9]+)").search
_SHORT_INTEGERS = re.compile(r"(?:0|-?[1-9][0-9]{0,14})(?:\n(?:0|-?[1-9][0-9]{0,14}))*+").fullmatch
_SHORT_REAL: Final = (
    r"-?(?:0(?:\.0{0,40}(?:[1-9][0-9]{0,16})?)?(?<!\.)|[1-9][0-9]{0,14}|(?=[0-9.]{3,18}$)[1-9][0-9]*+\.[0-9]++)$"
)
_SHORT_REALS = re.compile(rf"(?>(?:{_SHORT_REAL}(?:\n|\Z))*)", re.MULTILINE).fullmatch
_OTHER_LINES = re.compile(rf"^(?!{_SHORT_REAL}).*$", re.MULTILINE).findall
"""Finds the lines that are not numbers which are exact by their length alone."""
_ALL_DECIMALS = re.compile(r"\.([0-9]+)").findall
_LOSES_ZERO = re.compile(r"\.[0-9]+0$", re.MULTILINE).search


class Type(IntEnum):
    """What holds all values of a column, from narrow to wide; BIG integers are not exact as REAL."""

    EMPTY = 0
    INTEGER = 1
    BIG = 2
    REAL = 3
    TEXT = 4


class Findings:
    """What is known of the columns and records that were looked at."""

    def __init__(self, width: int, *, undecided: bool) -> None:
        self._types = [Type.EMPTY if undecided else Type.TEXT] * width
        self._decimals: list[set[int]] = [set() for _ in range(width)]
        self._ends_in_zero = [False] * width
        self._undecided = list(range(width)) if undecided else []
        self._short: list[int] = []  # lines, the first of them
        self._short_count = self._long_count = 0

    def takes(self, record: list[str], line: Callable[[], int]) -> bool:
        """Whether a record of another length can be taken all the same; it is counted."""
        width = len(self._types)
        if len(record) > width:
            self._long_count += 1
            return not any(record[width:])
        if record:
            self._short_count += 1
            self._short = self._short or [line()]
        return True

    def look_at_all(self, columns: Sequence[Sequence[str]]) -> None:
        """Look at the fields of some records, column by column."""
        for column in self._undecided:
            values = columns[column]
            if not all(values):
                values = tuple(filter(None, values))
            if values:
                self._look_at_each(column, self._without_short_numbers(column, values))
        self._undecided = [column for column in self._undecided if self._types[column] is not Type.TEXT]

    def _without_short_numbers(self, column: int, values: Sequence[str]) -> Sequence[str]:
        """Take what can be seen of the values as one text, for a line costs little there; the values that need a closer look."""
        text = "\n".join(values)
        if text.count("\n") >= len(values):
            return values
        if _SHORT_INTEGERS(text):
            self._types[column] = _joined_type(self._types[column], Type.INTEGER)
            return []
        others: set[str] = set()
        if not _SHORT_REALS(text):
            others = set(_OTHER_LINES(text))
            short = [value for value in values if value not in others] if len(others) <= len(values) // 2 else []
            if not short:
                return values
            text = "\n".join(short)
        is_real = "." in text or "-0" in text
        self._types[column] = _joined_type(self._types[column], Type.REAL if is_real else Type.INTEGER)
        if len(self._decimals[column]) < 2:  # more than one is enough to know
            self._decimals[column].update(map(len, _ALL_DECIMALS(text)))
        if "0\n" in text or text.endswith("0"):
            self._ends_in_zero[column] |= _LOSES_ZERO(text) is not None
        return [value for value in values if value in others] if others else []

    def _look_at_each(self, column: int, values: Sequence[str]) -> None:
        for value in values:
            if value == EMPTY_TEXT:
                continue
            self._types[column] = type_ = _joined_type(self._types[column], type_of(value))
            if type_ is Type.TEXT:
                return
            if type_ is Type.REAL:
                self._look_at_digits(column, value)

    def _look_at_digits(self, column: int, value: str) -> None:
        if found := _DECIMALS(value):
            self._decimals[column].add(len(found[1]))
            self._ends_in_zero[column] |= found[1].endswith("0") and found[1] != "0"

    def types(self) -> tuple[Type, ...]:
        """What the columns are (rule 1)."""
        return tuple(
            Type.TEXT
            if type_ is Type.REAL and self._ends_in_zero[column] and len(self._decimals[column]) > 1
            else type_
            for column, type_ in enumerate(self._types)
        )

    def warnings(self, width: int) -> Iterator[str]:
        """What was out of the ordinary."""
        if self._short_count:
            yield f"{self._short_count:,} records have less than {width} fields (first: line {self._short[0]}): the rest is NULL"
        if self._long_count:
            yield f"{self._long_count:,} records have more than {width} fields: the rest, which is empty, is left out"


def type_of(value: str) -> Type:
    """The narrowest type that holds one value exactly (invariant 1)."""
    if _INTEGER(value):
        if len(value) > 20 or not -(1 << 63) <= (number := int(value)) < 1 << 63:
            return Type.TEXT
        return Type.INTEGER if abs(number) <= EXACT_INTEGER_MAX else Type.BIG
    if _REAL(value):
        digits = re.split("[eE]", value)[0].replace(".", "").lstrip("-0")
        if len(digits) <= REAL_DIGITS_MAX and abs(float(value)) < float("inf") and (float(value) or not digits):
            return Type.REAL
    return Type.TEXT


def _joined_type(left: Type, right: Type) -> Type:
    if left is not right and {left, right} == {Type.BIG, Type.REAL}:
        return Type.TEXT
    return max(left, right)
