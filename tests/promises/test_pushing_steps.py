"""What a push does where its pages can't go into history as they are, and what it says of the writes of a copy (P1, P2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.promises.ledger import insert, opened, settled
from tests.promises.test_pushing import journal_of, pushing_of
from virke.core.commit import Conflicted, Verdict
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.core.root import RootAt
from virke.engine import pushing
from virke.engine.database import Database
from virke.engine.entry import Entry
from virke.engine.layers import Patch
from virke.engine.pushing import Standing
from virke.engine.results import Flushed
from virke.engine.snapshot import snapshot_gone
from virke.errors import Conflict
from virke.stores.base import Store


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def gone(*_: object) -> bool:
    raise snapshot_gone()


def no_patches(entries: Sequence[Entry]) -> Iterator[Patch]:
    return iter(())


def let_pages_fail(how: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next push by pages comes to nothing, in one of the ways in which that happens."""
    commit = database._committing.commit
    lost: list[RootAt] = []

    def lost_once(base: RootAt, *args: object, **options: object) -> Verdict:
        if lost:
            return commit(base, *args, **options)  # type: ignore[arg-type]
        lost.append(base)
        return Conflicted(base)

    def unchanged(entries: Sequence[Entry]) -> Iterator[Patch]:
        count = database._volume.branch.latest().root.head.page_count
        yield Patch({}, PAGE_SIZE_DEFAULT, count, count)

    match how:
        case "the race was lost":
            monkeypatch.setattr(database._committing, "commit", lost_once)
        case "the snapshot is gone":
            monkeypatch.setattr(pushing_of(database), "_commit_pages", gone)
        case "no pages are kept":
            monkeypatch.setattr(journal_of(database), "patches", no_patches)
        case _:
            monkeypatch.setattr(journal_of(database), "patches", unchanged)


@pytest.mark.parametrize(
    "how", ["the race was lost", "the snapshot is gone", "no pages are kept", "the pages change nothing"]
)
def test_p1_writes_whose_pages_could_not_be_committed_are_run_again(
    how: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is taken for pushed before it is in history."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        insert(database, "b")
        let_pages_fail(how, database, monkeypatch)
        assert database.flush().pushed == 2
        assert journal_of(database).pending_count() == 0
    assert settled(store, tmp_path) == ["a", "b"]


def test_p4_pages_that_are_pushed_carry_the_version_that_they_become(store: Store, tmp_path: Path) -> None:
    """By the change counter in its header SQLite sees that what it remembers of a file is old."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        assert database.flush().pushed == 1
        root = database._volume.branch.latest().root
        header = database._volume.snapshot_of(root).page(1)
        assert int.from_bytes(header[24:28], "big") == int.from_bytes(header[92:96], "big") == root.head.version


def test_p15_a_push_by_pages_leaves_room_for_other_writers(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it commits again and again, so that gaps are left between its commits."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        commit, said = database._committing.commit, []

        def watched(*how: object, **options: object) -> Verdict:
            said.append(options["in_row"])
            return commit(*how, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(database._committing, "commit", watched)
        database.flush()
        assert said == [True]


def test_p2_what_a_copy_settled_is_counted_once_whether_this_one_had_tried_it_or_not(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        for token in "abc":
            insert(database, token)
        journal = journal_of(database)
        _, second, third = journal.read().pending
        journal.note([(second.sequence, None)], 1)
        with monkeypatch.context() as patch:
            patch.setattr(pushing, "standing_of", lambda *_: Standing(second.sequence, second.sequence))
            assert pushing_of(database)._reconcile_entries() == (2, 0)
        assert [one.sequence for one in journal.read().pending] == [third.sequence]


def test_p2_a_root_that_says_nothing_new_leaves_the_journal_as_it_is(store: Store, tmp_path: Path) -> None:
    """Above all what it settled last: by that it knows its own mark again."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        database.flush()
        insert(database, "b")
        before = journal_of(database).read()
        assert before.settled == 1
        assert pushing_of(database)._reconcile_entries() == (0, 0)
        assert journal_of(database).read() == before


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_p1_a_push_that_lost_a_race_is_made_again_and_answered_with_what_it_pushed(
    lost: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times in all; then its caller hears of it, and nothing is lost."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        push, tries = pushing_of(database).push, []

        def lost_first() -> Flushed:
            tries.append(True)
            if len(tries) <= lost:
                raise Conflict("others won")
            return push()

        monkeypatch.setattr(pushing_of(database), "push", lost_first)
        if lost < 3:
            assert pushing.push_all(pushing_of(database)).pushed == 1
        else:
            with pytest.raises(Conflict, match="others won"):
                pushing.push_all(pushing_of(database))
        assert len(tries) == min(lost + 1, 3)
        assert journal_of(database).pending_count() == int(lost == 3)
