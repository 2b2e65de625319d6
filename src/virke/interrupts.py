"""Signals that end a command: Ctrl-C, SIGTERM (systemd, docker stop, timeout) and SIGHUP (the terminal has gone).

1. The first is `Ended` (or, for Ctrl-C, `Interrupted`) when the main thread runs Python code again, so that commands clean
   up: no temporary file stays. A library that blocks outside of Python holds it back until the store answers or the request
   times out. A read that Python itself waits for doesn't: a signal that came just before it, or to another thread, would
   not wake it, so the main thread is nudged.
2. An exception that nobody met is raised again. Where a signal falls is chance, and in finalizers and in callbacks of
   libraries (those of SQLite's files that can't fail, for instance) what is raised is dropped, and the command would go on.
   The exception is dropped when the last reference to it is: its own finalizer tells. Who takes it for good says `met`.
3. The second, whichever it is, ends the process like a kill, with the exit code of an interrupted command: the thread that
   watches does that, and the main thread raises nothing for it. A store survives that at any moment (P1 to P3), whatever
   the command is. SIGTERM or SIGHUP twice within `ONE_S` is one: `timeout` sends its own to the process and then to the
   process's group.
4. A process that was asked to end does so without the interpreter's teardown: threads that still wait, and what goes wrong
   when an interpreter is taken apart, hold nothing back. What was registered with `atexit` runs.
5. The exit code is 128 and the signal's number: 130, 143, 129. A signal that was ignored when the process began (as
   `nohup` ignores SIGHUP) stays ignored.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Final, NoReturn

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
_SHOW_CURSOR: Final = b"\x1b[?25h"
ONE_S: Final = 0.1
_NUDGE_S: Final = 0.05
_NUDGES_MAX: Final = 100
_ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_NO_SIGNAL: Final = b"\0"
_HEEDED: Final = b"\xff"
"""In the line of signals: those before it were heeded, also where nobody had counted them yet."""
_seen = 0
"""How many signals came that were not heeded."""
_raised = _met = 0
"""How many exceptions were raised, and up to which one they were met."""
_lost: int | None = None
"""The signal of an exception that was dropped."""
_first: int | None = None
"""The signal that the main thread was given and nobody heeded."""
_holds = 0
_postponed: int | None = None
"""The signal that came in a block that is held."""
_pipe = -1
"""Where the numbers of signals are written, once they end this process."""
_is_over = False


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end: Ctrl-C, if it is no `Ended`."""

    def __init__(self, number: int, turn: int = 0) -> None:
        super().__init__()
        self.number = number
        self._turn = turn

    def __del__(self) -> None:
        if self._turn > _met:
            _lose_signal(self.number)


class Ended(Interrupted):
    """A signal other than Ctrl-C asked the command to end; whatever cleans up after Ctrl-C cleans up after it."""


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a command that `error` ended, by the signal behind it."""
    while error is not None and not isinstance(error, Ended):
        error = error.__context__  # click makes its own error of an interrupt at a prompt
    return 128 + error.number if error is not None else EXIT_INTERRUPTED


def end_by_signals() -> None:
    """From now on signals end this process as the module says; call it once, in the main thread."""
    global _pipe
    heard = set[int]()
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end_by_signal)
            heard.add(number)
    if not heard:
        return  # whoever started the process wants all of them ignored
    ours, _pipe = os.pipe()
    os.set_blocking(_pipe, False)
    if hasattr(signal, "pthread_kill"):
        signal.signal(signal.SIGURG, _raise_lost_again)
    signal.set_wakeup_fd(_pipe, warn_on_full_buffer=False)
    sys.unraisablehook, sys.excepthook = _show_unraisable, _show_uncaught
    arguments = (ours, frozenset(heard), threading.get_ident())
    watcher = threading.Thread(target=_watch_signals, args=arguments, name="virke-signals", daemon=True)
    watcher.start()
    atexit.register(_settle_at_exit, watcher, frozenset(heard))


def run_command(command: Callable[[], NoReturn]) -> NoReturn:
    """Run what ends with `SystemExit`, and end the process; after a signal as invariant 4 says."""
    try:
        command()
    except KeyboardInterrupt as error:
        code = exit_code_of(error)
        mark_signals_met()
    except SystemExit as end:
        if not _seen and _raised == _met:
            raise
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def mark_signals_met() -> None:
    """What was raised so far has done what it was for; a second signal still ends the process."""
    global _met, _lost
    _met, _lost = _raised, None


def mark_signal_heeded() -> None:
    """A Ctrl-C did what it was for, and the command goes on: the next signal is the first again."""
    global _seen, _first
    mark_signals_met()
    _seen, _first = 0, None
    with suppress(OSError):
        os.write(_pipe, _HEEDED)


@contextmanager
def holding_signals() -> Iterator[None]:
    """A block in the main thread that no first signal cuts in two; one that came meanwhile is raised at its end."""
    global _holds, _postponed
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
        if not _holds and _postponed is not None:
            number, _postponed = _postponed, None
            _raise_interrupt(number)


def _end_by_signal(number: int, frame: FrameType | None) -> None:
    global _postponed, _first
    if _first is not None:
        return
    _first = number
    if _holds:
        _postponed = number
        return
    _raise_interrupt(number)


def _raise_interrupt(number: int) -> NoReturn:
    global _raised
    _raised += 1
    raise (Interrupted if number == signal.SIGINT else Ended)(number, _raised)  # no name for it: that would keep it


def _lose_signal(number: int) -> None:
    global _lost
    _lost = number
    with suppress(OSError):
        os.write(_pipe, _NO_SIGNAL)


def _raise_lost_again(number: int, frame: FrameType | None) -> None:
    """What waits in the main thread was woken, and the handlers of other signals have run; what was lost is raised again."""
    global _lost
    if _lost is not None and not _holds:
        again, _lost = _lost, None
        _raise_interrupt(again)


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Say nothing of what will be raised again (invariant 2)."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)


def _show_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """As `_show_unraisable`: some libraries show here what a callback may not raise."""
    if not isinstance(error, Interrupted):
        sys.__excepthook__(kind, error, traceback)


def _are_one(before: tuple[int, float] | None, now: tuple[int, float]) -> bool:
    """Of Ctrl-C each counts: a person presses it."""
    return before is not None and before[0] == now[0] != signal.SIGINT and now[1] - before[1] < ONE_S


def _watch_signals(signals: int, heard: frozenset[int], main_thread: int) -> None:
    """Read the numbers of signals as they arrive, whatever the main thread does meanwhile, and see that it meets the first."""
    global _seen
    nudges = 0
    number = int(signal.SIGINT)
    last: tuple[int, float] | None = None
    while _seen < 2:
        is_nudging = (_lost is not None or (_seen and nudges < _NUDGES_MAX)) and hasattr(signal, "pthread_kill")
        if is_nudging and not select.select([signals], [], [], _NUDGE_S)[0]:
            signal.pthread_kill(main_thread, signal.SIGURG)
            nudges += 1
            continue
        number = os.read(signals, 1)[0]
        if _is_over:
            return
        if number == _HEEDED[0]:
            _seen, last = 0, None
        elif number in heard:
            now = number, time.monotonic()
            if _are_one(last, now):
                continue
            last = now
            _seen += 1
            nudges = 0 if _seen == 1 else nudges
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR + b"\n")  # a progress bar may have hidden it
    os._exit(128 + number)


def _settle_at_exit(watcher: threading.Thread, heard: frozenset[int]) -> None:
    """From now on signals end the process as they end any other; no thread runs while the interpreter is taken apart."""
    global _is_over
    mark_signals_met()
    for number in heard:
        is_repeated = _first == number != signal.SIGINT  # what ended the command: its second comes too late
        signal.signal(number, signal.SIG_IGN if is_repeated else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    _is_over = True
    os.write(_pipe, _NO_SIGNAL)
    watcher.join()
