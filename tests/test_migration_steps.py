"""What is said and kept where a step of a migration goes wrong, and what a database elsewhere is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.test_migration_keys import ORPHANING, OWNERS
from tests.test_migration_races import LOG, UNDONE, every_moment, logged
from tests.test_migrations import write
from virke.engine.transaction import Transaction
from virke.errors import Conflict, Invalid, OutcomeUnknown, SqlError, Unavailable, VirkeError
from virke.migrations import applied, migrate, plan, running, status, undo
from virke.migrations.keys import key_violations
from virke.opening import connect, create
from virke.stores.base import Call
from virke.stores.faulty import At, FaultyStore, LoseAnswer, Refuse
from virke.stores.memory import memory_store

if TYPE_CHECKING:
    from virke.engine.database import Database


@pytest.fixture
def database() -> Iterator[Database]:
    with create("app", memory_store()) as database:
        yield database


# Undoing


def test_nothing_is_taken_back_if_an_older_one_of_them_can_not_be(database: Database, tmp_path: Path) -> None:
    """The newest could be; it is kept, as the one before it has no undo."""
    files = {"001_a": LOG, "002_b": "INSERT INTO log VALUES ('b');", "003_c": "CREATE TABLE c (x);"}
    migrate(database, write(tmp_path, **files))
    with pytest.raises(Invalid, match=r"write 002_b\.undo\.sql"):
        undo(database, tmp_path, 2)
    assert [one.number for one in applied(database)] == [1, 2, 3]
    assert database.query("SELECT * FROM c").rows == []


def test_of_two_who_undo_each_is_told_what_it_took_back_itself(tmp_path: Path) -> None:
    """Whatever the other one took back meanwhile is left out."""
    done: dict[str, list[str]] = {}

    def undoing(who: str) -> Callable[[Database], object]:
        def act(database: Database) -> None:
            done[who] = [f"undid {file.number}" for file in undo(database, tmp_path, 2)]

        return act

    for _, database in every_moment(UNDONE, tmp_path, ours=undoing("ours"), theirs=undoing("theirs")):
        assert sorted(done["ours"] + done["theirs"]) == sorted(logged(database))


# Races and errors inside of a file


def raising_once(error: VirkeError, inner: Callable[..., object], *, at: int = 1) -> Callable[..., object]:
    """`inner`, of which call number `at` raises."""
    calls: list[int] = []

    def call(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == at:
            raise error
        return inner(*args, **options)

    return call


def test_a_statement_that_meets_a_lost_race_is_not_left_out(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole file is run again."""
    folder = write(tmp_path, **{"001_a": LOG + "INSERT INTO log VALUES ('a'); INSERT INTO log VALUES ('b');"})
    monkeypatch.setattr(Transaction, "run_script", raising_once(Conflict("lost"), Transaction.run_script, at=2))
    migrate(database, folder)
    assert logged(database) == ["a", "b"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_check_of_keys_that_meets_a_lost_race_is_made_again(
    at: int, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file that breaks keys would be kept."""
    folder = write(tmp_path, **{"001_a": OWNERS, "002_b": ORPHANING})
    monkeypatch.setattr(running, "key_violations", raising_once(Conflict("lost"), key_violations, at=at))
    with pytest.raises(SqlError, match="would be broken"):
        migrate(database, folder)
    assert [one.number for one in applied(database)] == [1]


def test_a_commit_of_unknown_outcome_is_not_called_taken_back(tmp_path: Path) -> None:
    """The error names the file, and gives no hint that nothing of it was kept."""
    inner = memory_store()
    create("app", inner).close()
    folder = write(tmp_path, **{"001_a": LOG})
    silent = [At(n, LoseAnswer(), Call.SWAP) for n in range(1, 99)] + [At(n, Refuse(), Call.READ) for n in range(3, 99)]
    faulty = FaultyStore(inner, silent).store
    with connect("app", faulty, background=False) as database, pytest.raises(OutcomeUnknown) as caught:
        migrate(database, folder)
    assert caught.value.context["file"] == "001_a.sql"
    assert "hint" not in caught.value.context
    with connect("app", inner) as other:
        assert [one.number for one in applied(other)] == [1]
        assert migrate(other, folder) == []


# Texts in the place of a folder


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([("001_a.sql", "SELECT 1"), ("001_a.sql", "SELECT 2")], "two files '001_a.sql'"),
        ([("001_a.sql", "SELECT '\ud800'")], "001_a.sql is not valid Unicode: .* at character 8"),
    ],
    ids=["twice", "half a character"],
)
def test_texts_that_can_not_be_told_apart_or_written_are_refused(texts: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        plan(texts)


def test_numbers_of_ten_digits_are_times_and_may_have_gaps() -> None:
    assert [file.number for file in plan([("1000000000_a.sql", ""), ("1000000007_b.sql", "")])] == [10**9, 10**9 + 7]
    with pytest.raises(Invalid, match="001 is missing"):
        plan([("999999999_a.sql", "")])


def test_texts_are_applied_as_a_folder_is(database: Database) -> None:
    texts = [("002_b.sql", "INSERT INTO log VALUES ('b');"), ("001_a.sql", LOG)]
    assert [file.number for file in migrate(database, texts)] == [1, 2]
    assert [(state.name, state.undo) for state in status(database, texts)] == [("a", "automatic"), ("b", "none")]


# A database elsewhere


class Elsewhere:
    """A database whose process carries migrations out; `numbers` is what it says that it did, or it raises."""

    def __init__(self, numbers: Sequence[int] = (), error: VirkeError | None = None) -> None:
        self.asked: list[tuple[list[str], bool, int | None]] = []
        self._numbers = numbers
        self._error = error

    def migrate_files(self, files: Sequence[tuple[str, str]], *, dry_run: bool, undo: int | None) -> Sequence[int]:
        self.asked.append(([name for name, _ in files], dry_run, undo))
        if self._error:
            raise self._error
        return self._numbers


NAMES = ["001_a.sql", "002_b.sql", "002_b.undo.sql"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, **{"001_a": LOG, "002_b": "SELECT 1;", "002_b_undo_": "SELECT 2;"})


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_database_elsewhere_gets_all_files_and_says_which_it_applied(folder: Path, dry_run: bool) -> None:
    said, there = list[int](), Elsewhere([2])
    done = migrate(cast("Database", there), folder, dry_run, report=lambda file: said.append(file.number))
    assert there.asked == [(NAMES, dry_run, None)]
    assert [file.number for file in done] == said == [2]


def test_a_database_elsewhere_is_asked_to_undo_and_not_to_rehearse_it(folder: Path) -> None:
    there = Elsewhere([2, 1])
    assert [file.number for file in undo(cast("Database", there), folder, 2)] == [2, 1]
    assert there.asked == [(NAMES, False, 2)]


@pytest.mark.parametrize(
    ("act", "key"),
    [
        (lambda there, folder, report: migrate(there, folder, report=report), "applied"),
        (lambda there, folder, report: migrate(there, folder, True, report=report), "would_apply"),
        (lambda there, folder, report: undo(there, folder, 2, report=report), "undid"),
    ],
    ids=["migrate", "dry run", "undo"],
)
@pytest.mark.parametrize("named", [["001_a.sql"], [], None])
def test_what_a_database_elsewhere_did_before_an_error_is_reported(
    act: Callable[..., object], key: str, named: list[str] | None, folder: Path
) -> None:
    """And no more than that."""
    error = Unavailable("down")
    error.context |= {} if named is None else {key: named}
    said: list[str] = []
    with pytest.raises(Unavailable, match="down"):
        act(Elsewhere(error=error), folder, lambda file: said.append(file.file_name))
    assert said == (named or [])
