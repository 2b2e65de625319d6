"""An import that ends halfway says what became of it, which is true, and what to do next (`transfer/ending`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from tests.engine.test_interrupted_commits import Hooked
from virke.engine.database import Database
from virke.engine.taking_turns import Claimant
from virke.errors import Unavailable
from virke.opening import connect, open_store
from virke.stores.base import Store
from virke.transfer import import_file

ROWS: Final = 5000
CSV: Final = b"a,b\n" + b"".join(b"%d,%s\n" % (n, b"x" * 300) for n in range(ROWS))
SQL: Final = b"CREATE TABLE t (a, b);" + b"".join(b"INSERT INTO t VALUES (%d, 'x');" % n for n in range(ROWS))
NOTHING: Final = (
    "nothing of {} was imported: an import is one commit, which was not made; run it again from the beginning"
)
UNKNOWN: Final = "it is not known whether {} was imported: look at the data before you run it again"


@pytest.fixture
def plain() -> Store:
    """A store of the test's own, as another process has it."""
    return replace(open_store("memory://", create=True), line=None, watch=None)


@pytest.fixture
def hooks(plain: Store) -> Hooked:
    """Where a test has something happen next to a swap."""
    return Hooked(plain.register)


@pytest.fixture
def database(plain: Store, hooks: Hooked) -> Iterator[Database]:
    """A database in it that holds something."""
    store = replace(plain, register=hooks)
    with connect("d", store, create=True, background=False) as database:
        database.execute("CREATE TABLE before (a)")
        yield database


def interrupt() -> None:
    raise KeyboardInterrupt


def ended(database: Database, data: bytes, progress: Callable[[int, int], None] | None = None) -> str:
    """What the interrupt of an import had to say."""
    with pytest.raises(KeyboardInterrupt) as caught:
        import_file(database, io.BytesIO(data), table="t" if data is CSV else None, name="file", progress=progress)
    [note] = caught.value.__notes__
    return note


def is_there(plain: Store) -> bool:
    """Whether the table is in the newest version, as another process sees it."""
    with connect("d", plain, background=False) as other:
        return bool(other.query("SELECT 1 FROM sqlite_schema WHERE name = 't'").rows)


@pytest.mark.parametrize("data", [CSV, SQL], ids=["csv", "sql"])
def test_interrupted_at_any_report_nothing_was_imported_and_it_says_so(
    database: Database, plain: Store, data: bytes
) -> None:
    """While the file is read, while SQL runs and while pages are stored."""
    before, stages = database.version, list[int]()
    with connect("other", plain, create=True, background=False) as other:
        table = "t" if data is CSV else None
        import_file(other, io.BytesIO(data), table=table, progress=lambda done, total: stages.append(done))
    reports = len(stages)
    assert reports > 1
    for last in range(1, reports + 1):
        left = [last]

        def progress(done: int, total: int, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                interrupt()

        assert ended(database, data, progress) == NOTHING.format("file")
        assert (database.version, is_there(plain)) == (before, False)
    assert import_file(database, io.BytesIO(data), table="t" if data is CSV else None).rows == ROWS


@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_at_the_swap_it_is_not_known(database: Database, plain: Store, hooks: Hooked, when: str) -> None:
    """The request may have arrived, and it did or did not."""
    getattr(hooks, when).append(interrupt)
    assert ended(database, SQL) == UNKNOWN.format("file")
    assert is_there(plain) == (when == "after")


def test_a_lost_race_before_leaves_no_doubt(database: Database, plain: Store, hooks: Hooked) -> None:
    """The swap of the first try was answered; the second was not sent when the interrupt came."""
    is_lost = list[bool]()

    def progress(done: int, total: int) -> None:
        if is_lost:
            interrupt()

    def rival() -> None:
        is_lost.append(True)
        with connect("d", plain, background=False) as other:
            other.execute("INSERT INTO before VALUES (1)")

    hooks.before.append(rival)
    assert ended(database, SQL, progress) == NOTHING.format("file")
    assert not is_there(plain)


def test_interrupted_after_the_swap_it_was_imported(
    database: Database, plain: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it says as which version."""
    with monkeypatch.context() as patch:
        patch.setattr(Claimant, "release", lambda self: interrupt())
        note = ended(database, SQL)
    assert note == f"file was imported, as version {database.version}"
    assert is_there(plain)


def test_a_store_that_fails_leaves_nothing_and_says_what_to_do(database: Database, plain: Store, hooks: Hooked) -> None:
    """As the hint, and the note, of the error."""

    def down() -> None:
        raise Unavailable("the store did not answer")

    hooks.before.extend([down] * 100)  # it is asked more than once
    with pytest.raises(Unavailable) as caught:
        import_file(database, io.BytesIO(SQL))
    assert "nothing was changed: an import is one commit" in str(caught.value.context["hint"])
    assert caught.value.__notes__ == [f"hint: {caught.value.context['hint']}"]
    assert not is_there(plain)
