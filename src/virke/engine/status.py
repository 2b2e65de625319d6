"""What `db status` shows: the root in words, what is pending, and how the store does.

Knows the root, what history keeps, and the journal's counts; asks the store for the root and for indexes of merges.
"""

from __future__ import annotations

from virke.core.forecast import Forecast, amount_of, forecast_history
from virke.engine.deferred import Deferred
from virke.engine.results import Status
from virke.engine.upkeep import Upkeep
from virke.engine.volume import Volume
from virke.errors import Unavailable, VirkeError


def status_of(
    volume: Volume, upkeep: Upkeep, deferred: Deferred | None, *, conflicts: int, history: bool = True
) -> Status:
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
    stored, ahead = set(root.segments), None
    if history:
        try:
            marked = upkeep.kept(root)
            stored.update(marked.needed, marked.garbage)
            ahead = forecast_history(root, marked, volume.environment.now_ms())
        except VirkeError as failure:
            healthy, error = healthy and not isinstance(failure, Unavailable), failure.message
    everything, kept = amount_of(stored), amount_of(stored.difference(root.segments))
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
        objects=everything.objects,
        stored_bytes=everything.stored_bytes,
        history_objects=kept.objects,
        history_bytes=kept.stored_bytes,
        history_from_version=max(1, root.horizon.version),
        history_days=root.settings.history_days,
        conflicts=conflicts,
        healthy=healthy,
        upkeep_error=error,
        upkeep_due=upkeep.due(),
        journal_error=journal_error,
        **(_of_days_to_come(ahead) if ahead else {}),
    )


def _of_days_to_come(ahead: Forecast) -> dict[str, int | None]:
    return {
        "growth_bytes_per_day": ahead.bytes_per_day,
        "gc_objects": ahead.now.objects,
        "gc_bytes": ahead.now.stored_bytes,
        "gc_later_objects": ahead.later.objects,
        "gc_later_bytes": ahead.later.stored_bytes,
        "gc_later_from_ms": ahead.first_ms or None,
        "gc_later_until_ms": ahead.last_ms or None,
    }
