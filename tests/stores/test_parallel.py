"""Calls at once: in order, all to their end, none waiting for itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from virke.stores.parallel import REQUESTS_MAX, at_once, run_beside

_where: ContextVar[str] = ContextVar("where", default="nowhere")


def test_answers_come_in_order_though_the_calls_run_side_by_side() -> None:
    """Each call waits for all others to have begun."""
    together = threading.Barrier(REQUESTS_MAX)

    def call(number: int) -> int:
        together.wait(10)
        return number

    assert at_once([partial(call, n) for n in range(REQUESTS_MAX)]) == list(range(REQUESTS_MAX))
    assert at_once([]) == []


def test_the_first_error_is_raised_when_all_have_ended() -> None:
    ended = list[int]()

    def call(number: int) -> int:
        ended.append(number)
        if number in (3, 5):
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="3"):
        at_once([partial(call, n) for n in range(9)])
    assert sorted(ended) == list(range(9))


def test_many_callers_share_the_pool_without_waiting_for_each_other_for_ever() -> None:
    """More callers than threads, each with several calls."""
    answers = list[list[int]]()
    callers = [
        threading.Thread(target=lambda: answers.append(at_once([partial(int, n) for n in range(5)])))
        for _ in range(REQUESTS_MAX * 2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert answers == [list(range(5))] * len(callers)


def test_work_beside_has_the_context_of_its_caller() -> None:
    done, seen = threading.Event(), list[str]()
    token = _where.set("here")

    def look() -> None:
        seen.append(_where.get())
        done.set()

    run_beside(look)
    _where.reset(token)
    assert done.wait(10)
    assert seen == ["here"]


def test_the_end_of_a_process_does_not_wait_for_work_beside() -> None:
    code = "import threading; from virke.stores.parallel import run_beside; run_beside(threading.Event().wait); print('over')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "over\n"


def test_a_forked_child_has_threads_of_its_own() -> None:
    """The parent's pool is not inherited: its threads are not."""
    code = (
        "import os; from virke.stores.parallel import at_once; calls = [lambda: 1] * 5; at_once(calls)\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if at_once(calls) == [1] * 5 else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "0\n"
