"""B12: what starting costs, in fresh processes against one that does nothing, taking turns."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from bench.report import Figure

ROUNDS: Final = 15
IMPORT_MS_MOST: Final = 30
HELP_MS_MOST: Final = 150
NOTHING: Final = (sys.executable, "-c", "pass")
IMPORT: Final = (sys.executable, "-c", "import virke")
CONNECT: Final = (sys.executable, "-c", "from virke import connect")
HELP: Final = (sys.executable, "-c", "from virke.cli.main import main; main()", "--help")
_LOADED: Final = "import sys; print('\\n'.join(sys.modules))"


def wall_ms(command: Sequence[str]) -> float:
    """How long one run of `command` takes, in milliseconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def modules(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{_LOADED}"], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def run() -> list[Figure]:
    """Milliseconds above the bare interpreter, as the difference of medians."""
    commands = (NOTHING, IMPORT, HELP, CONNECT)
    times: dict[Sequence[str], list[float]] = {command: [] for command in commands}
    for command in commands:
        wall_ms(command)
    for _ in range(ROUNDS):
        for command in commands:
            times[command].append(wall_ms(command))
    nothing, imported, helped, connected = (statistics.median(times[command]) for command in commands)
    return [
        Figure("B12", "import virke", imported - nothing, "ms", at_most=IMPORT_MS_MOST),
        Figure("B12", "virke --help", helped - nothing, "ms", at_most=HELP_MS_MOST),
        Figure("B12", "from virke import connect", connected - nothing, "ms"),
        Figure("B12", "virke --help against an empty process", helped / nothing, "×"),
    ]
