"""A store that goes down in the middle and comes back: every command says so in one line, nothing is lost, all goes on.

The server is a process of its own that is killed and started again; what fails between two requests is a proxy's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from tests.promises.ledger import LARGE, NAME, TABLE, Ledger, check_integrity, check_store, insert, tokens
from tests.promises.places import fresh
from tests.promises.processes import heard, start
from tests.servers.proxy import Answer, Fault, Proxy, Request, proxy
from tests.servers.running import Server
from tests.servers.s3 import S3Server, stoppable_seaweedfs
from virke import Unavailable
from virke.cli.main import cli
from virke.core.backoff import BACKOFF
from virke.opening import connect, list_databases, open_store

pytestmark = pytest.mark.once

SLOW_DOWN: Final = Answer(503, b"<Error><Code>SlowDown</Code></Error>")


@dataclass(frozen=True, slots=True)
class Outage:
    """A server, and the process to take down."""

    server: S3Server
    process: Server


@pytest.fixture(scope="module")
def mortal() -> Iterator[Outage]:
    with stoppable_seaweedfs() as (server, process):
        yield Outage(server, process)


@pytest.fixture
def outage(mortal: Outage) -> Outage:
    """A server that runs when the test begins."""
    mortal.process.start()
    return mortal


@pytest.fixture
def folder(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with all that the commands read."""
    place = tmp_path / "project"
    (place / "migrations").mkdir(parents=True)
    (place / "migrations" / "001_more.sql").write_text("CREATE TABLE more (n);")
    (place / "rows.sql").write_text("INSERT INTO entry VALUES ('imported', NULL);")
    monkeypatch.chdir(place)
    return place


COMMANDS: Final[dict[str, list[str]]] = {
    "create": ["create", "another"],
    "list": ["list"],
    "query": ["query", "SELECT count(*) FROM entry"],
    "execute": ["execute", "INSERT INTO entry VALUES ('executed', NULL)"],
    "schema": ["schema"],
    "status": ["status"],
    "settings": ["settings"],
    "change of settings": ["settings", "max_attempts=5"],
    "import": ["import", "rows.sql"],
    "migrate": ["migrate"],
    "export": ["export", "out.sql"],
    "flush": ["flush"],
    "promote": ["promote"],
    "gc": ["gc"],
    "delete": ["delete", "--yes", NAME],
}
"""Every command that asks a store, in an order in which all of them succeed."""


@contextmanager
def impatient() -> Iterator[None]:
    """As many requests as ever, and a tenth of the waiting between them: for a store that stays down inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virke.engine.repeating.BACKOFF", replace(BACKOFF, first_s=BACKOFF.first_s / 10))
        yield


def virke(url: str, *args: str) -> Result:
    """Run `virke db …` on the database of the tests."""
    return CliRunner().invoke(cli, ["db", *args], env={"VIRKE_STORE": url, "VIRKE_DB": NAME})


def begun(url: str, *, large: int = 3, **settings: str | int) -> None:
    """A database with rows in several segments."""
    with connect(NAME, url, create=True, background=False) as database:
        database.execute(TABLE)
        for number in range(large):
            insert(database, f"old-{number}", LARGE)
        if settings:
            database.change_settings(settings)


def test_p1_every_command_says_in_one_line_that_the_store_is_down(outage: Outage, folder: Path) -> None:
    """Exit code 3; once the store is back, the same commands work, on all that was there before."""
    url = outage.server.url(fresh())
    begun(url)
    outage.process.kill()
    with impatient():
        for name, args in COMMANDS.items():
            found = virke(url, *args)
            assert (found.exit_code, found.stdout, found.stderr.count("\n")) == (3, "", 1), (name, found.output)
            assert found.stderr.startswith("error: ")
    outage.process.start()
    assert virke(url, *COMMANDS["query"]).stdout.split() == ["count(*)", "--------", "3"]
    for name, args in COMMANDS.items():
        found = virke(url, *args)
        assert found.exit_code == 0, (name, found.output)
    assert (folder / "out.sql").read_text().count("INSERT INTO entry") == 5
    assert list_databases(url) == ["another"]


@pytest.fixture
def way(seaweedfs: S3Server) -> Iterator[Proxy]:
    with proxy(seaweedfs.endpoint) as running:
        yield running


def from_request(n: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """That fault for the n-th request and all later ones."""
    seen: list[Request] = []

    def planned(request: Request) -> Fault | None:
        seen.append(request)
        return fault if len(seen) >= n else None

    return planned


IN_TWO_STEPS: Final = {"create": "was created", "delete": "is deleted"}
"""Commands that go on after their swap, and what they say if the store is lost then: it is done, and not whole."""


def seen(url: str) -> object:
    """All that the commands change."""
    with connect(NAME, url, background=False) as database:
        check_integrity(database)
        found = tokens(database), [entry.name for entry in database.schema()], database.settings()
    check_store(open_store(url))
    return found, list_databases(url)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_p6_a_command_that_loses_the_store_midway_says_so_and_changes_nothing_or_says_what(
    command: str, seaweedfs: S3Server, way: Proxy, folder: Path
) -> None:
    """From each of its requests on the store asks to slow down, until the command succeeds before it does."""
    prefix = fresh()
    direct, through = seaweedfs.url(prefix), S3Server("proxy", way.endpoint).url(prefix)
    begun(direct)
    before, n = seen(direct), 1
    while True:
        way.fault = from_request(n, SLOW_DOWN)
        found = virke(through, *COMMANDS[command])
        if not found.exit_code:
            break
        if found.exit_code == 4 and command in IN_TWO_STEPS:
            assert IN_TWO_STEPS[command] in found.stderr
            assert found.stderr.count("\n") == 1
            assert list_databases(direct) == (["another", NAME] if command == "create" else [])
            return
        lines = 1 + ("\nhint: " in found.stderr)  # an import says what is left to do
        assert (found.exit_code, found.stdout, found.stderr.count("\n")) == (3, "", lines), (n, found.output)
        assert seen(direct) == before
        n += 1
    assert n > 1


def test_p1_an_open_database_is_unavailable_while_its_store_is_down_and_goes_on_after(
    outage: Outage, client: Path
) -> None:
    """Reads that ask the store, writes of every size and transactions; what is known is still read."""
    url = outage.server.url(fresh())
    begun(url)
    with connect(NAME, url, background=False) as database:
        count = "SELECT count(*) FROM entry"
        assert database.query(count).rows == [(3,)]
        outage.process.kill()
        down: list[Callable[[], object]] = [
            lambda: database.query(count, consistency="strong"),
            lambda: insert(database, "small"),
            lambda: insert(database, "large", LARGE),
            lambda: database.transaction(),
            lambda: database.change_settings({"max_attempts": 4}),
            lambda: database.collect(),
            lambda: connect(NAME, url),
        ]
        with impatient():
            for call in down:
                with pytest.raises(Unavailable):
                    call()
        assert not database.status().healthy
        outage.process.start()
        insert(database, "after", LARGE)
        assert database.status().healthy
        assert tokens(database) == ["old-0", "old-1", "old-2", "after"]
    check_store(open_store(url))


def test_p1_deferred_writes_are_taken_while_the_store_is_down_and_pushed_after(outage: Outage, client: Path) -> None:
    """By the journal of an open database; another process pushes what a killed one left there."""
    url = outage.server.url(fresh())
    begun(url, large=1, durability="deferred", flush_interval_ms=3_600_000, max_staleness_ms=3_600_000)
    with heard([start("deferred", url, 0)]) as [worker]:
        worker.wait_for(3)
        with connect(NAME, url, background=False) as database:
            insert(database, "before")
            outage.process.kill()
            worker.wait_for(20)
            insert(database, "meanwhile", LARGE)
            insert(database, "and more")
            with pytest.raises(Unavailable):
                database.flush()
            assert ("and more",) in database.query("SELECT token FROM entry").rows
            answered = worker.kill()
            database.close(push=False)
    outage.process.start()
    with connect(NAME, url, background=False) as database:
        pending = database.status().pending_writes
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (pending, 0)
        assert pending >= len(answered) + 3
        ledger = Ledger(kept={"old-0", "before", "meanwhile", "and more", *answered})
        ledger.check(database)
        check_integrity(database)
    check_store(open_store(url))


@pytest.mark.parametrize("deaths", [1, pytest.param(5, marks=pytest.mark.prove)])
def test_p1_p3_workers_are_told_the_truth_while_their_store_is_killed_and_comes_back(
    deaths: int, outage: Outage, client: Path
) -> None:
    """Two processes of two threads write through it all; then what they were told is compared with what is there."""
    url = outage.server.url(fresh())
    begun(url, history_days=0)
    ledger = Ledger()
    with heard([start("attempts", url, name, 2) for name in "ab"]) as workers:
        for _ in range(deaths):
            for worker in workers:
                worker.wait_for(10)
            outage.process.kill()
            for worker in workers:
                worker.wait_until(lambda lines: any(not line.startswith("kept") for line in lines))
            outage.process.start()
        for worker in workers:
            worker.wait_for(10)
        spoken = [line.split() for worker in workers for line in worker.kill()]
    for answer, token in spoken:
        {"kept": ledger.kept, "refused": ledger.refused, "open": ledger.open}[answer].add(token)
    assert len(ledger.refused | ledger.open) >= 2 * deaths
    with connect(NAME, url, background=False) as database:
        ledger.check(database)
        check_integrity(database)
        assert database.status().upkeep_error is None
