"""Signals end a command: it cleans up, and its exit code says which one it was."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Virke, start
from tests.cli.test_start import ENVIRON
from tests.servers.s3 import CREDENTIALS
from virke.interrupts import Ended
from virke.transfer.leftovers import GRACE_S, PREFIX, remove_leftovers

LINE = b"SELECT 1;\n" * 1000


@contextmanager
def importing(folder: Path, *, ignored: signal.Signals | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """An import of standard input that is in the middle of it: something of it is in the folder for temporary files.

    Nothing of it outlives the test, whatever becomes of that: what is left to the garbage collector fails another one.
    """
    assert start("db", "create", "app", folder=folder).returncode == 0
    temporary = folder / "tmp"
    temporary.mkdir()

    def signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "db", "import", "-", "--db", "app"],
        cwd=folder,
        env=ENVIRON | {"TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=signals,
    )
    try:
        assert process.stdin
        while not any(path.stat().st_size for path in temporary.glob("virke-*/input")):
            process.stdin.write(LINE)
        yield process
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


LEFT = b"nothing of standard input was imported: an import is one commit, which was not made; run it again from the beginning\n"


@pytest.mark.parametrize(
    ("number", "err"),
    [(signal.SIGTERM, LEFT), (signal.SIGHUP, LEFT), (signal.SIGINT, b"\n" + LEFT)],
    ids=lambda value: str(value),
)
def test_p11_an_import_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, err: bytes) -> None:
    """As systemd, `docker stop`, `timeout` and a terminal that closes do it; and it says what is left to do."""
    with importing(tmp_path) as process:
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert (process.stdout and process.stdout.read(), process.stderr and process.stderr.read()) == (b"", err)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("pause_s", [0, 0.0003, 0.005])
def test_p11_the_same_signal_twice_at_once_is_one(tmp_path: Path, pause_s: float) -> None:
    """`timeout` sends it to the process, then to the group that the process is in."""
    with importing(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(pause_s)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == LEFT
    assert list((tmp_path / "tmp").iterdir()) == []


OFTEN = """
import os, time
from virke.interrupts import end_by_signals

end_by_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(60)
"""


def test_a_signal_that_comes_again_and_again_is_not_one_for_ever() -> None:
    with subprocess.Popen([sys.executable, "-c", OFTEN], env=ENVIRON, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        for _ in range(2000):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.03)  # less than what makes two of them one
                break
        process.kill()
        assert process.wait(60) == 128 + signal.SIGTERM


ONCE = """
import signal, time
from virke import interrupts

interrupts._watch_signals = lambda *arguments: None  # as if it had not run yet
interrupts.end_by_signals()
raised = 0
for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    try:
        signal.raise_signal(number)
        time.sleep(2 * interrupts.ONE_S)
    except KeyboardInterrupt:
        raised += 1
print(raised, flush=True)
"""


def test_a_second_signal_raises_nothing_in_the_main_thread() -> None:
    """It ends the process; what was raised before that would end it with another exit code, and a traceback."""
    assert python(ONCE) == (0, "1\n", "")


BLOCKED = """
import os, signal
from virke.interrupts import Ended, end_by_signals
end_by_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
try:
    print("ready", flush=True)
    os.read(0, 1)
except Ended as end:
    print(end.number)
"""


def test_a_signal_that_another_thread_met_ends_what_the_main_thread_waits_for(tmp_path: Path) -> None:
    """Nor does one that came just before a read is begun wake that read by itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED], env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, "its standard input is still open"
    assert process.communicate(timeout=60)[0] == f"{int(signal.SIGTERM)}\n"


DROPPED = """
import os, signal, sys
from virke.interrupts import Interrupted, end_by_signals

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000):
            pass

end_by_signals()
try:
    Dropping()
    print("ready", flush=True)
    os.read(0, 1)
except Interrupted as end:
    print(end.number)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_falls_where_python_drops_what_is_raised_is_raised_again(number: signal.Signals) -> None:
    """In a finalizer, and in callbacks of libraries; nothing is said of it."""
    assert python(DROPPED, str(int(number))) == (0, f"ready\n{int(number)}\n", "")


MET = """
import os, signal, time
from virke.interrupts import Interrupted, end_by_signals, mark_signals_met

end_by_signals()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except Interrupted:
    mark_signals_met()
    print("met", flush=True)
time.sleep(0.3)  # several times as long as it takes to raise it again
print("once")
"""


def test_a_signal_that_was_met_is_raised_once() -> None:
    assert python(MET) == (0, "met\nonce\n", "")


COUNTED_LATE = """
import os, signal, time

def late(fd, size, read=os.read):
    data = read(fd, size)
    time.sleep(waits.pop(0) if waits else 0)
    return data

waits = [0.3]  # the first is counted after it was heeded, the second before

os.read = late
from virke.interrupts import Interrupted, end_by_signals, mark_signal_heeded

end_by_signals()
for wait_s in (0, 0.3):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except Interrupted:
        time.sleep(wait_s)
        mark_signal_heeded()
        print("heeded", flush=True)
    time.sleep(1)
"""


def test_a_signal_that_was_heeded_is_the_first_of_no_two_however_late_it_is_counted() -> None:
    """As where a statement keeps the interpreter busy: Ctrl-C cancels it, and the next one cancels the next."""
    assert python(COUNTED_LATE) == (0, "heeded\n" * 2, "")


WAITED_FOR = """
import atexit, os, signal, threading, time
from virke.interrupts import end_by_signals, run_command

def command():
    threading.Thread(target=time.sleep, args=(600,)).start()
    atexit.register(print, "and what is registered runs")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

end_by_signals()
run_command(command)
"""


def test_a_thread_that_does_not_end_does_not_hold_back_a_process_that_was_asked_to_end() -> None:
    assert python(WAITED_FOR) == (143, "and what is registered runs\n", "")


HELD = """
import os, signal, time
from virke.interrupts import Ended, end_by_signals, holding_signals

end_by_signals()
try:
    with holding_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        print("whole", flush=True)
    print("not reached")
except Ended as end:
    print(end.number)
"""


def test_what_is_held_is_not_cut_in_two() -> None:
    assert python(HELD) == (0, f"whole\n{int(signal.SIGTERM)}\n", "")


def python(program: str, *arguments: str) -> tuple[int, str, str]:
    """Run `program` in a process whose standard input stays open; exit code, output, errors."""

    def signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    read, write = os.pipe()
    with open(read, "rb") as stdin, open(write, "wb"):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=ENVIRON,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=signals,
        )
    return done.returncode, done.stdout, done.stderr


def test_p11_what_a_killed_import_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is an hour old; not while its process lives, and nothing that an import does not make."""
    with importing(tmp_path):
        temporary = tmp_path / "tmp"
        [left] = temporary.iterdir()
        hour_later_s = left.stat().st_mtime + GRACE_S + 1
        remove_leftovers(temporary, hour_later_s)
        assert (left / "input").exists(), "its process lives"
    remove_leftovers(temporary, hour_later_s - 2)
    assert (left / "input").exists(), "it is young"
    (left / "mine").touch()
    other = temporary / f"{PREFIX}other"
    other.mkdir(0o755)
    remove_leftovers(temporary, hour_later_s + 60)
    assert sorted(path.name for path in left.iterdir()) == ["mine"]
    (left / "mine").unlink()
    for path in (left, other):
        os.utime(path, (0, 0))
    assert start("db", "import", "-", "--db", "app", folder=tmp_path, TMPDIR=str(temporary)).returncode == 1
    assert list(temporary.iterdir()) == [other]


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    """`nohup virke db import -` goes on when its terminal closes."""
    with importing(tmp_path, ignored=signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"imported -")


def test_a_signal_that_click_meets_has_its_exit_code(
    project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a prompt click makes an error of its own from it."""

    def aborted() -> None:
        try:
            raise Ended(signal.SIGTERM)
        except KeyboardInterrupt:
            raise click.Abort from None

    monkeypatch.setattr("virke.cli.target.load_config", aborted)
    assert virke("db", "status").exit_code == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_command_that_waits_for_a_store(tmp_path: Path, number: signal.Signals) -> None:
    """A server takes the request and never answers: nothing of Python runs until the ten minutes are over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = f"s3://bucket?endpoint=http://127.0.0.1:{server.getsockname()[1]}&timeout_s=600"
        process = subprocess.Popen(
            [sys.executable, "-m", "virke.cli.main", "db", "query", "SELECT 1", "--db", "app", "--store", store],
            cwd=tmp_path,
            env=ENVIRON | CREDENTIALS | {"VIRKE_CACHE": "off"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # ignored if the tests run in the background
        )
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) != b"", "the request is under way"
            for _ in range(100):  # signals that meet are one
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                    break
            process.kill()
            assert process.communicate(timeout=60) == (b"", b"")
            assert process.returncode == 128 + number
