"""The parent of a machine's workers: starts them on one listening socket, starts again who dies, ends all cleanly.

Knows processes, signals and pipes; knows no request and no store.

1. The socket is the parent's, and the workers share it: a connection that a dead worker had not taken yet is another's.
2. A worker says that it is ready by a byte; the parent does so when all are. One that ends before it was ready ends all.
3. SIGTERM and SIGINT are passed on, a second one too; the parent ends when all workers have, and removes their folder.
4. A worker holds one end of a pipe whose other end only the parent has: when that closes, the parent is gone, however it
   went, and the worker ends.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass
from virke.node.workers.crew import Crew
from virke.stores.watched import make_stamps

log: Final = logging.getLogger("virke.node.workers")
PATH_MAX: Final = 90
"""Of a Unix socket: systems allow 104 bytes and more."""
EARLY_S: Final = 2.0
PAUSE_S: Final = 0.5
"""One that dies so early is started again after a pause."""
_NOT_READY: Final = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""How one ends that is asked to before it serves."""
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Berth:
    """What a worker gets from its parent: who it is, and the descriptors of socket, readiness and the parent's life."""

    crew: Crew
    listening_fd: int
    ready_fd: int
    alive_fd: int

    def __str__(self) -> str:
        fds = f"{self.listening_fd}:{self.ready_fd}:{self.alive_fd}"
        return f"{self.crew.index}/{self.crew.count}:{fds}:{self.crew.folder}"

    @classmethod
    def of(cls, text: str) -> Berth:
        """What `str` of one says. Raises `UsageError`."""
        try:
            place, listening, ready, alive, folder = text.split(":", 4)
            index, _, count = place.partition("/")
            return cls(Crew(int(index), int(count), Path(folder)), int(listening), int(ready), int(alive))
        except ValueError as error:
            raise UsageError(f"this is not what a parent says to its worker: {text}") from error

    def take(self) -> socket.socket:
        """The listening socket."""
        return socket.socket(fileno=self.listening_fd)

    def say_ready(self) -> None:
        """Tell the parent."""
        os.write(self.ready_fd, b"!")
        os.close(self.ready_fd)


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    ready_fd: int
    began_s: float


class Supervisor:
    """The workers of one address. `command` makes the command line of one from its berth."""

    def __init__(
        self, count: int, listening: socket.socket, command: Callable[[Berth], list[str]], environ: Mapping[str, str]
    ) -> None:
        self._count = count
        self._listening = listening
        self._command = command
        self._environ = environ
        self._folder = Path()
        self._alive = (-1, -1)
        self._signals = -1
        self._workers: list[_Worker] = []

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers, call `ready` when all are, and return when all have ended: the exit code."""
        self._hear_signals()
        self._folder = _private_folder()
        make_stamps(self._folder)
        self._alive = os.pipe()
        try:
            self._workers = [self._start_worker(index) for index in range(self._count)]
            code = self._wait_until_ready()
            if code is not None:
                return code
            ready()
            return self._watch()
        finally:
            self._end_all()
            for fd in self._alive:
                os.close(fd)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _hear_signals(self) -> None:
        """From now on the numbers of signals come to `_signals`, whichever thread the system gives them to."""
        self._signals, theirs = os.pipe()
        os.set_blocking(theirs, False)
        signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        for number in (*_ENDING, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:
                signal.signal(number, lambda *_: None)

    def _start_worker(self, index: int) -> _Worker:
        ours, theirs = os.pipe()
        berth = Berth(Crew(index, self._count, self._folder), self._listening.fileno(), theirs, self._alive[0])
        process = subprocess.Popen(
            self._command(berth),
            env=self._environ,
            pass_fds=(berth.listening_fd, theirs, berth.alive_fd),
            process_group=0,  # the terminal's signals are the parent's to pass on
        )
        os.close(theirs)
        return _Worker(process, ours, time.monotonic())

    def _wait_until_ready(self) -> int | None:
        """Until all are; the exit code if one ended before it was, or a signal came."""
        waiting = {worker.ready_fd: worker.process for worker in self._workers}
        while waiting:
            readable, _, _ = select.select([*waiting, self._signals], [], [])
            for fd in readable:
                if fd == self._signals:
                    if os.read(fd, 1)[0] in _ENDING:
                        return 0
                elif os.read(fd, 1):
                    del waiting[fd]
                else:
                    return waiting[fd].wait() or 1
        return None

    def _watch(self) -> int:
        """Until a signal ends it, and all workers have ended."""
        told, living = 0, list[subprocess.Popen[bytes]]()
        self._replace_dead()
        while True:
            [number] = os.read(self._signals, 1)
            if number in _ENDING:
                told += 1
                if told == 1:
                    living = [worker.process for worker in self._workers if worker.process.poll() is None]
                for worker in self._workers:
                    worker.process.send_signal(signal.SIGTERM)
            elif number == signal.SIGCHLD and not told:
                self._replace_dead()
            if told and all(worker.process.poll() is not None for worker in self._workers):
                codes = [process.returncode for process in living]
                return max((abs(code) for code in codes if told > 1 or code not in _NOT_READY), default=0)

    def _replace_dead(self) -> None:
        for index, worker in enumerate(self._workers):
            if worker.process.poll() is not None:
                self._replace(index, worker)

    def _replace(self, index: int, dead: _Worker) -> None:
        code = dead.process.returncode
        log.warning("worker %d ended with %d; it is started again", index, code)
        os.close(dead.ready_fd)
        if time.monotonic() < dead.began_s + EARLY_S:
            time.sleep(PAUSE_S)
        self._workers[index] = self._start_worker(index)

    def _end_all(self) -> None:
        """End those that still run."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.wait()
            os.close(worker.ready_fd)


def _private_folder() -> Path:
    """A new folder that is this user's alone, with a path short enough for sockets in it. Raises `OSError`."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="virke-", dir=usual if len(usual) < PATH_MAX - 30 else "/tmp"))
