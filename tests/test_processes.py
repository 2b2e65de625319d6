"""Locks on files exclude, and nothing fails to import where the system has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virke.processes import ThreadLocks, holding_lock, try_lock, unlock, wait_for_lock

SOURCE = Path(__file__).parents[1] / "src"
WITHOUT = """
import importlib, os, pathlib, pkgutil, sys
sys.modules["fcntl"] = None
del os.fork, os.register_at_fork, os.O_CLOEXEC, os.O_NONBLOCK, os.O_NOFOLLOW
import virke
for module in pkgutil.walk_packages(virke.__path__, "virke."):
    # the guest is imported in its component, Datasette's plugin where Datasette is installed
    if not module.name.endswith(("__main__", ".datasette")) and not module.name.startswith("virke.edge.guest"):
        importlib.import_module(module.name)
assert sys.modules["virke.processes"].try_lock.__qualname__.startswith(sys.argv[2]), sys.modules["virke.processes"].try_lock
with virke.connect("db", sys.argv[1], create=True, background=False) as database:
    database.execute("CREATE TABLE t (v)")
    database.change_settings({"durability": "deferred"})
    database.execute("INSERT INTO t VALUES (1)")
    database.flush()
    print(database.query("SELECT v FROM t").rows)
"""
WINDOWS = """
import errno, os, sys, types
sys.modules["fcntl"] = None
taken = {}
def locking(fd, mode, count):
    assert os.lseek(fd, 0, os.SEEK_CUR) > 1 << 30, "where nothing is read or written"
    place = os.fstat(fd).st_ino
    if mode == 0:
        assert taken.pop(place) == fd
    elif taken.setdefault(place, fd) != fd:
        raise PermissionError(errno.EACCES, "Permission denied")
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
from virke.processes import holding_lock, try_lock, unlock
one, other = (os.open(sys.argv[1], os.O_RDWR | os.O_CREAT) for _ in range(2))
with holding_lock(one):
    print(try_lock(other))
print(try_lock(other))
unlock(other)
print(taken)
"""


def python(code: str, *arguments: str) -> str:
    """What a new process prints, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def descriptors(tmp_path: Path) -> tuple[int, int]:
    """A file, opened twice."""
    path = tmp_path / "lock"
    return os.open(path, os.O_RDWR | os.O_CREAT), os.open(path, os.O_RDWR)


def test_two_descriptors_of_one_file_exclude_each_other(descriptors: tuple[int, int]) -> None:
    one, other = descriptors
    with holding_lock(one):
        assert not try_lock(other)
        assert not wait_for_lock(other, timeout_s=0)
    assert wait_for_lock(other, timeout_s=0)
    assert not try_lock(one)
    unlock(other)


def test_locks_between_threads_behave_alike(descriptors: tuple[int, int]) -> None:
    """Where the system has no locks on files; letting go of what another holds changes nothing."""
    one, other = descriptors
    locks = ThreadLocks()
    assert locks.try_lock(one)
    assert not locks.try_lock(other)
    locks.unlock(other)
    assert not locks.try_lock(other)
    locks.unlock(one)
    assert locks.try_lock(other)


def test_every_module_imports_and_the_local_store_works_without_locks_and_forks(tmp_path: Path) -> None:
    """WebAssembly has neither `fcntl` nor `os.register_at_fork`."""
    assert python(WITHOUT, str(tmp_path / "place"), "ThreadLocks.") == "[(1,)]\n"


def test_windows_locks_a_byte_that_nobody_reads(tmp_path: Path) -> None:
    """`msvcrt.locking` keeps others from reading what is locked, so it is far beyond the end."""
    assert python(WINDOWS, str(tmp_path / "lock")).split("\n") == ["False", "True", "{}", ""]
