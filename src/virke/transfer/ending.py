"""What a caller that ended an import, or whose store failed in the middle of it, may conclude, and what to do next.

Knows how far an import got; knows no file format and no store.

1. Until the swap is sent nothing was changed, however much was read or stored: the import begins again from nothing. After its answer
   it is whole. Only in between is it not known.
2. An interrupt passes through with the sentence as a note (PEP 678); an error that says the store failed has it as its hint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from virke.errors import Unavailable

if TYPE_CHECKING:
    from virke.engine.long_writes import LongWrite

AGAIN: Final = "an import is one commit, which was not made; run it again from the beginning"


class Under:
    """An import that is under way: where it is sent from (`write`), or that all of it is on its way to a node (`is_sent`)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.write: LongWrite | None = None
        self.is_sent = False

    def conclusion(self) -> str:
        """What became of it (rule 1)."""
        if self.write is not None and self.write.version is not None:
            return f"{self._name} was imported, as version {self.write.version}"
        if self.is_sent or (self.write is not None and self.write.is_sent):
            return f"it is not known whether {self._name} was imported: look at the data before you run it again"
        return f"nothing of {self._name} was imported: {AGAIN}"


@contextmanager
def concluding_import(name: str) -> Iterator[Under]:
    """An import of what messages call `name`; what an interrupt or a store that fails means for it is said (rule 2)."""
    under = Under(name)
    try:
        yield under
    except KeyboardInterrupt as end:
        end.add_note(under.conclusion())
        raise
    except Unavailable as error:
        if not error.context.get("hint"):
            error.context["hint"] = f"nothing was changed: {AGAIN}"
            error.add_note(f"hint: {error.context['hint']}")
        raise
