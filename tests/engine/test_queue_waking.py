"""Who is woken when programs are done: once they are, in any case, and nobody in the place of one who left."""

from __future__ import annotations

import threading

import pytest

from tests.engine.test_queue import WAIT_S, Carrier, Interrupted, program, until
from virke.engine.queue import WOKEN_AT_ONCE, Pending, Woken, tell_all
from virke.errors import Unavailable


class Leaving(Pending):
    """A program whose caller is interrupted while it is carried out."""

    __slots__ = ("leaves",)

    def __init__(self, leaves: threading.Event) -> None:
        super().__init__(program())
        self.leaves = leaves

    def wait(self) -> None:
        assert self.leaves.wait(WAIT_S)
        raise Interrupted


@pytest.mark.native
def test_callers_that_left_while_their_programs_were_carried_out_wake_nobody_and_are_not_counted() -> None:
    """More of them than are woken at once, and one after them who stayed."""
    carrier, leaves = Carrier(), threading.Event()
    first, _ = carrier.call(Pending(program()))
    assert carrier.began.wait(WAIT_S)
    group: list[Pending] = [Leaving(leaves) for _ in range(WOKEN_AT_ONCE)]
    group.append(Pending(program()))
    called = []
    for number, pending in enumerate(group):
        called.append(carrier.call(pending))
        until(lambda number=number: len(carrier.queue.waiting) == number + 2)  # type: ignore[misc]
    taken = carrier.queue.take(len(group) + 1, lambda *_: True)
    leaves.set()
    for thread, _ in called[:-1]:
        thread.join(WAIT_S)
    carrier.queue.end(taken)
    called[-1][0].join(WAIT_S)
    assert called[-1][1] == ["done"]
    carrier.gate.set()
    first.join(WAIT_S)


class Told(Pending):
    """A program that says whether it was done when its caller was woken; the first wake may be interrupted."""

    __slots__ = ("interrupts", "was_done")

    def __init__(self, *, interrupts: bool = False) -> None:
        super().__init__(program())
        self.interrupts = interrupts
        self.was_done: list[bool] = []

    def wake(self) -> bool:
        if self.interrupts:
            self.interrupts = False
            raise Interrupted
        self.was_done.append(self.done)
        return super().wake()


def test_a_caller_is_woken_only_once_its_program_is_done() -> None:
    """One that was woken before would lead beside the leader."""
    carrier, group = Carrier(), [Told() for _ in range(3)]
    for pending in group:
        pending.expect()
    carrier.queue.end(group)
    assert [pending.was_done for pending in group] == [[True]] * 3


def test_a_caller_whose_wake_was_interrupted_is_woken_by_the_next_who_goes_on() -> None:
    group = [Told(interrupts=True), Told()]
    for pending in group:
        pending.expect()
    woken = Woken(group)
    with pytest.raises(Interrupted):
        woken.wake_next()
    woken.wake_next()
    assert [len(pending.was_done) for pending in group] == [1, 0]
    woken.wake_next()
    woken.wake_next()
    assert [len(pending.was_done) for pending in group] == [1, 1]


def test_after_all_that_waits_was_refused_the_next_program_brings_a_leader() -> None:
    carrier, error = Carrier(), Unavailable("no thread is left")
    refused = [Told(), Told()]
    for pending in refused:
        pending.expect()
        carrier.queue.enqueue(pending)
    carrier.queue.refuse(error)
    assert [(pending.done, pending.error, len(pending.was_done)) for pending in refused] == [(True, error, 1)] * 2
    assert carrier.queue.enqueue(Pending(program()))


def test_what_is_to_be_done_before_anybody_is_told_is_done_before_and_once() -> None:
    said: list[str] = []

    def on_done(_: Pending) -> None:
        said.append("told")

    tell_all([Pending(program(), on_done=on_done), Pending(program(), on_done=on_done)], lambda: said.append("before"))
    assert said == ["before", "told", "told"]
    tell_all([Pending(program())], lambda: said.append("before"))
    assert len(said) == 3


@pytest.mark.native
def test_a_caller_whose_program_another_carried_out_leaves_the_lead_where_it_is() -> None:
    """Else two would lead at once, and a program be run twice."""
    one_more = threading.Semaphore(0)
    carrier, own, other = Carrier(), Pending(program()), Pending(program())
    carrier.gate.wait = lambda timeout=None: one_more.acquire(timeout=timeout)  # type: ignore[method-assign]
    leads = Pending(program())
    assert carrier.queue.enqueue(leads)
    leader = threading.Thread(target=carrier.queue.lead)
    leader.start()
    callers = []
    for number, pending in enumerate((own, other)):
        callers.append(carrier.call(pending))
        until(lambda number=number: len(carrier.queue.waiting) == number + 2)  # type: ignore[misc]
    one_more.release()
    one_more.release()
    callers[0][0].join(WAIT_S)
    assert callers[0][1] == ["done"]
    assert carrier.queue._leader is leads
    one_more.release()
    for thread in (leader, callers[1][0]):
        thread.join(WAIT_S)
    assert carrier.led_by == [leader.ident] * 3
