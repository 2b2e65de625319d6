"""Ctrl-C: the second one ends the process at once, also while a client library waits for a store.

1. The first is Python's: `KeyboardInterrupt` when the main thread runs Python code again, so that commands clean up. A
   library that blocks outside of Python holds it back until the store answers or the request times out.
2. The second ends the process like a kill, with the exit code of an interrupted command. A store survives that at any
   moment (P1 to P3), whatever the command is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Final

EXIT_INTERRUPTED: Final = 130
_SHOW_CURSOR: Final = b"\x1b[?25h"


def end_at_second_interrupt() -> None:
    """From now on the second SIGINT ends this process; call it once, in the main thread."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # whoever started the process wants interrupts ignored
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours,), name="virke-interrupt", daemon=True).start()


def _watch(signals: int) -> None:
    """Read the numbers of signals as they arrive, whatever the main thread does meanwhile."""
    seen = 0
    while seen < 2:
        seen += os.read(signals, 1)[0] == signal.SIGINT
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR + b"\n")  # a progress bar may have hidden it
    os._exit(EXIT_INTERRUPTED)
