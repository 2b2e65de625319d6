"""Once a swap may have been applied, no error of a later call is told of the commit as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises.ledger import LARGE, TABLE, Ledger, check_integrity, insert, opened, settled
from tests.promises.moody import Moody
from virke.core.effects import Tier
from virke.core.ring import RING_LENGTH
from virke.errors import Corrupt, Denied, Invalid, NotFound, OutcomeUnknown, Unavailable, VirkeError
from virke.stores.base import Call, Store
from virke.stores.faulty import At, DeliverLate, FaultyStore, LoseAnswer
from virke.stores.memory import memory_store

ERRORS = [Denied("expired"), NotFound("no such bucket"), Corrupt("no register"), Invalid("odd"), Unavailable("down")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the database of the tests."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
        insert(database, "old")
    return store


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_p3_a_look_that_fails_after_a_lost_answer_proves_nothing(
    error: VirkeError, store: Store, tmp_path: Path
) -> None:
    """The swap was applied, its answer is lost, and the root can't be read, whatever the reason."""
    mood = Moody(FaultyStore(store, [At(1, LoseAnswer(), Call.SWAP)]).store)
    with opened(mood.store, tmp_path) as database:
        mood.fail(error, Call.READ)
        with pytest.raises(OutcomeUnknown):
            insert(database, "new", LARGE)
    assert settled(store, tmp_path) == ["old", "new"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_p3_a_repeat_that_fails_after_a_lost_request_proves_nothing(
    error: VirkeError, store: Store, tmp_path: Path
) -> None:
    """The first swap is still on its way when the store begins to refuse, and arrives after the answer was given."""
    faulty = FaultyStore(store, [At(1, DeliverLate(10_000), Call.SWAP)])
    mood = Moody(faulty.store)
    with opened(mood.store, tmp_path) as database:
        mood.fail(error, Call.SWAP, after=1)
        with pytest.raises(OutcomeUnknown):
            insert(database, "new", LARGE)
    faulty.deliver_late()
    assert settled(store, tmp_path) == ["old", "new"]


@pytest.mark.parametrize("error", ERRORS[:-1], ids=lambda error: error.kind)
def test_p3_an_error_before_anything_was_sent_stays_what_it_is(error: VirkeError, store: Store, tmp_path: Path) -> None:
    """Nothing can have been applied: the caller is told why, and what was uploaded is gone."""
    mood = Moody(store)
    with opened(mood.store, tmp_path) as database:
        mood.fail(error, Call.SWAP)
        with pytest.raises(type(error)):
            insert(database, "new", LARGE)
    assert settled(store, tmp_path) == ["old"]
    assert list(store.blobs[Tier.KV].list("seg/")) == []


def test_p3_a_commit_succeeds_though_nothing_can_be_read_after_it(store: Store, tmp_path: Path) -> None:
    """Reading history drops indexes of the newest segments from memory; a commit must not need them once it is made."""
    ledger, mood = Ledger(), Moody(store)
    with opened(mood.store, tmp_path) as database:
        for number in range(100):
            assert ledger.insert(database, f"large-{number}", LARGE)
            if number < 60:
                continue
            for back in (10, 60):
                database.snapshot(database.version - back)
            mood.fail(Unavailable("no reads"), Call.GET)
            ledger.insert(database, f"small-{number}")
            mood.recover()
        ledger.check(database)
        check_integrity(database)
    assert [error for error in ledger.errors if not isinstance(error, Unavailable)] == []


def test_p3_without_history_a_race_that_passed_the_ring_is_unknown_and_never_in_history(
    store: Store, tmp_path: Path
) -> None:
    """More commits passed than the root remembers, and nothing older is kept.

    The one swap that was sent was answered with a mismatch. That is no proof of a lost race: on the way to a store there
    are proxies that send a request twice, and then it answers the second one (decision 0005).
    """
    with opened(store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        database.change_settings({"history_days": 0})
        transaction = database.transaction()
        transaction.execute("INSERT INTO entry VALUES ('new', NULL)")
        for number in range(RING_LENGTH + 6):
            insert(other, f"passing-{number}", LARGE)
        with pytest.raises(OutcomeUnknown):
            transaction.commit()
        assert other.query("SELECT count(*) FROM entry WHERE token = 'new'").rows == [(0,)]
