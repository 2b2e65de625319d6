"""Pushing deferred writes while the store fails, and dying between two steps: nothing is dropped or applied twice."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.promises.ledger import LARGE, TABLE, insert, opened, settled, tokens
from tests.promises.moody import Moody
from virke.core.commit import SENDS
from virke.core.effects import Generation, SwapOutcome
from virke.engine.database import Database
from virke.errors import Corrupt, Denied, NotFound, OutcomeUnknown, Unavailable, VirkeError
from virke.stores.base import Call, Store
from virke.stores.faulty import At, Crash, CrashAfter, CrashBefore, DeliverLate, FaultyStore, LoseRequest, Refuse
from virke.stores.memory import memory_store


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def _before_a_push(state: Path, down: range) -> tuple[Store, FaultyStore, Database]:
    """Two pending writes that read every page, on a root that another node has rewritten since."""
    store = memory_store()
    with opened(store, state, create=True) as database:
        database.execute(TABLE)
        for number in range(3):
            insert(database, f"old-{number}", LARGE)
        database.change_settings({"durability": "deferred"})
    faulty = FaultyStore(store, [At(n, Refuse()) for n in down])
    database = opened(faulty.store, state)
    database.execute("UPDATE entry SET filler = NULL WHERE token LIKE 'old-%'")
    database.execute("INSERT INTO entry SELECT 'sum', sum(length(hex(filler))) FROM entry")
    with opened(store, state / "other") as other:
        insert(other, "new", LARGE)
    return store, faulty, database


@pytest.mark.parametrize("refusals", [3, 6, 9])
def test_p1_a_store_that_fails_while_pushing_rejects_nothing(refusals: int, tmp_path: Path) -> None:
    """Whichever operations of the push are refused: nothing is rejected, and the next push brings it all.

    A read is tried three times: so the reads of one write fail, or of both, or all that follows.
    """
    _, clean, database = _before_a_push(tmp_path / "clean", range(0))
    first = len(clean.log) + 1
    assert database.flush().pushed == 2
    last = len(clean.log)
    database.close()
    assert any(operation.call is Call.GET for operation in clean.log[first:]), "the push reads pages"
    for n in range(first, last + 1):
        store, _, database = _before_a_push(tmp_path / str(n), range(n, n + refusals))
        pushed = 0
        with suppress(Unavailable):
            pushed = database.flush().pushed
        database.close(push=False)
        with opened(store, tmp_path / str(n)) as database:
            flushed = database.flush()
            assert (flushed.pushed + pushed, flushed.rejected) == (2, 0)
            assert database.status().rejected_writes == ()
            assert database.query("SELECT count(*), count(filler) FROM entry").rows == [(5, 2)]


def dying(inner: Store, *, after: bool) -> Store:
    """A store whose client dies before or after its first swap."""
    return FaultyStore(inner, [At(1, CrashAfter() if after else CrashBefore(), Call.SWAP)]).store


@pytest.mark.parametrize("after", [False, True], ids=["before the swap", "after the swap"])
def test_p2_a_push_that_died_is_not_applied_twice(after: bool, store: Store, tmp_path: Path) -> None:
    """Also the fates that were noted come true: one of the writes is rejected, exactly once."""
    with opened(dying(store, after=after), tmp_path) as database, opened(store, tmp_path / "other") as other:
        insert(database, "a")
        database.execute("INSERT INTO person VALUES ('Ada')")
        insert(database, "b")
        other.execute("INSERT INTO person VALUES ('Ada')")
        other.flush()
        with pytest.raises(Crash):
            database.flush()
        database.close(push=False)
    for _ in range(2):
        with opened(store, tmp_path) as database:
            assert tokens(database) == ["a", "b"]
            flushed = database.flush()
            assert (flushed.pushed + flushed.rejected) in (3, 0)
            assert [write.sql for write in database.status().rejected_writes] == ["INSERT INTO person VALUES ('Ada')"]
    assert settled(store, tmp_path) == ["a", "b"]


class Latecomer:
    """A register that delivers what is late right before a swap, once told to."""

    def __init__(self, faulty: FaultyStore) -> None:
        self._faulty = faulty
        self.told = False
        self.store = Store(faulty.store.url, self, faulty.store.blobs)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._faulty.store.register, name)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """First what is late, then this."""
        if self.told:
            self._faulty.deliver_late()
        return self._faulty.store.register.swap(key, data, base)


def test_p2_a_push_that_arrives_during_the_next_push_is_not_applied_twice(store: Store, tmp_path: Path) -> None:
    """The first flush gives up, unknown; its swap lands after the second one has looked, and before it swaps."""
    silent = [At(n, LoseRequest(), Call.SWAP) for n in range(2, SENDS + 1)]
    late = Latecomer(FaultyStore(store, [At(1, DeliverLate(10_000), Call.SWAP), *silent]))
    with opened(late.store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        insert(database, "a")
        database.execute("INSERT INTO person VALUES ('Ada')")
        insert(database, "b")
        other.execute("INSERT INTO person VALUES ('Ada')")
        other.flush()
        with pytest.raises(OutcomeUnknown):
            database.flush()
        assert database.status().pending_writes == 3
        late.told = True
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (2, 1)
        assert [write.sql for write in database.status().rejected_writes] == ["INSERT INTO person VALUES ('Ada')"]
    assert settled(store, tmp_path) == ["a", "b"]


def test_p2_a_rejection_survives_death_before_it_was_carried_out(store: Store, tmp_path: Path) -> None:
    """Nothing else was pushed, so no swap says how far the journal went: it is tried again and rejected again."""
    with opened(store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        database.execute("INSERT INTO person VALUES ('Ada')")
        database.close(push=False)
        other.execute("INSERT INTO person VALUES ('Ada')")
    dead = FaultyStore(store, [At(n, CrashBefore()) for n in range(3, 99)])
    database = opened(dead.store, tmp_path)
    with pytest.raises(Crash):
        database.flush()
    database.close(push=False)
    with opened(store, tmp_path) as database:
        assert (database.flush().rejected, database.flush().rejected) == (1, 0)
        assert len(database.status().rejected_writes) == 1


FORBIDDEN = [Denied("expired"), NotFound("no such bucket"), Corrupt("no register"), Unavailable("down")]


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("error", FORBIDDEN, ids=lambda error: error.kind)
def test_p1_a_push_that_the_store_forbids_keeps_every_write(
    error: VirkeError, before: int, store: Store, tmp_path: Path
) -> None:
    """The first write makes the group fail, so that each is tried alone; the store forbids the swap of one of them."""
    mood = Moody(store)
    with opened(mood.store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        database.execute("INSERT OR ROLLBACK INTO person VALUES ('Ada')")
        for token in "abc":
            insert(database, token)
        other.execute("INSERT INTO person VALUES ('Ada')")
        other.flush()
        mood.fail(error, Call.SWAP, after=before)
        with pytest.raises(type(error)):
            database.flush()
        mood.recover()
        assert tokens(database) == [*"abc"], "pending writes are seen"
        database.flush()
        assert [write.sql[:18] for write in database.status().rejected_writes] == ["INSERT OR ROLLBACK"]
        assert database.status().pending_writes == 0
    assert settled(store, tmp_path) == [*"abc"]
