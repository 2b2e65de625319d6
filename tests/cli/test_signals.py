"""Signals end a command: it cleans up, and its exit code says which one it was."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Virke, start
from tests.cli.test_start import ENVIRON
from tests.servers.s3 import CREDENTIALS
from virke.cli.interrupts import Ended
from virke.transfer.leftovers import GRACE_S, PREFIX, remove_leftovers

LINE = b"SELECT 1;\n" * 1000


def importing(folder: Path, *, ignored: signal.Signals | None = None) -> subprocess.Popen[bytes]:
    """An import of standard input that is in the middle of it: something of it is in the folder for temporary files."""
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
    assert process.stdin
    while not any(path.stat().st_size for path in temporary.glob("virke-*/input")):
        process.stdin.write(LINE)
    return process


@pytest.mark.parametrize(
    ("number", "err"),
    [(signal.SIGTERM, b""), (signal.SIGHUP, b""), (signal.SIGINT, b"\n")],
    ids=lambda value: str(value),
)
def test_p11_an_import_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, err: bytes) -> None:
    """As systemd, `docker stop`, `timeout` and a terminal that closes do it."""
    process = importing(tmp_path)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert (process.stdout and process.stdout.read(), process.stderr and process.stderr.read()) == (b"", err)
    assert list((tmp_path / "tmp").iterdir()) == []
    with suppress(BrokenPipeError):
        process.communicate()


BLOCKED = """
import os, signal
from virke.cli.interrupts import Ended, end_by_signals
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


def test_p11_what_a_killed_import_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is an hour old; not while its process lives, and nothing that an import does not make."""
    process = importing(tmp_path)
    temporary = tmp_path / "tmp"
    [left] = temporary.iterdir()
    hour_later_s = left.stat().st_mtime + GRACE_S + 1
    remove_leftovers(temporary, hour_later_s)
    assert (left / "input").exists(), "its process lives"
    process.kill()
    process.communicate()
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
    process = importing(tmp_path, ignored=signal.SIGHUP)
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

    monkeypatch.setattr("virke.cli.opening.load", aborted)
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
