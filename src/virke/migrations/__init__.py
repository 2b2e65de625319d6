"""Migrations: numbered SQL files, each applied once, atomically, with a record of what was applied."""

from virke.migrations.plan import MigrationFile, Record, Texts, plan
from virke.migrations.run import MigrationState, applied, migrate, status, undo

__all__ = ["MigrationFile", "MigrationState", "Record", "Texts", "applied", "migrate", "plan", "status", "undo"]
