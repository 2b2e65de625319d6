"""P13: no request does upkeep: a thread does it after the answer, or a call of its own, or the command after its output."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from tests.promises.ledger import TABLE, check_store
from virke.cli.main import cli
from virke.core.effects import Tier
from virke.engine.database import Database
from virke.errors import Denied, Unavailable, UsageError
from virke.opening import connect
from virke.stores.base import Call, Store
from virke.stores.counted import Tally, counting_store
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

LARGE: Final = "INSERT INTO entry VALUES ('x', randomblob(80000))"
COMMITS: Final = 12


def write(database: Database, commits: int = COMMITS) -> None:
    """Commits that each make a segment, so that compaction is due after a few."""
    for _ in range(commits):
        database.execute(LARGE)


class Log:
    """What was asked of a store, by which thread; calls of other threads than this one may be made to hang."""

    def __init__(self, inner: Store) -> None:
        self.calls: list[tuple[Call, threading.Thread]] = []
        self.mine = threading.current_thread()
        self.hung = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        self.store = counting_store(inner, self._add)

    def _add(self, call: Call, tally: Tally) -> None:
        if tally.requests:
            thread = threading.current_thread()
            self.calls.append((call, thread))
            if thread is not self.mine and not self.let_go.is_set():
                self.hung.set()
                self.let_go.wait(60)


def test_p13_no_store_call_comes_between_the_swap_and_the_answer() -> None:
    """Whatever is due: with nobody to do it, the last call of a write is its swap."""
    log = Log(memory_store())
    with connect("db", log.store, create=True, background=False) as database:
        database.execute(TABLE)
        for _ in range(3 * COMMITS):
            log.calls.clear()
            database.execute(LARGE)
            assert [call for call, _ in log.calls] == [Call.PUT, Call.SWAP]
        assert database.status().upkeep_due == ("compact",)


def test_p13_a_write_is_answered_while_upkeep_hangs() -> None:
    """The thread that does it is stuck in the store; writes and reads go on, and none of its calls is theirs."""
    log = Log(memory_store())
    with connect("db", log.store, create=True) as database:
        database.execute(TABLE)
        log.calls.clear()
        log.let_go.clear()
        try:
            write(database)
            assert log.hung.wait(60)
            write(database)
            mine = [call for call, thread in log.calls if thread is log.mine]
            assert mine == [Call.PUT, Call.SWAP] * (2 * COMMITS)
            assert database.query("SELECT count(*) FROM entry").rows == [(2 * COMMITS,)]
        finally:
            log.let_go.set()
        database._upkeep.finish()
        assert database.status().upkeep_error is None
        assert database.upkeep(None).due == ()


def test_p13_a_process_that_can_start_no_thread_leaves_upkeep_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the interpreter's end there are no more threads; the write is answered, and what is due stays due."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    log = Log(memory_store())
    with connect("db", log.store, create=True, state_dir=None) as database:
        database.execute(TABLE)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            log.calls.clear()
            write(database)
            assert [call for call, _ in log.calls] == [Call.PUT, Call.SWAP] * COMMITS
        assert database.status().upkeep_due == ("compact",)
        write(database, 1)
        database._upkeep.finish()
        assert database.status().upkeep_due == ()


@pytest.mark.parametrize(
    ("options", "is_left"),
    [
        ({}, False),
        ({"upkeep": "beside"}, False),
        ({"upkeep": "leave"}, True),
        ({"background": False}, True),
        ({"background": False, "upkeep": "beside"}, False),
        ({"background": False, "upkeep": "leave"}, True),
    ],
)
def test_upkeep_is_done_by_a_thread_or_left(options: dict[str, object], is_left: bool) -> None:
    with connect("db", memory_store(), create=True, **options) as database:  # type: ignore[arg-type]
        database.execute(TABLE)
        write(database)
        database._upkeep.finish()
        assert bool(database.status().upkeep_due) is is_left


def test_an_unknown_way_of_upkeep_is_refused() -> None:
    with pytest.raises(UsageError, match="upkeep must be one of beside, leave, not 'now'"):
        connect("db", memory_store(), create=True, upkeep="now")


def test_upkeep_goes_step_by_step_and_says_what_is_left() -> None:
    """Each step is one more commit; whatever step it ends after, the database is whole."""
    store = memory_store()
    with connect("db", store, create=True, upkeep="leave") as database:
        database.change_settings({"promote_at_mb": 1})
        database.execute(TABLE)
        write(database, 20)
        assert database.upkeep(0).due == ("promote", "compact")
        steps = 0
        while database.upkeep().due:
            steps += 1
            assert database.query("SELECT count(*), sum(length(filler)) FROM entry").rows == [(20, 20 * 80_000)]
        assert steps >= 1
        assert database.upkeep() == database.upkeep(None)
        assert {ref.tier for ref in database.snapshot().root.segments} == {Tier.OBJECT}
    check_store(store, "db")


def test_upkeep_is_denied_where_only_reads_are_allowed() -> None:
    store = memory_store()
    connect("db", store, create=True).close()
    with connect("db", store, read_only=True) as database, pytest.raises(Denied):
        database.upkeep()


def test_what_upkeep_can_not_do_it_says_and_does_later() -> None:
    """The error is the caller's: nothing else waits for it. What is due stays due."""
    failing = False

    def fail(call: Call, tally: Tally) -> None:
        if failing and tally.requests:
            raise Unavailable("the store is down")

    store = counting_store(memory_store(), fail)
    with connect("db", store, create=True, upkeep="leave") as database:
        database.execute(TABLE)
        write(database)
        failing = True
        with pytest.raises(Unavailable):
            database.upkeep(None)
        failing = False
        assert database.status().upkeep_due == ("compact",)
        assert database.upkeep(None).due == ()


# The command


def run(folder: Path, *args: str) -> tuple[int, str, str]:
    """`virke` with these arguments on the database of the tests: exit code, stdout, stderr."""
    place = ("--store", f"local:{folder / 'store'}", "--db", "db")
    found = CliRunner().invoke(cli, ["db", *args, *place])
    return found.exit_code, found.stdout, found.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where compaction is due after one more commit of 80 kB."""
    with connect("db", local_store(tmp_path / "store"), create=True, background=False) as database:
        database.execute(TABLE)
        while not database.upkeep_due:
            database.execute(LARGE)
        database.upkeep(None)
        database.execute(LARGE)
        while not database.upkeep_due:
            database.execute(LARGE)
    return tmp_path


def test_a_command_that_wrote_does_one_step_and_one_that_read_does_none(folder: Path) -> None:
    assert "upkeep due    merging segments ('virke db upkeep' does it)" in run(folder, "status")[1]
    assert run(folder, "query", "SELECT count(*) FROM entry")[0] == 0
    assert "upkeep due" in run(folder, "status")[1]
    assert run(folder, "execute", "UPDATE entry SET token = 'y' WHERE rowid = 1")[0] == 0
    assert "upkeep due" not in run(folder, "status")[1]


def test_the_step_of_a_command_comes_after_its_output(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by what is on stdout when the step begins."""
    seen: list[bool] = []
    step = Database.upkeep

    def watched(database: Database, limit: int | None = 1) -> object:
        sys.stdout.flush()
        out = sys.stdout.buffer
        assert isinstance(out, io.BytesIO)
        seen.append(b"row affected" in out.getvalue())
        return step(database, limit)

    monkeypatch.setattr(Database, "upkeep", watched)
    assert run(folder, "execute", "UPDATE entry SET token = 'y' WHERE rowid = 1")[0] == 0
    assert seen == [True]


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "down": lambda: Unavailable("the store is down"),
    "bug": lambda: AssertionError("a bug"),
    "memory": MemoryError,
    "stopped": KeyboardInterrupt,
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_step_that_fails_changes_neither_output_nor_exit_code(
    folder: Path, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` shows what is left."""

    def fail(*_: object) -> None:
        raise ERRORS[error]()

    with monkeypatch.context() as patch:
        patch.setattr("virke.engine.upkeep.Upkeep.compact", fail)
        code, out, err = run(folder, "execute", "UPDATE entry SET token = 'y' WHERE rowid = 1")
    assert (code, err) == (0, "")
    assert out.startswith("1 row affected, version ")
    assert "upkeep due" in run(folder, "status")[1]
    assert run(folder, "query", "SELECT token FROM entry WHERE rowid = 1", "--csv")[1] == "token\ny\n"


def test_the_command_does_a_step_or_all_of_them(folder: Path) -> None:
    assert run(folder, "upkeep", "--all") == (0, "did 1 step, nothing is due any more\n", "")
    assert run(folder, "upkeep") == (0, "nothing was due\n", "")
    assert json.loads(run(folder, "upkeep", "--json")[1]) == {"steps": 0, "due": []}
