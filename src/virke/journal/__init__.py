"""Deferred writes on this machine's disk, and the thread that pushes them in time."""

from virke.journal.file import FileJournal
from virke.journal.flusher import Flusher

__all__ = ["FileJournal", "Flusher"]
