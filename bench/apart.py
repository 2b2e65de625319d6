"""Commands in processes of their own, and what each took: time, CPU, and the most memory that it held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VIRKE: Final = (sys.executable, "-m", "virke")


@dataclass(frozen=True, slots=True)
class Took:
    """What one command took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def took(*command: str, folder: Path, stdin: Path | None = None, stdout: Path | None = None) -> Took:
    """Run a command in a folder. Raises `RuntimeError`: it failed."""
    devnull, began_s = Path(os.devnull), time.perf_counter()
    with (stdin or devnull).open("rb") as read, (stdout or devnull).open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, stdin=read, stdout=written)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Took(time.perf_counter() - began_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def on_bench(folder: Path, *words: Sequence[str] | str) -> tuple[str, ...]:
    """`virke db …` on the database `bench` of a local store in `folder`."""
    said = [word for each in words for word in ([each] if isinstance(each, str) else each)]
    return (*VIRKE, "db", "--store", f"local:{folder}/store", "--db", "bench", *said)
