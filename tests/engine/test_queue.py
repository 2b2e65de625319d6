"""The queue before the writer: who leads, who is woken, and what becomes of a caller that goes away."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.engine.world import make
from virke.engine.programs import Program, Step
from virke.engine.queue import WOKEN_AT_ONCE, Pending, Queue
from virke.errors import SqlError, Unavailable

WAIT_S = 60


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt."""


def program(sql: str = "SELECT 1") -> Program:
    return Program((Step(sql),), 0)


class Carrier:
    """Carries out one program at a time, behind a gate; says which thread did it."""

    def __init__(self) -> None:
        self.queue = Queue(self.carry_out)
        self.gate = threading.Event()
        self.began = threading.Event()
        self.led_by: list[int] = []
        self.fails: list[BaseException] = []

    def carry_out(self) -> None:
        self.began.set()
        assert self.gate.wait(WAIT_S)
        if self.fails:
            raise self.fails.pop(0)
        for pending in self.queue.take(1, lambda *_: True):
            self.led_by.append(threading.get_ident())
            pending.done = True
            pending.wake()

    def call(self, pending: Pending) -> tuple[threading.Thread, list[object]]:
        """A caller in a thread of its own; how its call ended."""
        ended: list[object] = []

        def run() -> None:
            try:
                self.queue.finish(pending)
                ended.append("done")
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, ended


class Interruptible(Pending):
    """A program whose caller is interrupted while it waits."""

    __slots__ = ()

    def wait(self) -> None:
        super().wait()
        raise Interrupted


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        threading.Event().wait(0.001)


@pytest.mark.native
def test_enqueue_never_blocks_and_says_who_has_to_lead() -> None:
    """The first of them has to; the others ride along, in order, whichever thread leads."""
    carrier, programs = Carrier(), [Pending(program()) for _ in range(3)]
    assert [carrier.queue.enqueue(pending) for pending in programs] == [True, False, False]
    assert [pending.done for pending in programs] == [False] * 3
    carrier.gate.set()
    thread = threading.Thread(target=carrier.queue.lead)
    thread.start()
    thread.join(WAIT_S)
    assert [pending.done for pending in programs] == [True] * 3
    assert carrier.led_by == [thread.ident] * 3
    assert carrier.queue.enqueue(Pending(program()))


def test_what_is_withdrawn_is_never_run_and_the_others_are() -> None:
    """Even the one whose coming made somebody lead: the lead finds what is there. What was begun stays."""
    carrier, programs = Carrier(), [Pending(program()) for _ in range(3)]
    for pending in programs:
        carrier.queue.enqueue(pending)
    assert carrier.queue.withdraw(programs[0].program)
    assert not carrier.queue.withdraw(programs[0].program)
    carrier.gate.set()
    carrier.queue.lead()
    assert [pending.done for pending in programs] == [False, True, True]
    assert not carrier.queue.withdraw(programs[1].program)
    assert carrier.queue.enqueue(Pending(program()))


def test_a_line_of_which_all_was_withdrawn_is_led_and_ends() -> None:
    carrier, only = Carrier(), Pending(program())
    assert carrier.queue.enqueue(only)
    assert carrier.queue.withdraw(only.program)
    carrier.queue.lead()
    assert not only.done
    assert carrier.queue.enqueue(Pending(program()))


@pytest.mark.native
def test_a_program_whose_caller_waits_is_not_withdrawn() -> None:
    carrier, own = Carrier(), Pending(program())
    first, _ = carrier.call(Pending(program()))
    assert carrier.began.wait(WAIT_S)
    second, ended = carrier.call(own)
    until(lambda: own in carrier.queue.waiting)
    assert not carrier.queue.withdraw(own.program)
    carrier.gate.set()
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert ended == ["done"]


@pytest.mark.native
def test_a_caller_whose_program_is_done_leaves_the_lead_to_the_next() -> None:
    """Nobody leads for long what is others'."""
    carrier = Carrier()
    first, ended = carrier.call(Pending(program()))
    assert carrier.began.wait(WAIT_S)
    second, ended_too = carrier.call(Pending(program()))
    until(lambda: len(carrier.queue.waiting) == 2)
    carrier.gate.set()
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert (ended, ended_too) == (["done"], ["done"])
    assert carrier.led_by == [first.ident, second.ident]


@pytest.mark.native
def test_a_caller_is_woken_when_its_program_is_done_even_if_another_leads() -> None:
    carrier, own = Carrier(), Pending(program())
    assert carrier.queue.enqueue(Pending(program()))
    thread, ended = carrier.call(own)
    until(lambda: len(carrier.queue.waiting) == 2)
    carrier.gate.set()
    carrier.queue.lead()
    thread.join(WAIT_S)
    assert ended == ["done"]
    assert carrier.led_by == [threading.get_ident()] * 2


@pytest.mark.native
@pytest.mark.parametrize("is_made_to_lead", [False, True])
def test_a_caller_that_is_interrupted_while_it_waits_never_blocks_others(is_made_to_lead: bool) -> None:
    """Be it woken by its answer or to lead: the lead goes on, and what waits is carried out."""
    carrier, last = Carrier(), Pending(program())
    first, _ = carrier.call(Pending(program()))
    assert carrier.began.wait(WAIT_S)
    interrupted = Interruptible(program())
    second, ended = carrier.call(interrupted)
    until(lambda: len(carrier.queue.waiting) == 2)
    if not is_made_to_lead:
        interrupted.wake()
        second.join(WAIT_S)
    third, ended_last = carrier.call(last)
    until(lambda: last in carrier.queue.waiting)
    carrier.gate.set()
    for thread in (first, second, third):
        thread.join(WAIT_S)
    assert [type(one) for one in ended] == [Interrupted]
    assert ended_last == ["done"]
    assert not interrupted.done
    assert carrier.queue.waiting == []
    assert carrier.queue.enqueue(Pending(program()))


@pytest.mark.native
@pytest.mark.parametrize("error", [Interrupted(), Unavailable("the line is out of order")])
def test_a_leader_that_fails_takes_its_own_program_along_and_hands_over(error: BaseException) -> None:
    """What was not begun is never run after its caller was told that it failed."""
    carrier, own, other = Carrier(), Pending(program()), Pending(program())
    carrier.fails.append(error)
    first, ended = carrier.call(own)
    assert carrier.began.wait(WAIT_S)
    second, ended_too = carrier.call(other)
    until(lambda: len(carrier.queue.waiting) == 2)
    carrier.gate.set()
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert (ended, ended_too) == ([error], ["done"])
    assert not own.done
    assert carrier.led_by == [second.ident]


def test_a_leader_without_callers_that_fails_leaves_the_lead_to_the_next_program() -> None:
    carrier, waiting = Carrier(), Pending(program())
    carrier.gate.set()
    carrier.fails.append(Interrupted())
    assert carrier.queue.enqueue(waiting)
    with pytest.raises(Interrupted):
        carrier.queue.lead()
    carrier.queue.finish(Pending(program()))
    assert waiting.done


def test_on_done_is_called_once_after_it_is_done_and_outside_of_the_lock() -> None:
    """In order, with a result or an error; one that raises does not keep others from being called."""
    db = make()
    db.execute("CREATE TABLE t (n UNIQUE)")
    seen: list[tuple[str, bool, bool, object]] = []

    def called(name: str) -> Callable[[Pending], None]:
        def on_done(pending: Pending) -> None:
            is_free = db._committing.lead.acquire(blocking=False)
            if is_free:
                db._committing.lead.release()
            seen.append((name, pending.done, is_free, type(pending.error)))
            if name == "b":
                raise Interrupted

        return on_done

    queue = db._writer.queue
    for name, sql in [("a", "INSERT INTO t VALUES (1)"), ("b", "INSERT INTO t VALUES (1)"), ("c", "SELECT 1")]:
        queue.enqueue(Pending(program(sql), on_done=called(name)))
    with pytest.raises(Interrupted):
        queue.lead()
    none = type(None)
    assert seen == [("a", True, True, none), ("b", True, True, SqlError), ("c", True, True, none)]
    assert db.execute("INSERT INTO t VALUES (2)") == 1
    assert len(seen) == 3


def test_programs_with_and_without_foreign_keys_are_other_commits() -> None:
    """Each with its own mode, whatever came with it."""
    db = make()
    db.change_settings({"foreign_keys": "on"})
    db.run_script("CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p)")
    pending = [Pending(Program((Step("INSERT INTO c VALUES (9)"),), 0, keys)) for keys in (False, True, False)]
    version = db.version
    for one in pending:
        db._writer.queue.enqueue(one)
    db._writer.queue.lead()
    assert [type(one.error) for one in pending] == [type(None), SqlError, type(None)]
    assert db._branch.latest().root.head.version == version + 2
    assert db.query("SELECT count(*) FROM c", consistency="strong").rows == [(2,)]


def test_who_waits_for_company_is_woken_when_it_is_complete_and_not_before() -> None:
    """A leader that woke at each arrival would take as long as the rows that it waits for."""
    carrier = Carrier()
    notified: list[int] = []
    carrier.queue._arrived.notify = lambda n=1: notified.append(len(carrier.queue.waiting))  # type: ignore[method-assign]
    carrier.queue._awaited = 3
    for _ in range(4):
        carrier.queue.enqueue(Pending(program()))
    assert notified == [3]
    carrier.queue.wait_for(4, WAIT_S)
    assert carrier.queue._awaited == 0


@pytest.mark.native
def test_a_program_that_comes_last_ends_the_wait_for_company() -> None:
    """The wait ends by the arrival, not by its time."""
    carrier, ended = Carrier(), threading.Event()

    def wait() -> None:
        carrier.queue.wait_for(2, WAIT_S)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: carrier.queue._awaited == 2)
    carrier.queue.enqueue(Pending(program()))
    assert not ended.is_set()
    carrier.queue.enqueue(Pending(program()))
    assert ended.wait(WAIT_S)
    thread.join()


class Waiting(Pending):
    """A program whose caller is counted while it is on its way, and may be interrupted as soon as it is woken."""

    __slots__ = ("is_interrupted", "on_my_way", "woken")

    def __init__(self, on_my_way: threading.Semaphore, *, is_interrupted: bool = False) -> None:
        super().__init__(program())
        self.on_my_way = on_my_way
        self.is_interrupted = is_interrupted
        self.woken = threading.Event()

    def wake_next(self) -> None:
        self.woken.set()
        assert self.on_my_way.acquire(timeout=WAIT_S)
        if self.is_interrupted:
            self.is_interrupted = False
            raise Interrupted
        super().wake_next()


@pytest.mark.native
@pytest.mark.parametrize("interrupted", [(), (0, 3, WOKEN_AT_ONCE), tuple(range(WOKEN_AT_ONCE))])
def test_callers_that_are_done_wake_one_another_a_few_at_a_time(interrupted: tuple[int, ...]) -> None:
    """Each wakes the next, and one that is interrupted before it could does so as it goes away."""
    carrier, on_my_way = Carrier(), threading.Semaphore(0)
    first, _ = carrier.call(Pending(program()))
    assert carrier.began.wait(WAIT_S)
    group = [Waiting(on_my_way, is_interrupted=number in interrupted) for number in range(WOKEN_AT_ONCE + 4)]
    called = []
    for number, pending in enumerate(group):
        called.append(carrier.call(pending))
        until(lambda number=number: len(carrier.queue.waiting) == number + 2)  # type: ignore[misc]
    carrier.queue.end(carrier.queue.take(len(group) + 1, lambda *_: True))
    until(lambda: sum(pending.woken.is_set() for pending in group) >= WOKEN_AT_ONCE)
    assert not any(pending.woken.wait(0.05) for pending in group[WOKEN_AT_ONCE:])
    for _ in range(len(group) + len(interrupted)):
        on_my_way.release()
    for number, (thread, ended) in enumerate(called):
        thread.join(WAIT_S)
        assert [type(one) for one in ended] == [Interrupted if number in interrupted else str]
    carrier.gate.set()
    first.join(WAIT_S)


@pytest.mark.native
def test_a_caller_that_went_away_breaks_no_chain_of_callers() -> None:
    """Those before and after it are woken, and the leader, who waits for nobody, stands for none of them."""
    carrier = Carrier()
    own = Pending(program())
    first, ended = carrier.call(own)
    assert carrier.began.wait(WAIT_S)
    group = [Pending(program()) for _ in range(2 * WOKEN_AT_ONCE)]
    called = []
    for number, pending in enumerate(group):
        called.append(carrier.call(pending))
        until(lambda number=number: len(carrier.queue.waiting) == number + 2)  # type: ignore[misc]
    gone = group[: WOKEN_AT_ONCE + 1]
    locks = [pending._wake for pending in gone]
    for pending in gone:
        pending.forget_caller()  # as one that is interrupted does
    carrier.queue.end(carrier.queue.take(len(group) + 1, lambda *_: True))
    for thread, how in called[WOKEN_AT_ONCE + 1 :]:
        thread.join(WAIT_S)
        assert how == ["done"]
    for lock in locks:
        assert lock is not None
        lock.release()
    carrier.gate.set()
    for thread in (first, *(thread for thread, _ in called)):
        thread.join(WAIT_S)
    assert ended == ["done"]
