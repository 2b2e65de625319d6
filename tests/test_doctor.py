"""`examine` calls good stores fit, refuses each kind of wrong one, ends in bounds, and leaves nothing behind."""

from __future__ import annotations

import itertools
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.examinations import repeat_less
from tests.servers.proxy import Alter, Answer, IgnoreConditions, proxy
from tests.servers.running import free_ports
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.wrong_stores import (
    WRONG_OBJECTS,
    WRONG_REGISTERS,
    CallsOff,
    LosesAnswers,
    LosesDeletes,
    OneSwapASecond,
    RightRegister,
    SaysLittle,
    SendsAgain,
    with_objects,
    with_register,
)
from virke.core.effects import Absent, Generation, ReadOutcome, Record, SwapOutcome, Tier, Unchanged
from virke.doctor import Report, Status, examine
from virke.doctor.checks import checks_of
from virke.doctor.measures import SKEW_WARN_MS
from virke.engine.environment import Environment
from virke.errors import Denied, NotFound, Unavailable
from virke.stores.base import Blobs, Consistency, Register, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, Chances, FaultyStore, LoseAnswer, Refuse
from virke.stores.local.store import local_store
from virke.stores.memory import MemoryBlobs, memory_store
from virke.stores.object.store import object_store
from virke.stores.object.url import object_place
from virke.stores.valkey.store import valkey_store

pytestmark = pytest.mark.once

CALLS_MAX: Final = 3000
"""More than any store here needs, and less than a race that does not end."""
DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
SECRETS: Final = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
_numbers = itertools.count()


def opened(url: str) -> Store:
    return object_store(object_place(url, SECRETS))


def on(server: S3Server, **options: str) -> Store:
    """A new prefix on a server."""
    return opened(server.url(f"doctor-{next(_numbers)}", **options))


class Hours:
    """A clock that goes only when somebody sleeps, and nobody waits for it."""

    def __init__(self) -> None:
        self.slept_s = 0.0
        self._lock = threading.Lock()
        self.environment = Environment(monotonic=lambda: self.slept_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept_s += seconds


def at_once(store: Store, *, large: bool = False) -> Report:
    """A report without waiting."""
    return examine(store, environment=Environment(sleep=lambda _: None), large=large)


def left_in(store: Store) -> list[str]:
    """All keys of a store: registers, tombstones, objects."""
    return [*store.register.keys(""), *(item.key for blobs in store.blobs.values() for item in blobs.list(""))]


# Good stores

STORES: Final[dict[str, Callable[[pytest.FixtureRequest], Store]]] = {
    "memory": lambda request: memory_store(),
    "local": lambda request: local_store(request.getfixturevalue("tmp_path")),
    "valkey": lambda request: valkey_store(request.getfixturevalue("valkey_server").url(prefix="doctor")),
}
SERVERS: Final[dict[str, Callable[[pytest.FixtureRequest], Store]]] = {
    "moto": lambda request: on(request.getfixturevalue("moto")),
    "seaweedfs": lambda request: on(request.getfixturevalue("seaweedfs")),
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that repeat less: with all repetitions they are tried on `STORES`, and in the slow suite on `SERVERS`."""
    repeat_less(monkeypatch)


@pytest.mark.parametrize("name", STORES)
def test_a_good_store_is_fit_and_left_as_it_was(request: pytest.FixtureRequest, name: str) -> None:
    """Every check is ok, calls are bounded, databases are as before, and no key is left: no tombstone either."""
    check_good_store(STORES[name](request))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", SERVERS)
def test_a_good_server_is_fit_and_left_as_it_was(request: pytest.FixtureRequest, name: str) -> None:
    """The same over HTTP, in fewer rounds."""
    check_good_store(SERVERS[name](request))


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_a_good_server_is_fit_in_all_rounds(request: pytest.FixtureRequest, name: str) -> None:
    check_good_store(SERVERS[name](request))


def check_good_store(store: Store) -> None:
    store.register.swap("root/app/main", b"root", None)
    before = store.register.read("root/app/main")
    counting = CountingStore(store)
    report = examine(counting.store)
    assert [one for one in report.checks if one.status is not Status.OK] == []
    assert report.is_fit
    assert not report.is_refused
    assert report.calls == counting.total.requests < CALLS_MAX
    assert {one.name for one in report.latencies} >= {
        "conditional read",
        "swap",
        f"{next(iter(store.blobs)).value}: get 1 MiB",
    }
    assert store.register.read("root/app/main") == before
    assert set(left_in(store)) == {"root/app/main"}


def test_the_largest_object_is_tried_if_asked_for() -> None:
    """`large` writes `part_bytes_max` bytes, and sees one more refused."""
    store = memory_store(kv_bytes_max=3 << 20, object_bytes_max=5 << 20)
    found = {one.name: one.found for one in at_once(store, large=True).checks}
    assert found["kv: large object"] == "3,145,728 bytes written and read, one more is refused"
    assert found["object: large object"] == "5,242,880 bytes written and read, one more is refused"


@pytest.mark.parametrize("register", [RightRegister, SaysLittle])
def test_an_eventual_store_is_fit_although_reads_are_old(register: Callable[[Register], Register]) -> None:
    """A third of its reads are old, its swaps may name no generation: it is asked again, and the window is told."""
    eventual = FaultyStore(memory_store(), seed=7, chances=Chances(read_stale=0.3), eventual=True)
    report = at_once(with_register(register, eventual.store))
    assert report.named(Status.FAIL) == report.named(Status.SKIPPED) == []
    (stale,) = [one.found for one in report.checks if one.name == "stale reads"]
    assert stale.startswith("at worst ")
    assert report.calls < CALLS_MAX


# Wrong stores


@pytest.mark.parametrize(("wrong", "checks"), WRONG_REGISTERS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_wrong_register_is_refused(wrong: Callable[[Register], Register], checks: set[str]) -> None:
    """By the checks of what it breaks, each with what was found and what it means."""
    refused_by(at_once(with_register(wrong)), checks)


@pytest.mark.parametrize(("wrong", "checks"), WRONG_OBJECTS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_wrong_objects_are_refused(wrong: Callable[[Blobs], Blobs], checks: set[str]) -> None:
    """By the checks of what they break; the other tier's are ok."""
    report = at_once(with_objects(wrong))
    refused_by(report, checks)
    assert [name for name in report.named(Status.FAIL) if not name.startswith("object: ")] == []


def refused_by(report: Report, checks: set[str]) -> None:
    assert not report.is_fit
    assert report.is_refused
    assert checks <= set(report.named(Status.FAIL))
    assert all(one.found and one.means for one in report.checks)
    assert report.calls < CALLS_MAX


@pytest.mark.usefixtures("few")
def test_a_server_that_ignores_conditions_is_refused(moto: S3Server) -> None:
    """Conditional PUTs that are carried out anyway: creations, swaps, removals and objects replace what is there."""
    with proxy(moto.endpoint) as way:
        way.fault = lambda request: IgnoreConditions() if request.method == "PUT" else None
        store = on(S3Server("proxy", way.endpoint))
        report = examine(store)
    refused_by(report, {"create only", "stale swap", "remove", "generations", "creation race", "lost updates"})
    assert {"object: never changed", "object: put race"} <= set(report.named(Status.FAIL))
    assert report.checks[-1].status is Status.OK, "it cleans up all the same"


@pytest.mark.usefixtures("few")
def test_a_store_that_may_overwrite_is_warned_of(moto: S3Server) -> None:
    """With `create_only=off` in its URL, alone or behind a KV store's, nothing fails."""
    objects = on(moto, create_only="off")
    both = replace(memory_store(), url=f"memory://,{objects.url}", blobs=objects.blobs)
    for store in (objects, both):
        report = examine(store)
        assert report.is_fit
        assert report.named(Status.WARN) == ["object: never changed"]


# Warnings


@pytest.mark.parametrize(("off_ms", "side"), [(3_600_000, "ahead of"), (-60_000, "behind")])
def test_a_clock_that_is_off_is_warned_of(off_ms: int, side: str) -> None:
    """An hour ahead or a minute behind: history would have wrong times."""
    now_ms = Environment().now_ms
    store = memory_store()
    store.blobs[Tier.OBJECT] = MemoryBlobs(clock_ms=lambda: now_ms() + off_ms)
    report = at_once(store)
    assert report.named(Status.WARN) == ["object: clock"]
    assert any(side in one.found for one in report.checks)
    store.blobs[Tier.OBJECT] = MemoryBlobs(clock_ms=lambda: now_ms() + SKEW_WARN_MS // 2)
    assert at_once(store).named(Status.WARN) == []


def test_a_register_without_conditional_reads_is_warned_of() -> None:
    """It works, and costs more."""
    assert at_once(with_register(SendsAgain)).named(Status.WARN) == ["conditional read"]


class ShowsLate(RightRegister):
    """An eventual register that shows a change only after so many seconds."""

    def __init__(self, inner: Register, hours: Hours, late_s: float) -> None:
        super().__init__(inner)
        self._hours = hours
        self._late_s = late_s
        self._changes: dict[str, list[tuple[float, ReadOutcome]]] = {}
        self._lock = threading.Lock()

    @property
    def consistency(self) -> Consistency:
        return Consistency.EVENTUAL

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        seen: ReadOutcome = Absent()
        for at_s, change in self._changes.get(key, []):
            if at_s + self._late_s <= self._hours.slept_s:
                seen = change
        return Unchanged() if isinstance(seen, Record) and seen.generation == known else seen

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        with self._lock:
            outcome = self.inner.swap(key, data, base)
            self._changes.setdefault(key, []).append((self._hours.slept_s, self.inner.read(key)))
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        with self._lock:
            outcome = self.inner.remove(key, base)
            self._changes.setdefault(key, []).append((self._hours.slept_s, self.inner.read(key)))
        return outcome


def test_reads_that_are_old_for_seconds_are_warned_of() -> None:
    """An eventual store may; who needs to read the newest is told how."""
    hours = Hours()
    report = examine(with_register(lambda inner: ShowsLate(inner, hours, 3)), environment=hours.environment)
    assert report.named(Status.FAIL) == []
    assert "stale reads" in report.named(Status.WARN)


def test_a_store_of_one_swap_a_second_is_fit_and_says_what_it_means() -> None:
    """Each check waits for its turn; how many commits a second that makes, and the cure, is a warning."""
    hours = Hours()
    store = with_register(lambda inner: OneSwapASecond(inner, lambda: hours.slept_s))
    report = examine(store, environment=hours.environment)
    assert report.is_fit
    assert report.named(Status.WARN) == ["swap rate"]
    (rate,) = [one for one in report.checks if one.name == "swap rate"]
    told = re.match(r"about ([0-9.]+) swaps of one key in a second, [0-9]+ came too soon and were refused$", rate.found)
    assert told, rate.found
    assert 0.5 <= float(told[1]) <= 1.1
    assert "share the next commit" in rate.means
    assert "KV_URL,OBJECT_URL" in rate.means
    assert left_in(store) == []
    assert report.calls < CALLS_MAX


ODD: Final[dict[str, tuple[Alter, str]]] = {
    "no ETag": (Alter(answer_without="etag"), "swap"),
    "the whole object for a range": (Alter(request_without="range"), "object: ranges"),
    "one byte less than asked for": (Alter(fewer_bytes=1), "object: ranges"),
}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", ODD)
def test_a_server_that_answers_the_same_wrong_way_each_time_is_refused(moto: S3Server, name: str) -> None:
    """It is there, so nobody is told to come again when it answers."""
    alter, check = ODD[name]
    with proxy(moto.endpoint) as way:
        way.fault = lambda request: (
            alter if request.method == "GET" and (alter.answer_without or "range" in request.headers) else None
        )
        report = examine(on(S3Server("proxy", way.endpoint)))
    assert report.is_refused
    assert check in report.named(Status.FAIL)


def test_what_could_not_be_removed_is_named() -> None:
    """Objects that stay, although they were deleted, are listed by name, with the way to find them."""
    report = at_once(with_objects(LosesDeletes))
    cleaning = report.checks[-1]
    assert (cleaning.name, cleaning.status) == ("cleaning up", Status.WARN)
    run = cleaning.means.partition("doctor/")[2][:16]
    assert f"doctor/{run}/" in cleaning.found


# Bounds and failures


def test_a_store_that_never_shows_a_write_is_refused_in_time() -> None:
    """By the clock: each check gives up, and none waits for ever."""
    hours = Hours()
    store = with_register(lambda inner: SaysLittle(ShowsLate(inner, hours, math.inf)))
    report = examine(store, environment=hours.environment, seconds_max=5)
    assert report.is_refused
    assert report.checks[-1].status is Status.WARN, "what it could not see it could not remove"
    assert hours.slept_s < 1000
    assert report.calls < CALLS_MAX


def test_a_race_that_is_cut_short_says_how_far_it_came() -> None:
    """Most swaps are called off, as by a limit of writes: what was answered is counted and nothing was lost."""
    report = at_once(with_register(CallsOff))
    assert report.is_fit
    (race,) = [one for one in report.checks if one.name == "lost updates"]
    assert " of 64 increments by 16 at once, none lost" in race.found


@pytest.mark.parametrize("fault", [LoseAnswer(), Refuse()])
@pytest.mark.parametrize("at", [1, 2, 20, 60])
def test_one_failed_call_is_no_verdict(fault: LoseAnswer | Refuse, at: int) -> None:
    """A check that met it is made again."""
    faulty = FaultyStore(memory_store(), [At(at, fault)])
    assert at_once(faulty.store).is_fit
    assert left_in(faulty.store) == []


def test_answers_that_never_come_prove_nothing() -> None:
    """Neither fit nor refused."""
    report = at_once(with_register(LosesAnswers))
    assert not report.is_fit
    assert not report.is_refused
    assert "swap" in report.named(Status.SKIPPED)


@pytest.mark.parametrize("calls", [30, 300])
def test_a_store_that_goes_away_is_not_waited_for(calls: int) -> None:
    """Checks that were made keep their verdict, the rest is skipped after a few, and what may be left is named."""
    plan = [At(n, Refuse()) for n in range(calls, 10 * CALLS_MAX)]
    report = at_once(FaultyStore(memory_store(), plan).store)
    assert not report.is_refused
    assert report.checks[0].status is Status.OK
    assert report.checks[-2].found == "not tried: the store is away"
    assert report.checks[-1].status is Status.WARN
    assert report.calls < CALLS_MAX


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    """Nobody listens: there is nothing to judge."""
    nobody = S3Server("nobody", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable):
        at_once(opened(nobody.url()))


def test_who_may_not_write_is_told_so(moto: S3Server) -> None:
    """Denied at the first write: that is no fault of the store."""
    with proxy(moto.endpoint) as way:
        way.fault = lambda request: Answer(403) if request.method == "PUT" else None
        with pytest.raises(Denied):
            at_once(on(S3Server("proxy", way.endpoint)))


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A folder, and a bucket, are created by who wants them."""
    with pytest.raises(NotFound):
        at_once(local_store(tmp_path / "none", create=False))
    assert [*tmp_path.iterdir()] == []


def test_a_missing_bucket_behind_a_good_register_is_refused(moto: S3Server) -> None:
    """The register was proved, so what is wrong with the objects is a verdict."""
    nowhere = opened(moto.url().replace("//bucket/", "//nowhere/"))
    report = at_once(replace(memory_store(), blobs=nowhere.blobs))
    assert "object: put and get" in report.named(Status.FAIL)


# What is written about it


def test_every_check_is_explained_in_the_documentation() -> None:
    """`docs/doctor.md` has a row for each."""
    text = (DOCS / "doctor.md").read_text()
    names = {check.name.rpartition(": ")[2] for check in checks_of(memory_store(), lambda _: None)}
    assert [name for name in sorted({*names, "cleaning up"}) if f"| {name} |" not in text] == []
