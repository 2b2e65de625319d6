"""Which part of a batch is one program: run as a unit, in one commit with others, again after a lost race.

Knows steps and what their texts say; runs nothing.

1. A batch is one program if it begins and ends without a transaction, by its text as far as that can be known; where
   the run shows otherwise (`NotOneProgram`), and for all others, its steps are run one by one.
2. `PRAGMA foreign_keys` works outside of transactions only: what stands in front of the program is its mode, what
   stands behind it is that of the stream. One that the client may not set stands in no program: as a step it is refused.
3. What only reads needs no program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from virke.api.hrana.sql import (
    Begin,
    Commit,
    Control,
    ForeignKeys,
    Rollback,
    Savepoint,
    control_of,
    only_reads,
    takes_own_table,
)
from virke.engine.programs import AllOf, AnyOf, Condition, Failed, Not, Step, Succeeded
from virke.engine.sqlite import Parameters, keyword
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

_ALONE: Final = ("VACUUM", "ATTACH", "DETACH")
ALWAYS: Final = AllOf(())
NEVER: Final = AnyOf(())


@dataclass(frozen=True, slots=True)
class PlainStep:
    """A step whose text is known."""

    sql: str
    params: Parameters = ()
    condition: Condition | None = None
    wants_rows: bool = True


@dataclass(frozen=True, slots=True)
class OneProgram:
    """The steps from `begin` to `end` as one program, with foreign keys as the steps before it say."""

    begin: int
    end: int
    steps: tuple[Step, ...]
    foreign_keys: bool


def one_program(steps: Sequence[PlainStep], *, foreign_keys: bool, scope: Scope) -> OneProgram | None:
    """The program in a batch on a stream without a transaction; None if there is none."""
    controls = [control_of(step.sql) for step in steps]
    begin, end = 0, len(steps)
    while begin < end and _sets_keys(controls[begin], scope) and steps[begin].condition is None:
        begin += 1
    while end > begin and isinstance(controls[end - 1], ForeignKeys):
        end -= 1
    core = range(begin, end)
    if not any(_may_write(steps[number], controls[number]) for number in core):
        return None
    if any(isinstance(controls[number], ForeignKeys) or keyword(steps[number].sql) in _ALONE for number in core):
        return None
    if any(takes_own_table(steps[number].sql) for number in core):
        return None
    if not _is_closed([controls[number] for number in core]):
        return None
    for one in controls[:begin]:
        foreign_keys = one.value or False if isinstance(one, ForeignKeys) else foreign_keys
    found = tuple(
        Step(steps[number].sql, steps[number].params, condition=moved_condition(steps[number].condition, begin))
        for number in core
    )
    return OneProgram(begin, end, found, foreign_keys)


def _sets_keys(found: Control | None, scope: Scope) -> bool:
    return isinstance(found, ForeignKeys) and found.value is not None and (found.value or scope >= Scope.SCHEMA)


def _may_write(step: PlainStep, found: Control | None) -> bool:
    if found is None:
        return not only_reads(keyword(step.sql))
    return isinstance(found, Begin) and found.mode == "write"


def _is_closed(controls: Sequence[Control | None]) -> bool:
    """Whether what is begun is ended, as far as texts say; a savepoint or a reading transaction is not for a program."""
    is_open = False
    for one in controls:
        match one:
            case Begin(mode="read"):
                return False
            case Begin():
                is_open = True
            case Commit() | Rollback():
                is_open = False
            case Savepoint() if not is_open:
                return False
    return not is_open


def moved_condition(condition: Condition | None, by: int) -> Condition | None:
    """A condition whose steps are counted from another one on; those before it succeeded."""
    return None if condition is None else _shifted_condition(condition, by)


def _shifted_condition(condition: Condition, by: int) -> Condition:
    match condition:
        case Succeeded(step):
            return Succeeded(step - by) if step >= by else ALWAYS
        case Failed(step):
            return Failed(step - by) if step >= by else NEVER
        case Not(inner):
            return Not(_shifted_condition(inner, by))
        case AllOf(conditions):
            return AllOf(tuple(_shifted_condition(one, by) for one in conditions))
        case AnyOf(conditions):
            return AnyOf(tuple(_shifted_condition(one, by) for one in conditions))
        case _:
            return condition
