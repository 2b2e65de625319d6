"""A database in memory whose every version is also kept as a plain dict, and the pure protocols around it.

The store is a dict; what the protocols ask is answered at once. `Ledger` counts what a store would have been sent.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import shake_256
from typing import TypeVar

import pytest

from virke.core import change as change_module
from virke.core import hot as hot_module
from virke.core import index as index_module
from virke.core import merge as merge_module
from virke.core.change import Change, change_without_pages, next_root, plan_change, plan_spill
from virke.core.commit import Plan
from virke.core.effects import Absent, Delete, Effect, Get, Outcome, PutAll, PutNew, Stored, Tier
from virke.core.finding import bring_entries, find_indexes
from virke.core.ids import CommitId, DatabaseId, PageCount, PageNo, Version
from virke.core.index import Index
from virke.core.inline import Inline
from virke.core.merge import Merge, Run, choose_run, merge_segments, plan_merge
from virke.core.page import page_hash
from virke.core.pagemap import InRoot, PageMap
from virke.core.root import Root, decode_root, encode_root, first_root
from virke.core.segment import Head, Ref, decode_frame
from virke.core.settings import Settings

T = TypeVar("T")
Pages = dict[PageNo, bytes]


def noise(name: str, length: int) -> bytes:
    """Bytes that look random and are not."""
    return shake_256(name.encode()).digest(length)


@dataclass(frozen=True, slots=True)
class Expected:
    """One version as it must be: its state, and every page."""

    head: Head
    pages: Mapping[PageNo, bytes]


@dataclass(slots=True)
class Ledger:
    """What the store was sent: requests that write, and their bytes."""

    writes: int = 0
    bytes_sent: int = 0
    deletes: int = 0


@dataclass(slots=True)
class Model:
    """A root, a store of objects, and what every version must read as."""

    root: Root
    objects: dict[str, bytes] = field(default_factory=dict)
    versions: dict[Version, Expected] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    indexes: dict[Ref, Index] = field(default_factory=dict)
    now_ms: int = 1_000_000
    ids: int = 0
    whole: frozenset[Tier] = frozenset()
    recent_bytes: int = 0
    """How much of recent segments' indexes its roots carry."""
    part_bytes: dict[Tier, int] = field(default_factory=lambda: {Tier.KV: 1 << 20, Tier.OBJECT: 16 << 20})

    def commit_id(self) -> CommitId:
        """The next commit id."""
        self.ids += 1
        return CommitId(noise(f"commit {self.ids}", 16))

    # Driving

    def drive(self, protocol: Generator[Effect, Outcome, T]) -> T:
        """Run `protocol` to its end."""
        outcome: Outcome = None
        while True:
            try:
                effect = protocol.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self.perform(effect)

    def perform(self, effect: Effect) -> Outcome:
        """Answer one effect."""
        match effect:
            case PutNew(_, key, data):
                assert self.objects.setdefault(key, data) == data, key
                self.ledger.writes += 1
                self.ledger.bytes_sent += len(data)
                return Stored()
            case PutAll(tier, objects):
                for key, data in objects:
                    self.perform(PutNew(tier, key, data))
                return Stored()
            case Get(_, ranges):
                return [self._range(*place) for place in ranges]
            case Delete(_, keys):
                self.ledger.deletes += len(keys)
                for key in keys:
                    self.objects.pop(key, None)
                return None
        raise AssertionError(f"the model has no answer to {effect}")

    def _range(self, key: str, offset: int, length: int | None) -> bytes | Absent:
        data = self.objects.get(key)
        return Absent() if data is None else data[offset : None if length is None else offset + length]

    # Changing

    def apply(self, plan: Plan) -> None:
        """What `commit` does when nothing goes wrong."""
        for put in plan.puts:
            self.perform(put)
        data = encode_root(plan.root)
        self.ledger.writes += 1
        self.ledger.bytes_sent += len(data)
        self.root = decode_root(data, "model") if self.ids % 16 == 0 else plan.root

    def write(self, pages: Pages, *, page_count: int, page_size: int = 0, tier: Tier | None = None) -> None:
        """Commit `pages`; the rest stays, pages beyond `page_count` go."""
        head, size = self.root.head, page_size or self.root.head.page_size
        old = self.versions[head.version].pages if head.version in self.versions else {}
        after = {number: data for number, data in {**old, **pages}.items() if number <= page_count}
        assert all(len(data) == size for data in after.values())
        checksum = 0
        for number, data in after.items():
            checksum ^= page_hash(number, data)
        count, parts = PageCount(page_count), self.part_bytes
        change = Change(
            pages,
            size,
            count,
            checksum,
            self.now_ms,
            tier=tier,
            part_bytes=parts,
            whole=self.whole,
            recent_bytes=self.recent_bytes,
        )
        self.apply(plan_change(self.root, self.commit_id(), change))
        self.versions[self.root.head.version] = Expected(self.root.head, after)

    def touch(self, settings: Settings | None = None) -> None:
        """A commit that changes no page."""
        root = self.root
        self.apply(Plan(next_root(root, self.commit_id(), change_without_pages(root, self.now_ms, settings=settings))))
        self.moved()

    def spill(self) -> None:
        """Put what is inline into a segment, as the edge does after an answer."""
        change = replace(
            change_without_pages(self.root, self.now_ms),
            part_bytes=self.part_bytes,
            whole=self.whole,
            recent_bytes=self.recent_bytes,
        )
        self.apply(plan_spill(self.root, self.commit_id(), change))
        self.moved()

    def moved(self) -> None:
        """The version rose without a change of pages."""
        before = self.versions.get(Version(self.root.head.version - 1))
        if before:
            self.versions[self.root.head.version] = replace(before, head=self.root.head)

    def merge(self, run: Run, tier: Tier | None = None) -> Ref:
        """Merge one run and commit it."""
        refs = self.root.segments[run.start : run.stop]
        read = self.drive(find_indexes(refs))
        indexes = tuple(read[ref] for ref in refs)
        job = Merge(self.root, run, indexes, self.commit_id(), tier or self.root.tier)
        ref = self.drive(merge_segments(job, self.part_bytes, whole=self.whole))
        index = self.objects[ref.index_key][ref.index_offset : ref.index_offset + ref.index_length]
        plan = plan_merge(
            self.root,
            job,
            ref,
            commit_id=self.commit_id(),
            time_ms=self.now_ms,
            index=index if self.recent_bytes else b"",
            recent_bytes=self.recent_bytes,
        )
        assert plan is not None
        self.apply(plan)
        self.moved()
        return ref

    def upkeep(self) -> int:
        """Merge for as long as `choose` finds something; how often that was."""
        merges = 0
        while run := choose_run(self.root.segments):
            self.merge(run)
            merges += 1
        return merges

    # Reading

    def index(self, ref: Ref) -> Index:
        """The index of a segment, with all entries; kept for every version that is read, as an engine does."""
        if ref not in self.indexes:
            self.indexes |= self.drive(find_indexes([ref]))
            self.drive(bring_entries(self.indexes[ref]))
        return self.indexes[ref]

    def segments_at(self, version: Version) -> tuple[tuple[Ref, Index], ...]:
        """The segments that `version` needs, oldest first: what is newer dropped, what spans it replaced by its inputs."""
        found: list[tuple[Ref, Index]] = []
        waiting = list(reversed(self.root.segments))
        while waiting:
            ref = waiting.pop()
            if ref.lo > version:
                continue
            index = self.index(ref)
            if ref.hi > version and ref.has_inputs:
                waiting.extend(reversed(index.inputs))
            else:
                found.append((ref, index))
        return tuple(found)

    def read(self, version: Version) -> Pages:
        """Every page of `version`, by way of the page map."""
        return self.read_by(self.versions[version].head, self.segments_at(version))

    def read_by(self, head: Head, segments: tuple[tuple[Ref, Index], ...]) -> Pages:
        """Every page of the version of `head`, by these indexes."""
        pages = PageMap(head, segments, self.root.inline)
        frames: dict[tuple[Inline | Ref, int, int], list[bytes]] = {}
        found: Pages = {}
        for number in range(1, head.page_count + 1):
            place = pages.locate(PageNo(number))
            source: Inline | Ref = place.commit if isinstance(place, InRoot) else place.ref
            frame = place.frame
            key = (source, frame.part, frame.offset)
            if key not in frames:
                data = source.data if isinstance(source, Inline) else self.objects[source.identity.part_key(frame.part)]
                data = data[frame.offset : frame.offset + frame.length]
                frames[key] = decode_frame(frame, data, head.page_size, "model")
            found[PageNo(number)] = frames[key][place.slot]
        return found


def new_model(page_size: int = 512, tier: Tier = Tier.KV) -> Model:
    """A new, empty database."""
    root = first_root(
        name="model",
        database_id=DatabaseId(noise("database", 16)),
        commit_id=CommitId(noise("commit 0", 16)),
        time_ms=1_000_000,
        page_size=page_size,
        tier=tier,
    )
    model = Model(root)
    model.versions[root.head.version] = Expected(root.head, {})
    return model


def page_bytes(name: str, size: int, compressible: bool) -> bytes:
    """A page; one in four looks like an interior B-tree page."""
    start = b"\x05" if noise(name, 1)[0] % 4 == 0 else b"\x0d"
    return start + (noise(name, 16) + bytes(size - 17) if compressible else noise(name, size - 1))


@contextmanager
def small_limits() -> Iterator[None]:
    """Limits so low that a few small commits spill, split into parts and blocks, and are merged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_module, "INLINE_COMMIT_MAX", 3000)
        patch.setattr(change_module, "INLINE_TOTAL_MIN", 4000)
        patch.setattr(change_module, "INLINE_TOTAL_MAX", 9000)
        patch.setattr(change_module, "INLINE_COUNT_MAX", 4)
        patch.setattr(merge_module, "SMALLEST_BYTES", 2000)
        patch.setattr(merge_module, "BATCH_PAGES", 4)
        patch.setattr(merge_module, "WINDOW_PAGES", 9)
        patch.setattr(hot_module, "FROM_PAGES", 6)
        patch.setattr(index_module, "_SMALL_FRAMES", 3)
        patch.setattr(index_module, "_ASKED_PAGES", 2)
        yield
