"""Which worker does what: every database has one that writes it, and every worker a socket for what the others send on.

Pure except for paths: knows names and operations; knows no socket and no process (decision 0022).

1. The owner of a database follows from its name and the number of workers: no process is asked, and nothing is agreed on.
2. What may change something, and what has a state (interactive transactions, WebSockets), is done by the owner; every worker
   answers what only reads. One that finds out late that a statement writes has done nothing of it.
3. A baton belongs to the worker that it names.
4. Where it can't be seen at once that the owner committed (an eventual store), the owner answers the reads too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.operations import DescribeStatement, Export, GetSchema, Operation, Run
from virke.lazy_dataclasses import dataclass

ROOTS: Final = "root/"
_READING: Final = DescribeStatement | Export | GetSchema


class Elsewhere(Exception):
    """Another worker has to do this; nothing of it was done here."""

    def __init__(self, worker: int) -> None:
        super().__init__(worker)
        self.worker = worker


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of one machine, as the one of this index sees them; `folder` has their sockets."""

    index: int = 0
    count: int = 1
    folder: Path = Path()
    reads_here: bool = True
    """Whether a worker that does not own a database may answer reads of it."""

    @property
    def is_alone(self) -> bool:
        """Whether there is one process only."""
        return self.count == 1

    def owner_of(self, database: str) -> int:
        """The worker that writes a database."""
        return crc32(database.encode()) % self.count

    def owns(self, database: str) -> bool:
        """Whether this worker writes a database."""
        return self.count == 1 or self.owner_of(database) == self.index

    def owns_key(self, key: str) -> bool:
        """Whether this worker writes what a register has under `key`: the root of a branch of a database that it owns."""
        return key.startswith(ROOTS) and self.owns(key.removeprefix(ROOTS).partition("/")[0])

    def socket_of(self, worker: int) -> Path:
        """Where a worker takes what others send on."""
        return self.folder / f"{worker}.sock"

    def check_here(self, operation: Operation) -> None:
        """Raise `Elsewhere` for what is definitely not done by this worker."""
        if self.is_alone:
            return
        match operation:
            case Pipeline(baton=str(baton)) | Cursor(baton=str(baton)):
                worker = worker_of(baton)
                if worker is not None and worker != self.index and worker < self.count:
                    raise Elsewhere(worker)
            case Pipeline() | Cursor() | Once():  # which database is meant is not known yet
                return
            case Run():
                if operation.is_unit or operation.key is not None or not self.reads_here:
                    self.check_owns(operation.database)
            case _ if operation.database is not None and not (self.reads_here and isinstance(operation, _READING)):
                self.check_owns(operation.database)

    def check_owns(self, database: str) -> None:
        """Raise `Elsewhere` if another worker writes a database."""
        if not self.owns(database):
            raise Elsewhere(self.owner_of(database))


ALONE: Final = Crew()


def worker_of(baton: str) -> int | None:
    """The worker that a baton names; None if it is not a baton."""
    name, dot, _ = baton.partition(".")
    return int(name) if dot and name.isdecimal() and len(name) <= 4 else None
