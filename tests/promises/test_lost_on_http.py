"""Every PUT of every script over HTTP, with every way in which its answer or itself gets lost.

A proxy in front of a real server makes the faults, so that the client library is part of what is tried. The number of
requests is counted in a clean run; a script that grows is covered without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest

from tests.promises.ledger import Ledger, check_integrity, check_store, exercise, opened
from tests.promises.places import fresh
from tests.promises.scenarios import SCENARIOS, Stage
from tests.servers.proxy import Answer, CutAnswer, DropAnswer, DropRequest, Fault, Proxy, Request, proxy
from tests.servers.s3 import S3Server
from virke.errors import Conflict, Unavailable, VirkeError
from virke.opening import open_store

pytestmark = pytest.mark.once

SLOW_DOWN: Final = Answer(503, b"<Error><Code>SlowDown</Code></Error>")
T = TypeVar("T")
Planned = Callable[[Request], Fault | None]


def from_put(n: int, faults: tuple[Fault, Fault]) -> Planned:
    """The first fault at the n-th PUT, the second one at everything after it."""
    began: list[Request] = []

    def planned(request: Request) -> Fault | None:
        if (request.method, request.number) == ("PUT", n):
            began.append(request)
            return faults[0]
        return faults[1] if began else None

    return planned


def once(method: str, n: int, *faults: Fault) -> Planned:
    """The first fault at the n-th request of that method, the others at those that come next."""
    left = list(faults)

    def planned(request: Request) -> Fault | None:
        is_next = 0 < len(left) < len(faults)
        return left.pop(0) if left and (is_next or (request.method, request.number) == (method, n)) else None

    return planned


PUTS: Final[dict[str, tuple[Fault, ...]]] = {
    "answer dropped, and what comes next": (DropAnswer(), DropRequest()),
    "answer dropped": (DropAnswer(),),
    "500 after it was applied": (Answer(500, after=True),),
    "request dropped": (DropRequest(),),
    "500, and once more": (Answer(500), Answer(500)),
    "503 SlowDown": (SLOW_DOWN,),
    "409": (Answer(409),),
    "429": (Answer(429),),
}
GETS: Final[dict[str, tuple[Fault, ...]]] = {
    "body cut": (CutAnswer(),),
    "answer dropped": (DropAnswer(),),
    "500": (Answer(500),),
    "503 SlowDown": (SLOW_DOWN,),
}
EXPIRED: Final = Answer(403, b"<Error><Code>ExpiredToken</Code></Error>")
WORSE: Final[dict[str, tuple[Fault, Fault]]] = {
    "answer dropped, then credentials expired": (DropAnswer(), EXPIRED),
    "answers dropped": (DropAnswer(), DropAnswer()),
    "answer dropped, then the bucket gone": (DropAnswer(), Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")),
    "request dropped, then credentials expired": (DropRequest(), EXPIRED),
    "answer dropped, then 503": (DropAnswer(), Answer(503)),
    "500 after it was applied, then SlowDown": (Answer(500, after=True), SLOW_DOWN),
    "requests dropped": (DropRequest(), DropRequest()),
    "credentials expired": (EXPIRED, EXPIRED),
    "SlowDown": (SLOW_DOWN, SLOW_DOWN),
}
"""What befalls one PUT, and then every request."""
SURE: Final = ("credentials expired", "SlowDown")
"""Of these, those that prove that nothing was applied."""
QUICK: Final = ("commit", "large", "import", "migrate", "flush", "settings")
"""Scripts of few requests, for the fast suite."""
SHORT: Final = tuple(name for name in SCENARIOS if name != "stall")
ALL: Final = 99
"""More faults than there are of a kind."""
RIVALS: Final = ("race", "stall")
"""Scripts in which another writer wins some races."""


@dataclass(frozen=True, slots=True)
class Stand:
    """A server and the proxy before it."""

    server: S3Server
    way: Proxy


@pytest.fixture(scope="module")
def ways(request: pytest.FixtureRequest) -> Iterator[Stand]:
    server = request.getfixturevalue(request.param)
    with proxy(server.endpoint) as way:
        yield Stand(server, way)


def play(stand: Stand, scenario: str, planned: Planned, folder: Path) -> tuple[str, Ledger]:
    """Run a script on a fresh prefix; returns the direct URL of its store."""
    prefix, ledger = fresh(), Ledger()
    direct = stand.server.url(prefix)
    through = open_store(S3Server("proxy", stand.way.endpoint).url(prefix))
    stand.way.reset()
    stand.way.fault = planned
    ledger.attempt(lambda: SCENARIOS[scenario](Stage(through, open_store(direct), folder, ledger)))
    return direct, ledger


def check(stand: Stand, scenario: str, planned: Planned, folder: Path) -> Ledger:
    """Play, and look at what is there from elsewhere: all promises hold, and the database goes on."""
    direct, ledger = play(stand, scenario, planned, folder)
    with opened(open_store(direct), folder) as database:
        database.flush()
        ledger.check(database)
        check_integrity(database)
        check_store(open_store(direct))
        exercise(database, ledger, "again")
        ledger.check(database)
        check_integrity(database)
    return ledger


def check_answers(scenario: str, ledger: Ledger, *fine: type[VirkeError]) -> None:
    """Everything was answered with success, but for races that were lost to the rival and what is `fine`."""
    allowed = (*fine, Conflict) if scenario in RIVALS else fine
    assert [error for error in ledger.errors if not isinstance(error, allowed)] == []
    assert ledger.open == set()


def requests(stand: Stand, scenario: str, folder: Path) -> dict[str, int]:
    """How many requests of each method a clean run makes."""
    folder.mkdir()
    _, ledger = play(stand, scenario, lambda request: None, folder)
    check_answers(scenario, ledger)
    return dict(stand.way.requests)


def each(total: int, faults: dict[str, T], most: int) -> Iterator[tuple[int, str]]:
    """Every position with as many faults: the first one and others in turn; one alone is each in turn."""
    names = list(faults)
    for n in range(1, total + 1):
        if most == 1:
            some = {n % len(names)}
        else:
            some = {0, *(1 + (n + further) % (len(names) - 1) for further in range(most - 1))}
        yield from ((n, name) for number, name in enumerate(names) if number in some)


def run_each(stand: Stand, scenario: str, method: str, folder: Path, most: int = ALL) -> None:
    """One fault at every request of that method; the failure names it."""
    faults = GETS if method == "GET" else PUTS
    fine = (Unavailable,) if method == "GET" else ()
    folder.mkdir()
    total = requests(stand, scenario, folder / "clean")[method]
    for n, name in each(total, faults, most):
        place = folder / f"{n} {name}"
        place.mkdir()
        with named(scenario, n, name):
            check_answers(scenario, check(stand, scenario, once(method, n, *faults[name]), place), *fine)


@contextmanager
def named(scenario: str, n: int, fault: str) -> Iterator[None]:
    """The failure of a run says which one it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in {scenario}, at {n}: {fault}")
        raise


on_both = pytest.mark.parametrize("ways", ["seaweedfs", pytest.param("moto", marks=pytest.mark.prove)], indirect=True)
on_one = pytest.mark.parametrize("ways", ["seaweedfs"], indirect=True)


@on_one
@pytest.mark.parametrize("scenario", QUICK)
def test_p2_p3_a_put_that_gets_lost_is_found_again_and_succeeds(
    scenario: str, ways: Stand, client: Path, tmp_path: Path
) -> None:
    """Root swaps and segment puts alike: applied or not, answered or not, the write is there once, with success."""
    run_each(ways, scenario, "PUT", tmp_path / "runs", most=2)


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_p2_p3_every_put_of_every_script_gets_lost(scenario: str, ways: Stand, client: Path, tmp_path: Path) -> None:
    run_each(ways, scenario, "PUT", tmp_path / "runs", most=1)


@pytest.mark.prove
@on_both
def test_p2_p3_every_put_of_commits_gets_lost_in_every_way(ways: Stand, client: Path, tmp_path: Path) -> None:
    run_each(ways, "commit", "PUT", tmp_path / "runs")


@pytest.mark.slow
@on_one
@pytest.mark.parametrize("scenario", SHORT)
def test_p2_p3_every_read_of_a_script_fails(scenario: str, ways: Stand, client: Path, tmp_path: Path) -> None:
    """One that fails once is repeated, or the write is refused: it is never there in part, or unknown."""
    run_each(ways, scenario, "GET", tmp_path / "runs", most=2)


@pytest.mark.slow
@on_one
def test_p8_a_deletion_that_gets_lost_harms_nothing(ways: Stand, client: Path, tmp_path: Path) -> None:
    run_each(ways, "collect", "POST", tmp_path / "runs")


@on_one
@pytest.mark.parametrize("scenario", ["commit", "large"])
def test_p3_a_store_that_goes_bad_for_good_is_answered_honestly(
    scenario: str, ways: Stand, client: Path, tmp_path: Path
) -> None:
    """From each PUT on: what was answered with success is there, what was refused is not, the rest is unknown."""
    run_worse(ways, scenario, tmp_path / "runs", most=2)


@pytest.mark.slow
@on_one
@pytest.mark.parametrize("scenario", SHORT)
def test_p3_a_store_that_goes_bad_for_good_in_every_short_script(
    scenario: str, ways: Stand, client: Path, tmp_path: Path
) -> None:
    run_worse(ways, scenario, tmp_path / "runs", most=1)


@pytest.mark.prove
@on_one
def test_p3_a_store_that_goes_bad_for_good_in_every_way(ways: Stand, client: Path, tmp_path: Path) -> None:
    run_worse(ways, "commit", tmp_path / "runs")


def run_worse(stand: Stand, scenario: str, folder: Path, most: int = ALL) -> None:
    """The store goes bad for good at every PUT."""
    folder.mkdir()
    total = requests(stand, scenario, folder / "clean")["PUT"]
    for n, name in each(total, WORSE, most):
        place = folder / f"{n} {name}"
        place.mkdir()
        with named(scenario, n, name):
            ledger = check(stand, scenario, from_put(n, WORSE[name]), place)
            assert name not in SURE or not ledger.open, "unknown, though surely not applied"


@pytest.mark.parametrize("every", [2, 3, 5])
@on_one
def test_p2_every_nth_put_loses_its_answer(every: int, ways: Stand, client: Path, tmp_path: Path) -> None:
    """All quick scripts, one after another."""

    def planned(request: Request) -> Fault | None:
        return DropAnswer() if request.method == "PUT" and not request.number % every else None

    for scenario in QUICK:
        place = tmp_path / scenario
        place.mkdir()
        with named(scenario, every, "each n-th answer dropped"):
            check_answers(scenario, check(ways, scenario, planned, place))
