"""P11: a process that forks while a thread of it uses a database; the child goes on at once, or is told at once why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import SOURCE

CHILDREN: Final = """
import os, signal, sys, threading
import virke
from virke.errors import Invalid

db = virke.connect("app", sys.argv[1], create=True)
db.execute("CREATE TABLE IF NOT EXISTS t (n)")
inside, go_on = threading.Event(), threading.Event()
swap = type(db._branch.store.register).swap

def slow(*arguments):
    inside.set()
    go_on.wait()
    return swap(*arguments)

if sys.argv[2] == "in use":
    type(db._branch.store.register).swap = slow
    writer = threading.Thread(target=db.execute, args=("INSERT INTO t VALUES (1)",))
    writer.start()
    inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # a child that waits for a thread of its parent would wait for ever
    type(db._branch.store.register).swap = swap
    told = []
    for call in (lambda: db.query("SELECT count(*) FROM t").rows, lambda: db.execute("INSERT INTO t VALUES (2)")):
        try:
            told.append(call())
        except Invalid as error:
            told.append(error.message)
    with virke.connect("app", sys.argv[1], background=False) as own:
        told.append(own.query("SELECT count(*) FROM t").rows)  # a write would wait for the parent's, as it should
    print(told, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child hangs, or failed"
go_on.set()
if sys.argv[2] == "in use":
    writer.join()
print(db.query("SELECT n FROM t ORDER BY n", consistency="strong").rows)
"""


def answers(folder: Path, when: str) -> list[str]:
    """What the child, and then its parent, were told."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CHILDREN, f"local:{folder / 'store'}", when]
    ran = subprocess.run(command, env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no forks")
def test_p11_a_child_is_told_at_once_that_a_thread_of_its_parent_was_using_the_database(tmp_path: Path) -> None:
    """It may connect for itself; the parent's write goes on."""
    child, parent = answers(tmp_path, "in use")
    assert child.count("was in use by another thread when this process was forked; connect again in the child") == 2
    assert child.endswith(", [(0,)]]")
    assert parent == "[(1,)]"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no forks")
def test_p11_a_child_goes_on_with_a_database_that_no_thread_was_using(tmp_path: Path) -> None:
    child, parent = answers(tmp_path, "idle")
    assert child == "[[(0,)], 1, [(1,)]]"
    assert parent == "[(2,)]"
