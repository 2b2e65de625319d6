"""Migrations: numbered SQL files, each applied once, atomically, with a record of what was applied."""

from virke.migrations.plan import MigrationFile, plan
from virke.migrations.run import MigrationState, migrate, status, undo

__all__ = ["MigrationFile", "MigrationState", "migrate", "plan", "status", "undo"]
