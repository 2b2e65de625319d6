"""What `db status` shows: the root in words, what is pending, and how the store does.

Knows the root, what history keeps, and the journal's counts; asks the store for the root and for indexes of merges.
"""

from __future__ import annotations

from virke.engine.deferred import Deferred
from virke.engine.results import Status
from virke.engine.upkeep import Upkeep
from virke.engine.volume import Volume
from virke.errors import Unavailable, VirkeError


def of(volume: Volume, upkeep: Upkeep, deferred: Deferred | None, *, conflicts: int, history: bool = True) -> Status:
    """The state of a database, as the store has it now; if it does not answer, as this process knew it.

    With `history` what history keeps is counted: one read for each level of merges that is not known yet.
    """
    healthy, error = True, upkeep.error
    try:
        volume.branch.refresh()
    except Unavailable as failure:
        healthy, error = False, failure.message
    at = volume.branch.latest()
    root, head = at.root, at.root.head
    stored = set(root.segments)
    if history:
        try:
            marked = upkeep.kept(root)
            stored.update(marked.needed, marked.garbage)
        except VirkeError as failure:
            healthy, error = healthy and not isinstance(failure, Unavailable), failure.message
    kept = stored.difference(root.segments)
    pending, rejected, journal_error = deferred.report() if deferred else (0, (), None)
    return Status(
        name=volume.name,
        store=volume.branch.store.url,
        tier=root.tier.value,
        branch=root.branch,
        epoch=root.epoch,
        version=head.version,
        generation=at.generation,
        page_size=head.page_size,
        page_count=head.page_count,
        size_bytes=head.page_count * head.page_size,
        created_ms=root.created_ms,
        last_commit_ms=head.time_ms,
        pending_writes=pending,
        rejected_writes=rejected,
        objects=sum(ref.parts for ref in stored),
        stored_bytes=sum(ref.stored_bytes for ref in stored),
        history_objects=sum(ref.parts for ref in kept),
        history_bytes=sum(ref.stored_bytes for ref in kept),
        history_from_version=max(1, root.horizon.version),
        history_days=root.settings.history_days,
        conflicts=conflicts,
        healthy=healthy,
        upkeep_error=error,
        upkeep_due=upkeep.due(),
        journal_error=journal_error,
    )
