"""Where the pages of a snapshot are, also where the entries that say so have to be read first.

Knows page maps and indexes; knows no page's bytes.

1. The entries of a segment that several pages need are read in one round; in a store without ranges the parts that have them
   are kept, so that the pages' own bytes are there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from virke.core.finding import bring_entries
from virke.core.ids import PageNo
from virke.core.index import Away, Index
from virke.core.pagemap import Place
from virke.core.segment import Ref
from virke.engine.driver import Driver
from virke.engine.snapshot import Snapshot, snapshot_gone
from virke.engine.whole_parts import WholeParts
from virke.errors import Corrupt


class Locating:
    """Looks pages up for one open database; `is_gone`: whether the newest root needs a snapshot's segment no more."""

    def __init__(self, driver: Driver, parts: WholeParts, is_gone: Callable[[Snapshot, Ref], bool]) -> None:
        self._driver = driver
        self._parts = parts
        self._is_gone = is_gone

    def locate(self, snapshot: Snapshot, number: PageNo) -> Place:
        """Where a page is. Raises `Corrupt`, `Unavailable`; `SnapshotGone`."""
        while True:
            try:
                return snapshot.map.locate(number)
            except Away as away:
                self._bring_entries(snapshot, [away])

    def locate_all(self, snapshot: Snapshot, numbers: Sequence[PageNo]) -> list[Place]:
        """Where pages are. Raises as `locate`."""
        while True:
            places: list[Place] = []
            missing: dict[tuple[Index, object], Away] = {}
            for number in numbers:
                try:
                    places.append(snapshot.map.locate(number))
                except Away as away:
                    missing[away.index, away.block] = away
            if not missing:
                return places
            self._bring_entries(snapshot, list(missing.values()))

    def _bring_entries(self, snapshot: Snapshot, missing: Sequence[Away]) -> None:
        """Hand in entries that indexes lack; those of a segment in one round."""
        for index in dict.fromkeys(away.index for away in missing):
            ref, mine = index.ref, [away for away in missing if away.index is index]
            whole = ref.tier in self._parts.tiers
            came = self._parts.bring(ref, {away.place.part for away in mine}) if whole else {}
            for away in mine:
                if (part := came.get(away.place.part)) is not None:
                    with suppress(Corrupt):  # of a copy, perhaps
                        index.take(away.block, part[away.place.offset : away.place.offset + away.place.length])
            if any(index.is_away(away.block) for away in mine):
                first, last = min(away.page for away in mine), max(away.page for away in mine)
                try:
                    self._driver.run(bring_entries(index, first, last))
                except Corrupt as error:
                    if self._is_gone(snapshot, ref):
                        raise snapshot_gone() from error
                    raise
