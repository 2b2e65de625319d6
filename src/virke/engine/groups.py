"""Which programs can be committed together, and which of a journal's are in history already.

Knows programs in line and roots; runs nothing.
"""

from __future__ import annotations

from virke.core.root import JournalMark, RootAt
from virke.engine.programs import Program
from virke.engine.queue import Pending


class GroupFailed(Exception):
    """These programs can't be committed together: each tries alone."""


def fit_together(first: Program, other: Program) -> bool:
    """Whether two programs can be committed together."""
    return not first.stands_alone and not other.stands_alone and first.foreign_keys == other.foreign_keys


def is_pushed(pending: Pending, base: RootAt) -> bool:
    """Whether this entry of a journal is in history already."""
    mark = pending.mark
    return mark is not None and base.root.pushed(mark.journal_id) >= mark.sequence


def last_marks(group: list[Pending]) -> tuple[JournalMark, ...]:
    """The last mark of each journal: everything up to it was run, in order."""
    return tuple({pending.mark.journal_id: pending.mark for pending in group if pending.mark}.values())
