"""First words of statements, where writes go through a node. Pure."""

from __future__ import annotations

from typing import Final

READS: Final = frozenset({"SELECT", "VALUES", "EXPLAIN", "WITH", "PRAGMA", ""})
"""What is tried here as a read; only if SQLite says that it writes does it go to the node."""
