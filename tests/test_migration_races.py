"""Several who migrate or undo at once: nothing is applied or undone twice, or over another history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.promises.moody import Moody
from tests.test_migrations import write
from virke.errors import Conflict, Invalid, SqlError, Unavailable
from virke.migrations import migrate, status, undo
from virke.opening import connect, create
from virke.stores.base import Call
from virke.stores.counted import Tally, counting_store
from virke.stores.memory import memory_store

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.stores.base import Store

LOG: Final = "CREATE TABLE log (what);"
OURS: Final = {"001_a": LOG + "INSERT INTO log VALUES ('ours 1');", "002_b": "INSERT INTO log VALUES ('ours 2');"}
THEIRS: Final = {"001_c": LOG + "INSERT INTO log VALUES ('theirs 1');", "002_d": "INSERT INTO log VALUES ('theirs 2');"}
UNDONE: Final = {
    f"{number:03}_{name}": sql
    for number in (1, 2, 3)
    for name, sql in {
        "t": LOG if number == 1 else f"CREATE TABLE t{number} (x);",
        "t_undo_": f"INSERT INTO log VALUES ('undid {number}'); DROP TABLE IF EXISTS t{number};",
    }.items()
}
CALLS_MAX: Final = 60


class Interposed:
    """`inner`, where another one acts just before a chosen request (1, 2, 3 …) of those made while it is armed."""

    def __init__(self, inner: Store) -> None:
        self.store = counting_store(inner, self._look)
        self._left = 0
        self._act: Callable[[], object] | None = None

    def arm(self, at: int, act: Callable[[], object]) -> None:
        """Count from here; at request number `at` the other one acts."""
        self._left, self._act = at, act

    def disarm(self) -> bool:
        """Stop counting; whether the other one acted."""
        acted, self._act = self._act is None, None
        return acted

    def _look(self, call: Call, tally: Tally) -> None:
        if self._act and tally.requests:
            self._left -= 1
            if not self._left:
                act, self._act = self._act, None
                act()


def logged(database: Database) -> list[str]:
    """What the files and their undo scripts wrote, in order."""
    return [str(row[0]) for row in database.query("SELECT what FROM log", consistency="strong").rows]


def every_moment(
    first: dict[str, str],
    folder: Path,
    *,
    ours: Callable[[Database], object],
    theirs: Callable[[Database], object],
) -> Iterator[tuple[list[BaseException], Database]]:
    """For each request that `ours` makes: a new database where `theirs` is done just before it; errors, and the database."""
    for at in range(1, CALLS_MAX):
        errors: list[BaseException] = []

        def guarded(
            act: Callable[[Database], object], database: Database, errors: list[BaseException] = errors
        ) -> None:
            try:
                act(database)
            except Invalid as error:
                errors.append(error)

        inner = memory_store()
        between = Interposed(inner)
        with create("app", inner) as other, connect("app", between.store) as database:
            if first:
                migrate(other, write(folder, **first))
                database.query("SELECT 1", consistency="strong")
            between.arm(at, lambda other=other: guarded(theirs, other))  # type: ignore[misc]
            guarded(ours, database)
            acted = between.disarm()
            if acted:
                yield errors, database
        if not acted:
            assert at > 2, "too few moments were tried"
            return
    raise AssertionError("the requests of a run never end")


def test_of_two_folders_one_is_applied_and_the_other_refused(tmp_path: Path) -> None:
    """Neither a mix of both, nor one over the other, whenever the other one comes."""
    ours, theirs = write(tmp_path / "ours", **OURS), write(tmp_path / "theirs", **THEIRS)
    winners = set[str]()
    for errors, database in every_moment(
        {}, tmp_path, ours=lambda db: migrate(db, ours), theirs=lambda db: migrate(db, theirs)
    ):
        winner = logged(database)[0].split()[0]
        assert logged(database) == [f"{winner} 1", f"{winner} 2"]
        folder = ours if winner == "ours" else theirs
        assert [state.applied_at is None for state in status(database, folder)] == [False, False]
        assert len(errors) == 1
        assert "was applied as" in str(errors[0])
        winners.add(winner)
    assert winners == {"ours", "theirs"}


def test_an_undo_script_never_runs_twice(tmp_path: Path) -> None:
    """Two who take back the last one take back one, whenever the other one comes."""
    for errors, database in every_moment(
        UNDONE, tmp_path, ours=lambda db: undo(db, tmp_path), theirs=lambda db: undo(db, tmp_path)
    ):
        left = [state.number for state in status(database, tmp_path) if state.applied_at]
        undone = [f"undid {number}" for number in (3, 2) if number not in left]
        assert (logged(database), errors) == (undone, [])


def test_two_who_undo_several_undo_each_once(tmp_path: Path) -> None:
    for errors, database in every_moment(
        UNDONE, tmp_path, ours=lambda db: undo(db, tmp_path, 2), theirs=lambda db: undo(db, tmp_path, 2)
    ):
        left = [state.number for state in status(database, tmp_path) if state.applied_at]
        assert logged(database) == [f"undid {number}" for number in (3, 2, 1) if number not in left]
        assert errors == []


def test_an_undo_beside_a_migration_leaves_no_gap(tmp_path: Path) -> None:
    """One who applies the next file meets one who takes back the last: no file is applied over a missing one."""
    rest = {"004_t": "CREATE TABLE t4 (x);", "005_t": "CREATE TABLE t5 (x);"}
    folder, last = tmp_path / "m", set[tuple[int, ...]]()
    shorter = write(tmp_path / "shorter", **UNDONE)
    for _, database in every_moment(
        UNDONE,
        tmp_path / "shorter",
        ours=lambda db: migrate(db, write(folder, **UNDONE, **rest)),
        theirs=lambda db: undo(db, shorter),
    ):
        applied = tuple(int(str(row[0])) for row in database.query("SELECT number FROM virke_migrations").rows)
        assert applied == tuple(range(1, len(applied) + 1))
        last.add(applied)
    assert (1, 2, 3, 4, 5) in last


@pytest.mark.parametrize("name", ["shorter", "longer"])
def test_an_undo_is_refused_under_a_later_migration(tmp_path: Path, name: str) -> None:
    """Whether the folder of the one who undoes has the later file or not."""
    shorter = write(tmp_path / "shorter", **UNDONE)
    longer = write(tmp_path / "longer", **UNDONE, **{"004_t": "CREATE TABLE t4 (x);"})
    refused = set[str]()
    for errors, database in every_moment(
        UNDONE, shorter, ours=lambda db: undo(db, tmp_path / name), theirs=lambda db: migrate(db, longer)
    ):
        applied = [row[0] for row in database.query("SELECT number FROM virke_migrations").rows]
        assert applied in ([1, 2, 3, 4], [1, 2])
        assert logged(database) == ([] if 4 in applied else ["undid 3"])
        refused |= {str(error) for error in errors}
    words = {"shorter": "its file is missing", "longer": "003_t.sql is no longer the last one"}[name]
    assert any(words in message for message in refused)


def test_an_undo_script_does_not_run_for_another_file_of_its_number(tmp_path: Path) -> None:
    """The last migration is taken back and another one applied in its place, just before ours is to be taken back."""
    shorter = write(tmp_path / "m", **UNDONE)
    other = write(tmp_path / "other", **(UNDONE | {"003_t": "CREATE TABLE t3 (kept);"}))

    def replace(database: Database) -> None:
        undo(database, shorter)
        migrate(database, other)

    refused = 0
    for errors, database in every_moment(UNDONE, shorter, ours=lambda db: undo(db, shorter), theirs=replace):
        if errors:
            assert database.query("SELECT kept FROM t3").rows == []
            refused += 1
    assert refused > 0


def test_an_automatic_undo_is_the_one_of_the_record_that_it_deletes(tmp_path: Path) -> None:
    """Applied again where its table was there already, a file has nothing to take back: the table stays."""
    folder = write(tmp_path, **{"001_a": LOG, "002_b": "CREATE TABLE IF NOT EXISTS mine (x);"})

    def replace(database: Database) -> None:
        undo(database, folder)
        database.run_script("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        migrate(database, folder)

    first = {"001_a": LOG, "002_b": "CREATE TABLE IF NOT EXISTS mine (x);"}
    kept = 0
    for errors, database in every_moment(first, folder, ours=lambda db: undo(db, folder), theirs=replace):
        if errors and "applied again" in str(errors[0]):
            assert database.query("SELECT x FROM mine").rows == [(1,)]
            kept += 1
    assert kept > 0


# Lost races


class Busy:
    """A database where another one commits before each of the first `times` swaps."""

    def __init__(self, times: int, **settings: int) -> None:
        self.left, self.done = 0, 0
        self._times = times
        inner = memory_store()
        self._other = create("app", inner)
        self._other.run_script("CREATE TABLE log (what)")
        self._other.change_settings(settings)
        self.database = connect("app", counting_store(inner, self._look))

    def begin(self) -> None:
        """From here on."""
        self.left = self._times

    def _look(self, call: Call, tally: Tally) -> None:
        if call is Call.SWAP and tally.requests and self.left:
            self.left -= 1
            self.done += 1
            self._other.query("SELECT 1", consistency="strong")  # so that it needs one attempt
            self._other.execute("INSERT INTO log VALUES ('other')")


def test_a_file_whose_commit_loses_the_race_is_run_again_and_applied_once(tmp_path: Path) -> None:
    busy = Busy(2, max_attempts=3)
    busy.begin()
    migrate(busy.database, write(tmp_path, **{"001_a": "INSERT INTO log SELECT count(*) FROM log;"}))
    assert logged(busy.database) == ["other", "other", "2"]


def test_a_conflict_after_max_attempts_says_which_file_and_what_was_applied(tmp_path: Path) -> None:
    busy = Busy(99, max_attempts=1)
    folder = write(tmp_path, **{"001_a": "INSERT INTO log VALUES ('a');", "002_b": "INSERT INTO log VALUES ('b');"})
    with pytest.raises(Conflict, match=r"002_b\.sql was not applied: .* 1 times") as caught:
        migrate(busy.database, folder, report=lambda file: busy.begin())
    assert caught.value.context == {"file": "002_b.sql", "applied": ["001_a.sql"]}
    assert busy.done == 1
    assert logged(busy.database) == ["a", "other"]


def test_a_file_that_keeps_losing_takes_a_turn_and_needs_two_attempts(tmp_path: Path) -> None:
    """The race for its turn is not an attempt."""
    busy = Busy(20, max_attempts=2)
    busy.begin()
    migrate(busy.database, write(tmp_path, **{"001_a": "INSERT INTO log VALUES ('a');"}))
    assert logged(busy.database) == ["other"] * 20 + ["a"]


def test_an_undo_that_loses_every_race_says_what_was_undone(tmp_path: Path) -> None:
    busy = Busy(99, max_attempts=1)
    files = {f"{n:03}_t{kind}": f"INSERT INTO log VALUES ('{n}{kind}');" for n in (1, 2) for kind in ("", "_undo_")}
    migrate(busy.database, write(tmp_path, **files))
    with pytest.raises(Conflict, match=r"001_t\.undo\.sql was not applied") as caught:
        undo(busy.database, tmp_path, 2, report=lambda file: busy.begin())
    assert caught.value.context["undid"] == ["002_t.sql"]


# What was done before an error


def test_an_error_says_what_was_applied_before_it(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"001_a": LOG, "002_b": "SELECT 1;", "003_c": "SELECT 1;\nSELECT nope;"})
    with create("app", memory_store()) as database:
        with pytest.raises(SqlError) as rehearsed:
            migrate(database, folder, dry_run=True)
        with pytest.raises(SqlError) as caught:
            migrate(database, folder)
        with pytest.raises(SqlError) as again:
            migrate(database, folder)
    where = {"file": "003_c.sql", "line": 2, "hint": "nothing of this file was kept: correct it and run it again"}
    assert rehearsed.value.context == where | {"would_apply": ["001_a.sql", "002_b.sql"]}
    assert caught.value.context == where | {"applied": ["001_a.sql", "002_b.sql"]}
    assert again.value.context == where | {"applied": []}


def test_a_store_that_goes_down_between_two_files_leaves_the_first_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"001_a": LOG, "002_b": "INSERT INTO log VALUES ('b');"})
    moody = Moody(memory_store())
    with create("app", moody.store) as database:
        with pytest.raises(Unavailable, match="down") as caught:
            migrate(database, folder, report=lambda file: moody.fail(Unavailable("down"), Call.READ, Call.SWAP))
        moody.recover()
        assert caught.value.context["applied"] == ["001_a.sql"]
        assert "hint" not in caught.value.context
        assert [file.number for file in migrate(database, folder)] == [2]
        assert logged(database) == ["b"]


def test_an_error_says_what_was_undone_before_it(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"001_a": LOG, "002_b": "SELECT 1;", "001_a_undo_": "\nDROP TABLE nope;"})
    with create("app", memory_store()) as database:
        migrate(database, folder)
        with pytest.raises(SqlError) as caught:
            undo(database, folder, 2)
        assert [state.applied_at is None for state in status(database, folder)] == [False, True]
    assert (caught.value.context["undid"], caught.value.context["file"]) == (["002_b.sql"], "001_a.undo.sql")
    assert caught.value.context["line"] == 2


# A rehearsal whose snapshot is collected


def test_a_rehearsal_whose_snapshot_is_collected_begins_again_on_the_newest(tmp_path: Path) -> None:
    """Whenever that happens, it ends as if nothing had happened, and says each file once."""
    folder = write(tmp_path, **{"001_a": "CREATE TABLE a (x);", "002_b": "SELECT sum(length(x)) FROM large;"})
    for at in range(1, CALLS_MAX):
        inner = memory_store()
        between = Interposed(inner)
        with create("app", inner) as other:
            other.execute("CREATE TABLE large (x)")
            other.change_settings({"history_days": 0})
            for _ in range(4):
                other.execute("INSERT INTO large VALUES (randomblob(1000000))")

            def collect(other: Database = other) -> None:
                other.execute("DELETE FROM large WHERE rowid = 1")
                other.promote()
                for _ in range(3):
                    other.collect(grace_ms=0)

            with connect("app", between.store) as database:
                between.arm(at, collect)
                said: list[int] = []
                done = migrate(database, folder, True, report=lambda file, said=said: said.append(file.number))  # type: ignore[misc]
                assert ([file.number for file in done], said) == ([1, 2], [1, 2])
                if not between.disarm():
                    break
    assert at > 2, "too few moments were tried"
