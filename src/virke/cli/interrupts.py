"""Signals that end a command: Ctrl-C, SIGTERM (systemd, docker stop, timeout) and SIGHUP (the terminal has gone).

1. The first is `Ended` (or, for Ctrl-C, Python's own `KeyboardInterrupt`) when the main thread runs Python code again, so
   that commands clean up: no temporary file stays. A library that blocks outside of Python holds it back until the store
   answers or the request times out. A read that Python itself waits for doesn't: a signal that came just before it, or to
   another thread, would not wake it, so the main thread is nudged.
2. The second, whichever it is, ends the process like a kill, with the exit code of an interrupted command. A store
   survives that at any moment (P1 to P3), whatever the command is.
3. The exit code is 128 and the signal's number: 130, 143, 129. A signal that was ignored when the process began (as
   `nohup` ignores SIGHUP) stays ignored.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import Final

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
_SHOW_CURSOR: Final = b"\x1b[?25h"
_NUDGE_S: Final = 0.05
_NUDGES_MAX: Final = 100
_seen = 0
"""How many signals came that were not heeded."""
_ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the command to end; whatever cleans up after Ctrl-C cleans up after it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a command that `error` ended, by the signal behind it."""
    while error is not None and not isinstance(error, Ended):
        error = error.__context__  # click makes its own error of an interrupt at a prompt
    return 128 + error.number if error is not None else EXIT_INTERRUPTED


def end_by_signals() -> None:
    """From now on signals end this process as the module says; call it once, in the main thread."""
    heard = {signal.SIGINT} if signal.getsignal(signal.SIGINT) is signal.default_int_handler else set()
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
            heard.add(number)
    if not heard:
        return  # whoever started the process wants all of them ignored
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    if hasattr(signal, "pthread_kill"):
        signal.signal(signal.SIGURG, _nudged)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    arguments = (ours, frozenset(heard), threading.get_ident())
    threading.Thread(target=_watch, args=arguments, name="virke-signals", daemon=True).start()


def heeded() -> None:
    """A Ctrl-C did what it was for, and the command goes on: the next signal is the first again."""
    global _seen
    _seen = 0


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def _nudged(number: int, frame: FrameType | None) -> None:
    """What waits in the main thread was woken, and the handlers of other signals have run: that is all."""


def _watch(signals: int, heard: frozenset[int], main_thread: int) -> None:
    """Read the numbers of signals as they arrive, whatever the main thread does meanwhile, and see that it meets the first."""
    global _seen
    nudges = 0
    number = int(signal.SIGINT)
    while _seen < 2:
        is_nudging = _seen and nudges < _NUDGES_MAX and hasattr(signal, "pthread_kill")
        if is_nudging and not select.select([signals], [], [], _NUDGE_S)[0]:
            signal.pthread_kill(main_thread, signal.SIGURG)
            nudges += 1
            continue
        number = os.read(signals, 1)[0]
        if number in heard:
            _seen += 1
            nudges = 0 if _seen == 1 else nudges
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR + b"\n")  # a progress bar may have hidden it
    os._exit(128 + number)
