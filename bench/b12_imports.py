"""B12: what starting costs, in fresh processes against one that does nothing, taking turns."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Final

from bench.report import Figure

ROUNDS: Final = 15
IMPORT_MS_MOST: Final = 30
HELP_MS_MOST: Final = 150
CONNECT_MS_MOST: Final = 80
SELECT_TIMES_MOST: Final = 8
NOTHING: Final = (sys.executable, "-c", "pass")
IMPORT: Final = (sys.executable, "-c", "import virke")
CONNECT: Final = (sys.executable, "-c", "from virke import connect")
MAIN: Final = (sys.executable, "-c", "from virke.cli.main import main; main()")
HELP: Final = (*MAIN, "--help")
_LOADED: Final = "import sys; print('\\n'.join(sys.modules))"


def wall_ms(command: Sequence[str]) -> float:
    """How long one run of `command` takes, in milliseconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def cpu_ms(command: Sequence[str], folder: str) -> float:
    """How much CPU one run of `command` in `folder` takes, in milliseconds: user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def select_times() -> float:
    """The CPU of `virke db query "select 1"` on a local store against an empty process, as medians of turns."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run((*MAIN, "db", "create", "app"), check=True, stdout=subprocess.DEVNULL, cwd=folder)
        select = (*MAIN, "db", "query", "select 1", "--db", "app")
        turns = [(cpu_ms(NOTHING, folder), cpu_ms(select, folder)) for _ in range(ROUNDS)]
    return statistics.median(selected for _, selected in turns) / statistics.median(nothing for nothing, _ in turns)


def modules(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{_LOADED}"], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def run() -> list[Figure]:
    """Milliseconds above the bare interpreter, as the difference of medians; CPU of a query as a ratio to it."""
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
        Figure("B12", "from virke import connect", connected - nothing, "ms", at_most=CONNECT_MS_MOST),
        Figure("B12", "virke --help against an empty process", helped / nothing, "×"),
        Figure("B12", 'CPU of `virke db query "select 1"`', select_times(), "×", at_most=SELECT_TIMES_MOST),
    ]
