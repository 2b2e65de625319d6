"""Which tests are asked about a file: those next to it first, then quick ones that know most of it, as one failure is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

CORE: Final = "src/virke/core/"
FAST: Final = "not slow and not prove and not clients"
_WRITES: Final = (
    "tests/core/test_commit_rules.py",
    "tests/promises/test_lost_reply.py",
    "tests/promises/test_after_the_swap.py",
    "tests/promises/test_idempotency.py",
    "tests/core/test_paced_commit.py",
    "tests/core/test_turntaking.py",
    "tests/engine/test_committing_steps.py",
    "tests/engine/test_writer_steps.py",
    "tests/engine/test_committing.py",
    "tests/engine/test_commit_paths.py",
    "tests/engine/test_allowance.py",
    "tests/engine/test_interrupted_commits.py",
    "tests/engine/test_eventual.py",
    "tests/engine/test_driver.py",
    "tests/engine/test_programs.py",
    "tests/engine/test_consistency.py",
    "tests/engine/test_group_commit.py",
    "tests/engine/test_pacing.py",
    "tests/engine/test_taking_turns.py",
    "tests/core/test_explorer.py",
    "tests/core/test_branches.py",
    "tests/core/test_lost_history.py",
    "tests/engine/test_branches.py",
    "tests/engine/test_queue.py",
    "tests/engine/test_bounds.py",
    "tests/promises/test_deleting.py",
    "tests/promises/test_one_history.py",
    "tests/promises/test_every_operation.py",
)
_DEFERRED: Final = (
    "tests/engine/test_standing.py",
    "tests/promises/test_journal_entries.py",
    "tests/promises/test_journal_connection.py",
    "tests/promises/test_journal_encoding.py",
    "tests/promises/test_journal_flusher.py",
    "tests/promises/test_journal_aside.py",
    "tests/promises/test_pushing.py",
    "tests/promises/test_pushing_steps.py",
    "tests/promises/test_deferred.py",
    "tests/promises/test_deferred_journal.py",
    "tests/promises/test_deferred_file.py",
    "tests/promises/test_deferred_deaths.py",
    "tests/promises/test_deferred_steps.py",
    "tests/promises/test_deferred_copies.py",
    "tests/promises/test_deferred_answers.py",
    "tests/promises/test_deferred_shared.py",
    "tests/promises/test_deferred_model.py",
    "tests/promises/test_power_cut.py",
)
_OPERATIONS: Final = (
    "tests/api/test_performing.py",
    "tests/api/test_operations.py",
    "tests/api/test_native_answers.py",
    "tests/api/test_statements_of.py",
)
NEAR: Final[dict[str, Sequence[str]]] = {
    "src/virke/engine/committing.py": (
        "tests/engine/test_committing_steps.py",
        "tests/engine/test_committing.py",
        "tests/engine/test_interrupted_commits.py",
        "tests/engine/test_eventual.py",
        "tests/engine/test_consistency.py",
    ),
    "src/virke/engine/writer.py": (
        "tests/engine/test_writer_steps.py",
        "tests/engine/test_committing.py",
        "tests/engine/test_company.py",
        "tests/engine/test_group_commit.py",
        "tests/engine/test_interrupted_commits.py",
        "tests/engine/test_programs.py",
    ),
    "src/virke/engine/keyed.py": (
        "tests/engine/test_keyed.py",
        "tests/promises/test_idempotency.py",
        "tests/engine/test_restoring.py",
    ),
    "src/virke/engine/deferred.py": (
        "tests/promises/test_deferred_steps.py",
        "tests/promises/test_deferred_shared.py",
        "tests/promises/test_deferred_answers.py",
    ),
    "src/virke/engine/pushing.py": (
        "tests/engine/test_standing.py",
        "tests/engine/test_groups.py",
        "tests/promises/test_pushing.py",
        "tests/promises/test_pushing_steps.py",
        "tests/promises/test_deferred_copies.py",
        "tests/promises/test_deferred_deaths.py",
    ),
    "src/virke/journal/": (
        "tests/promises/test_journal_entries.py",
        "tests/promises/test_journal_connection.py",
        "tests/promises/test_journal_encoding.py",
        "tests/promises/test_journal_flusher.py",
        "tests/promises/test_journal_aside.py",
        "tests/promises/test_deferred_file.py",
    ),
    "src/virke/migrations/": (
        "tests/test_migrations.py",
        "tests/test_migration_steps.py",
        "tests/test_migration_keys.py",
        "tests/test_migration_tools.py",
        "tests/test_undo_exact.py",
        "tests/test_rehearsal.py",
    ),
    "src/virke/api/": ("tests/api",),
    "src/virke/api/performing.py": _OPERATIONS,
    "src/virke/api/operations.py": _OPERATIONS,
    "src/virke/api/native.py": _OPERATIONS,
    "src/virke/api/hrana/": (
        "tests/api/hrana/test_stream_steps.py",
        "tests/api/hrana/test_batches.py",
        "tests/api/hrana/test_stream_batches.py",
        "tests/api/hrana/test_stream_rights.py",
        "tests/api/hrana/test_transacting.py",
        "tests/api/hrana/test_blocking.py",
    ),
}
"""The few tests that say most of a file: loaded in seconds, asked first; what they do not notice all of `SUITES` are asked about."""
SUITES: Final[dict[str, Sequence[str]]] = {
    "src/virke/core/commit.py": _WRITES,
    CORE: ("tests/core", "tests/engine", "tests/promises/test_every_operation.py"),
    "src/virke/engine/committing.py": _WRITES,
    "src/virke/engine/writer.py": (*_WRITES, *_DEFERRED),
    "src/virke/engine/keyed.py": ("tests/engine/test_keyed.py", *_WRITES, "tests/engine/test_restoring.py"),
    "src/virke/engine/deferred.py": _DEFERRED,
    "src/virke/engine/pushing.py": _DEFERRED,
    "src/virke/journal/": _DEFERRED,
    "src/virke/migrations/": (
        "tests/test_migrations.py",
        "tests/test_migration_steps.py",
        "tests/test_migration_keys.py",
        "tests/test_migration_races.py",
        "tests/test_migration_tools.py",
        "tests/test_undo.py",
        "tests/test_undo_exact.py",
        "tests/test_rehearsal.py",
    ),
    "src/virke/api/": ("tests/api", "tests/node"),
}
"""The files that decide whether a write is lost, done twice or hidden, and their tests."""


def suites_for(path: str) -> Sequence[str]:
    """The tests of a file; none if it is not one of those."""
    return _best_of(SUITES, path)


def near_for(path: str) -> Sequence[str]:
    """Those of them that are asked first; none if all are asked at once."""
    return _best_of(NEAR, path)


def _best_of(known: Mapping[str, Sequence[str]], path: str) -> Sequence[str]:
    best = max((begin for begin in known if path.startswith(begin)), key=len, default="")
    return known.get(best, ())
