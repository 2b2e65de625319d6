"""What a push leaves in the journal and in the root, step by step, whatever becomes of its commits (P1, P2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.test_taking_turns import with_turn
from tests.engine.world import Clock
from tests.promises.ledger import NAME, insert, opened, settled, tokens
from tests.promises.test_deferred_copies import fill, folder_copied
from virke.core.commit import Failed, Unknown, Verdict
from virke.core.root import JournalMark
from virke.engine import pushing
from virke.engine.database import Database
from virke.engine.deferred import Deferred
from virke.engine.entry import Contents, Entry, UnreachableJournal
from virke.engine.pushing import MARK_MOVES_MAX, Pushing
from virke.errors import Conflict, OutcomeUnknown, Unavailable
from virke.journal import FileJournal
from virke.stores.base import Store


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def deferred_of(database: Database) -> Deferred:
    assert database._deferred is not None
    return database._deferred


def pushing_of(database: Database) -> Pushing:
    return deferred_of(database)._pushing


def journal_of(database: Database) -> FileJournal:
    journal = deferred_of(database).journal
    assert isinstance(journal, FileJournal)
    return journal


def other_commits(store: Store, tmp_path: Path) -> None:
    """Another machine's commit: pages do not stand on its root, and statements are run again."""
    with opened(store, tmp_path / "elsewhere") as other:
        other.change_settings({"durability": "sync"})
        insert(other, "theirs")
        other.change_settings({"durability": "deferred"})


@pytest.mark.parametrize("moved", [False, True], ids=["by pages", "by statements"])
@pytest.mark.parametrize(
    ("verdict", "error", "noted"),
    [(Unknown("no answer"), OutcomeUnknown, True), (Failed("refused"), Unavailable, False)],
    ids=["unknown", "failed"],
)
def test_p2_notes_stay_exactly_where_the_swap_may_have_happened(
    verdict: Verdict,
    error: type[Exception],
    noted: bool,
    moved: bool,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a write that got into history all the same would be shown as one of which nobody knows, or be run again."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        insert(database, "b")
        if moved:
            other_commits(store, tmp_path)
            database._volume.branch.refresh()
        with monkeypatch.context() as patch:
            patch.setattr(database._committing, "commit", lambda *_, **__: verdict)
            with pytest.raises(error):
                database.flush()
        assert [one.is_noted for one in journal_of(database).read().pending] == [noted, noted]
        assert database.flush().pushed == 2
        assert tokens(database)[-2:] == ["a", "b"]


def test_p2_only_what_a_root_does_not_call_pushed_loses_its_note(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push ends with an error after one of its commits: what that one brought is settled by the next."""
    with opened(store, tmp_path) as database:
        for token in "abc":
            insert(database, token)
        push, journal = pushing_of(database), journal_of(database)
        push._contents = contents = journal.read()
        journal.note([(one.sequence, None) for one in contents.pending], 1)
        second = contents.pending[1]
        mark = JournalMark(contents.journal_id, second.sequence, 0, second.entry_id)
        at = database._volume.branch.latest()
        with monkeypatch.context() as patch:
            root = replace(at.root, journals=(mark,))
            patch.setattr(database._volume.branch, "latest", lambda: replace(at, root=root))
            push._forget_notes(contents.pending)
        assert [one.is_noted for one in journal.read().pending] == [True, True, False]
        journal.forget_notes([one.sequence for one in contents.pending])


@pytest.mark.parametrize("both", [1, 2])
def test_p2_a_copy_pushes_what_both_have_under_the_name_of_both_and_then_what_is_its_own(
    both: int, store: Store, tmp_path: Path
) -> None:
    """The journal that it was copied from finds its writes settled, and its numbers free."""
    fill(store, tmp_path / "a", pending=both)
    folder_copied(tmp_path / "a", tmp_path / "b")
    with opened(store, tmp_path / "a") as a, opened(store, tmp_path / "b") as b:
        insert(b, "own")
        insert(a, "a-own")
        before = journal_of(b).read()
        assert before.copied_at == before.newest - 1
        assert b.flush().pushed == both + 1
        after = journal_of(b).read()
        assert after.journal_id != before.journal_id
        root = b._volume.branch.latest().root
        assert root.pushed(before.journal_id) == before.copied_at
        assert root.pushed(after.journal_id) == before.newest
        a.flush()
    shared = [f"both-{number}" for number in range(both)]
    assert sorted(map(str, settled(store, tmp_path))) == ["a-own", "before-0", *shared, "own"]


def moving(times: int, database: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the root have a mark that this push did not make, so often; how many entries each part had."""
    push, parts = pushing_of(database), []
    push_part = push._push_part

    def push_or_move(entries: list[Entry]) -> tuple[int, int]:
        parts.append(len(entries))
        assert len(parts) < 50, "it never ends"
        if len(parts) <= times:
            raise pushing._MarkMoved
        return push_part(entries)

    monkeypatch.setattr(push, "_push_part", push_or_move)
    return parts


def test_p1_after_a_mark_moved_everything_that_is_still_pending_is_pushed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        for token in "abc":
            insert(database, token)
        parts = moving(MARK_MOVES_MAX, database, monkeypatch)
        assert pushing_of(database).push().pushed == 3
        assert parts == [3] * (MARK_MOVES_MAX + 1)
        assert tokens(database) == ["a", "b", "c"]


def test_p11_a_push_whose_mark_moves_again_and_again_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "a")
        with monkeypatch.context() as patch:
            moving(MARK_MOVES_MAX + 1, database, patch)
            with pytest.raises(Conflict, match="another copy of this journal"):
                pushing_of(database).push()
        assert journal_of(database).pending_count() == 1


@pytest.mark.parametrize("moved", [False, True], ids=["by pages", "by statements"])
def test_p2_a_push_has_the_lock_of_pushes_and_the_lead_while_it_commits(
    moved: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "a")
        if moved:
            other_commits(store, tmp_path)
            database._volume.branch.refresh()
        commit, held = database._committing.commit, []

        def watched(*how: object, **options: object) -> Verdict:
            held.append((journal_of(database)._file.pushing.locked(), database._committing.lead.locked()))
            return commit(*how, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(database._committing, "commit", watched)
        database.flush()
        assert held == [(True, True)] * len(held) != []


def test_p15_pages_are_not_pushed_over_a_foreign_turn(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    with opened(store, tmp_path, env=clock.environment) as database:
        with_turn(store, written_ms=clock.now_ms, name=NAME)
        database._volume.branch.refresh()
        insert(database, "a")
        began_s = clock.monotonic_s
        assert database.flush().pushed == 1
        assert clock.monotonic_s - began_s >= 4.9


def test_p4_each_part_of_a_push_goes_by_the_pages_that_were_answered(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stands on what the first made of the root: no statement is run again."""
    monkeypatch.setattr(pushing, "PUSH_MAX", 1)
    with opened(store, tmp_path) as database:
        for token in "abc":
            insert(database, token, 9000)
        before = database.query("SELECT token, filler FROM entry").rows
        database._writer.commit = None  # type: ignore[assignment, method-assign]
        version = database._volume.branch.latest().root.head.version
        assert database.flush().pushed == 3
        assert database._volume.branch.latest().root.head.version == version + 3
        assert database.query("SELECT token, filler FROM entry", consistency="strong").rows == before


# The connection ahead


def failing(*_: object, **__: object) -> int:
    raise UnreachableJournal("the disk is full")


def test_p3_a_write_that_was_not_journalled_is_in_no_later_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was run already; nothing of it is seen, and nothing of it is pushed."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        with monkeypatch.context() as patch:
            patch.setattr(journal_of(database), "append", failing)
            with pytest.raises(UnreachableJournal):
                insert(database, "lost")
        insert(database, "b")
        assert tokens(database) == ["a", "b"]
        assert database.flush().pushed == 2
    assert settled(store, tmp_path) == ["a", "b"]


def test_p1_who_wrote_to_a_journal_passes_over_it_no_more(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that has to come after the writes is refused while the journal can't be read; it is not, where there are none."""
    with opened(store, tmp_path) as database:
        deferred = deferred_of(database)
        ask: Callable[[], Contents] = deferred.journal.read
        with monkeypatch.context() as patch:
            patch.setattr(deferred.journal, "pending_count", failing)
            deferred.push_before(may_skip=True)
            with pytest.raises(UnreachableJournal):
                deferred.push_before()
        insert(database, "a")
        with monkeypatch.context() as patch:
            patch.setattr(deferred.journal, "pending_count", failing)
            with pytest.raises(UnreachableJournal):
                deferred.push_before(may_skip=True)
        assert len(ask().pending) == 1


def three_and_another_process(store: Store, tmp_path: Path) -> tuple[Database, Database]:
    """Three writes are pending; the other process has the same journal."""
    database, other = opened(store, tmp_path), opened(store, tmp_path)
    for token in "abc":
        insert(database, token)
    return database, other


def test_p4_what_is_pushed_between_a_look_at_the_journal_and_the_next_stays_in_sight(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root is taken after the journal was read: what has left the one is in the other."""
    database, other = three_and_another_process(store, tmp_path)
    with database, other:
        deferred = deferred_of(database)
        read, reads = deferred.journal.read, []

        def pushed_before() -> Contents:
            reads.append(True)
            if len(reads) == 2:
                assert other.flush().pushed == 3
            return read()

        deferred._layer = None
        monkeypatch.setattr(deferred.journal, "read", pushed_before)
        view = deferred.view(database._volume.branch.latest().root)
        assert len(reads) == 2
        assert view is not None
        assert deferred._below is database._volume.branch.latest().root


def test_p4_a_look_for_what_another_process_pushed_is_made_again_if_it_failed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its writes would have left the journal, and be in no root that is known."""
    database, other = three_and_another_process(store, tmp_path)
    with database, other:
        deferred = deferred_of(database)
        assert other.flush().pushed == 3
        with monkeypatch.context() as patch:
            patch.setattr(database._volume.branch, "refresh", failing)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    deferred._read_journal()
        contents = deferred._read_journal()
        root = database._volume.branch.latest().root
        assert root.pushed(contents.journal_id) == contents.settled == 3
