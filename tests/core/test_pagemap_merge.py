"""Page maps and merges against a plain dict: every version reads as it was written; upkeep costs what it may (B1)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import Expected, Model, Pages, new_model, noise, page_bytes, small_limits
from virke.core import codec, merge
from virke.core.effects import Effect, Outcome, PutAll, Tier
from virke.core.ids import PageNo, Version
from virke.core.merge import Run, choose_run
from virke.core.pagemap import PageMap
from virke.errors import Corrupt

SIZES = (512, 1024, 4096)


@dataclass(frozen=True, slots=True)
class Write:
    """One commit: which of the pages change, how many there are after it; perhaps another page size or tier."""

    changed: frozenset[int]
    page_count: int
    page_size: int | None
    compressible: bool
    tier: Tier | None


@dataclass(frozen=True, slots=True)
class Touch:
    """A commit of references or settings only."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A merge: what `choose` says, or (given two numbers) any run."""

    any_run: tuple[int, int] | None


Event = Write | Touch | Compact
writes = st.builds(
    Write,
    changed=st.frozensets(st.integers(1, 40), max_size=12),
    page_count=st.integers(1, 40),
    page_size=st.none() | st.none() | st.none() | st.sampled_from(SIZES),
    compressible=st.booleans(),
    tier=st.none() | st.none() | st.sampled_from(Tier),
)
compacts = st.builds(Compact, st.none() | st.none() | st.tuples(st.integers(0, 9), st.integers(1, 9)))
events = st.lists(st.one_of(writes, writes, writes, writes, st.just(Touch()), compacts), min_size=10, max_size=50)


def write(model: Model, event: Write) -> None:
    """Commit `event`: what came into being is written, as SQLite does."""
    before, size = model.root.head, event.page_size or model.root.head.page_size
    first_new = 1 if size != before.page_size else before.page_count + 1
    numbers = {number for number in event.changed if number <= event.page_count}
    numbers |= set(range(first_new, event.page_count + 1))
    named = f"{before.version}"
    pages: Pages = {PageNo(n): page_bytes(f"{n} of {named}", size, event.compressible) for n in numbers}
    model.write(pages, page_count=event.page_count, page_size=size, tier=event.tier)


def happen(model: Model, event: Event) -> None:
    """Let one event happen."""
    match event:
        case Write():
            write(model, event)
        case Touch():
            model.touch()
        case Compact(None):
            model.upkeep()
        case Compact((start, length)) if len(model.root.segments) > start:
            model.merge(Run(start, min(start + length, len(model.root.segments))))


@settings(max_examples=200)
@given(events, st.sampled_from(SIZES), st.sampled_from([frozenset[Tier](), frozenset({Tier.KV})]))
@small_limits()
def test_every_version_reads_as_it_was_written(history: list[Event], page_size: int, whole: frozenset[Tier]) -> None:
    """P4, P7: at the head and at every version before it, whatever was spilled and merged since, with ranges and without."""
    model = new_model(page_size)
    model.whole = whole
    model.part_bytes = {Tier.KV: 3000, Tier.OBJECT: 9000}
    for event in history:
        happen(model, event)
    model.upkeep()
    for version, expected in model.versions.items():
        assert model.read(version) == expected.pages, f"version {version}"


@small_limits()
def test_the_histories_above_reach_every_kind_of_segment() -> None:
    """Spills, segments of several parts, merges of merges and groups of hot pages do occur in them."""
    chance, model = random.Random(7), new_model()
    model.part_bytes = {Tier.KV: 3000, Tier.OBJECT: 9000}
    seen = set[str]()
    for _ in range(120):
        changed = frozenset(chance.sample(range(1, 41), 6))
        write(model, Write(changed, chance.randint(1, 40), None, compressible=False, tier=None))
        model.upkeep()
        for ref in model.root.segments:
            index = model.index(ref)
            heads = [group.head.version for group in index.groups]
            seen |= {"parts"} if ref.parts > 1 else set()
            seen |= {"spill"} if len(set(heads)) > 1 else set()
            seen |= {"hot"} if len(heads) == 4 and len(set(heads)) == 1 else set()
            if ref.has_inputs:
                held = [page for group in range(len(heads)) for frame in index.frames(group) for page in frame.pages]
                assert len(held) == len(set(held)), "a merge holds each page once"
            seen |= {"merge of a merge"} if any(inner.has_inputs for inner in index.inputs) else set()
    assert seen == {"parts", "spill", "hot", "merge of a merge"}


@given(events)
@small_limits()
def test_upkeep_leaves_few_segments(history: list[Event]) -> None:
    """`choose` comes to an end, and what it leaves is a bounded number of segments."""
    model = new_model()
    for event in history:
        happen(model, event)
        model.upkeep()
        assert choose_run(model.root.segments) is None
        assert len(model.root.segments) <= 8


@given(events)
@small_limits()
def test_changed_pages_are_never_overlooked(history: list[Event]) -> None:
    """A warm cache is right: pages that two maps have in the same place have the same bytes."""
    model = new_model()
    for event in history[:-1]:
        happen(model, event)
    before, version = newest_map(model), model.root.head.version
    happen(model, history[-1])
    after = newest_map(model)
    old, new = model.versions[version].pages, model.versions[model.root.head.version].pages
    really = {page for page, data in new.items() if old.get(page) != data}
    assert really <= after.changed_since(before)


def newest_map(model: Model) -> PageMap:
    """The page map of the head."""
    return PageMap(model.root.head, model.segments_at(model.root.head.version), model.root.inline)


def test_a_page_that_is_nowhere_is_corrupt() -> None:
    """P7: never zeros."""
    model = new_model()
    model.write({PageNo(1): noise("1", 512)}, page_count=2)
    with pytest.raises(Corrupt, match="page 2"):
        model.read(model.root.head.version)


def test_a_page_from_before_a_shrink_does_not_shine_through() -> None:
    """A page that went and came back is the new one, also at versions in between and after a merge."""
    model = new_model()
    for number, count in enumerate((40, 2, 40, 3, 40)):
        write(model, Write(frozenset({1}), count, None, compressible=False, tier=None))
        if number in (1, 3):
            model.write({PageNo(1): noise(f"big {number}", 512)}, page_count=count)
        spill(model)
    model.merge(Run(0, len(model.root.segments)))
    for version, expected in model.versions.items():
        assert model.read(version) == expected.pages


def spill(model: Model) -> None:
    """Commit enough that everything inline goes into a segment."""
    head = model.root.head
    pages: Pages = {PageNo(head.page_count + n): noise(f"{head.version} {n}", 512) for n in range(1, 140)}
    model.write(pages, page_count=head.page_count + 139)
    model.write({PageNo(1): noise(f"{head.version} back", 512)}, page_count=head.page_count)


# B1


@dataclass(frozen=True, slots=True)
class Load:
    """A database and the commits that it gets."""

    commits: int
    database_pages: int
    pages_per_commit: int
    seed: int = 1


@dataclass(slots=True)
class Cost:
    """What a load cost, per commit, and what it left behind."""

    writes: float
    bytes_sent: float
    compressed: float
    segments_max: int
    stored_bytes: int
    smallest_bytes: int


def measure(load: Load) -> Cost:
    """Run a load of small commits, upkeep after each as it comes due."""
    chance, model = random.Random(load.seed), new_model(4096)
    pages = {PageNo(number): small_page(number, 0) for number in range(1, load.database_pages + 1)}
    model.write(pages, page_count=load.database_pages)
    writes, bytes_sent, compressed, most = model.ledger.writes, model.ledger.bytes_sent, 0, 0
    for commit in range(load.commits):
        others = chance.sample(range(2, load.database_pages + 1), load.pages_per_commit - 1)
        changed = {PageNo(number): small_page(number, commit + 1) for number in (1, *others)}
        compressed += len(codec.encode(b"".join(changed.values()))[1])
        pages |= changed
        model.versions.clear()  # the history is not looked at here
        model.write(changed, page_count=load.database_pages)
        model.upkeep()
        most = max(most, len(model.root.segments))
    model.versions[model.root.head.version] = Expected(model.root.head, pages)
    assert model.read(model.root.head.version) == pages
    sent = model.ledger
    return Cost(
        writes=(sent.writes - writes) / load.commits,
        bytes_sent=(sent.bytes_sent - bytes_sent) / load.commits,
        compressed=compressed / load.commits,
        segments_max=most,
        stored_bytes=sum(ref.stored_bytes for ref in model.root.segments),
        smallest_bytes=sum(len(codec.encode(data)[1]) for data in pages.values()),
    )


def small_page(number: int, commit: int) -> bytes:
    """A page that compresses to about 0.65 KiB."""
    return b"\x0d" + noise(f"{number} {commit}", 640) + bytes(4096 - 641)


def check(load: Load) -> None:
    """Budget B1 for one load."""
    cost = measure(load)
    print(load, cost)
    assert cost.writes <= 1.1
    assert cost.bytes_sent <= 5 * cost.compressed + 32 * 1024
    assert cost.segments_max <= 8
    assert cost.stored_bytes <= 2 * cost.smallest_bytes + (1 << 20)


@pytest.mark.parametrize("database_pages", [20, 1000])
def test_small_commits_cost_one_write_each(database_pages: int) -> None:
    """B1 on 2,000 commits: ≤ 1.1 writes and ≤ 5 × the compressed pages + 32 KiB, upkeep included."""
    check(Load(2000, database_pages, 2))


@pytest.mark.slow
@pytest.mark.parametrize("database_pages", [20, 1000, 20_000])
def test_ten_thousand_small_commits_cost_one_write_each(database_pages: int) -> None:
    """B1 as it is written."""
    check(Load(10_000, database_pages, 2))


def test_a_merge_of_everything_leaves_one_copy_of_each_page() -> None:
    """Live bytes after a full merge: every page once, and an index."""
    model = new_model(4096)
    for commit in range(30):
        count = 40 + commit
        model.write({PageNo(n): small_page(n, commit) for n in range(1, count)}, page_count=count - 1)
    run = Run(0, len(model.root.segments))
    ref = model.merge(run)
    live = sum(len(codec.encode(small_page(n, 29))[1]) for n in range(1, 69))
    assert ref.stored_bytes <= 1.1 * live
    assert Version(ref.hi) <= model.root.head.version


@pytest.mark.parametrize(("held_bytes", "at_once"), [(1, 1), (40_000, 2), (1 << 20, 4)])
def test_a_merge_holds_few_parts_at_a_time(monkeypatch: pytest.MonkeyPatch, held_bytes: int, at_once: int) -> None:
    """B18: it runs beside requests, and its memory comes on top of theirs."""
    model = new_model(4096)
    for commit in range(4):
        model.write({PageNo(n): noise(f"{commit} {n}", 4096) for n in range(1, 60)}, page_count=59)
    rounds: list[int] = []
    perform = Model.perform

    def record(model: Model, effect: Effect) -> Outcome:
        if isinstance(effect, PutAll):
            rounds.append(len(effect.objects))
        return perform(model, effect)

    monkeypatch.setattr(Model, "perform", record)
    monkeypatch.setattr(merge, "HELD_BYTES", held_bytes)
    model.part_bytes = dict.fromkeys(Tier, 20000)
    ref = model.merge(Run(0, len(model.root.segments)))
    assert ref.parts >= 8
    assert max(rounds, default=1) == at_once
