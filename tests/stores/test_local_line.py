"""Processes that write to one local store queue: in turn, and none is kept waiting by the dead."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.stores.test_local import worker
from virke.stores.base import Line
from virke.stores.local.store import local_store

WAIT_S = 60.0


def line_of(folder: Path) -> Line:
    """The line of a store in `folder`, opened once more."""
    line = local_store(folder).line
    assert line is not None
    return line


def test_l1_processes_that_never_pause_come_to_the_front_in_turn(tmp_path: Path) -> None:
    """Four loops of 100 rounds: when half of all rounds are done, each loop has had a fair part of them."""
    names = "abcd"
    processes = [worker("stand", tmp_path, f"{name},{tmp_path},100") for name in names]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    rounds = (tmp_path / "log").read_text()
    assert Counter(rounds) == dict.fromkeys(names, 100)
    assert min(Counter(rounds[:200])[name] for name in names) >= 30, rounds


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_l1_the_death_of_the_first_lets_the_next_one_through(tmp_path: Path, how: str) -> None:
    """Killed at the front; a child of it, forked there and still alive, keeps nothing."""
    process = worker("stay", tmp_path, how)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    line = line_of(tmp_path)
    with line("k", 0.0) as is_first:
        assert not is_first
    process.kill()
    process.wait()
    process.stdout.close()
    try:
        with line("k", WAIT_S) as is_first:
            assert is_first
    finally:
        if how == "fork":
            os.kill(child, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_l1_a_child_stands_in_line_itself(tmp_path: Path) -> None:
    """Its parent stays first while the child comes, leaves its copy of the block, and ends."""
    line = line_of(tmp_path)
    with line("k", WAIT_S) as is_first:
        assert is_first
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            with line("k", 0.0) as child_is_first, line("other", 0.0) as is_first_elsewhere:
                pass
    if child == 0:
        with line("k", 0.0) as is_first_after:
            os._exit([child_is_first, is_first_elsewhere, is_first_after] != [False, True, False])
    with line("k", 0.0) as is_first:
        assert is_first


def test_l1_without_a_folder_there_is_no_line(tmp_path: Path) -> None:
    """The answer is no, at once, and nothing is made."""
    line = local_store(tmp_path / "nothing", create=False).line
    assert line is not None
    with line("k", WAIT_S) as is_first:
        assert not is_first
    assert list(tmp_path.iterdir()) == []


def test_l1_files_that_were_removed_are_made_again(tmp_path: Path) -> None:
    """With the folder; who kept the old ones open stands in the new line."""
    one, other = line_of(tmp_path), line_of(tmp_path)
    with one("k", 0.0) as is_first:
        assert is_first
    (tmp_path / "line").rename(tmp_path / "old")
    with other("k", 0.0) as is_first, one("k", 0.0) as second:
        assert [is_first, second] == [True, False]


def test_l1_lines_of_many_keys_keep_few_files_open(tmp_path: Path) -> None:
    """Those of one key, whichever was last."""
    line = line_of(tmp_path)
    for number in range(20):
        with line(f"k{number}", 0.0) as is_first:
            assert is_first
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_link(name)]
    assert len([link for link in links if link.startswith(str(tmp_path))]) <= 5


def _is_link(name: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{name}")
