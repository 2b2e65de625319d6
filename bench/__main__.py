"""The command `python -m bench [NAME ...] [--json] [--write FILE]`: names are budgets, such as `B1 B6`; none means all.

A budget with several benchmarks runs all of them: `B17` is `COMMITS`, `HISTORY`, `BULK`, `UPLOAD` and `SHAPE`, each of which is a name as well.

Exits with 0 whatever the verdicts say: a time is a matter of the machine. What is counted is asserted by
tests/bench/test_budgets.py. A benchmark that fails leaves its rows as they were, the others run, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import (
    b01_small_commits,
    b02_large_commits,
    b03_warm_reads,
    b04_cold_lookup,
    b05_cold_scan,
    b06_read_speed,
    b07_node_reads,
    b08_node_writes,
    b09_many_nodes,
    b10_edge,
    b11_edge,
    b11_whole_image,
    b12_imports,
    b13_pace,
    b14_larger_databases,
    b15_group_commit,
    b16_processes,
    b17_bulk,
    b17_commits,
    b17_history,
    b17_shape,
    b17_upload,
    b18_large,
    b18_memory,
    deferred_writes,
    slow_clients,
)
from bench.figures import page
from bench.report import Figure, as_json, machine, table

Benchmark = Callable[[], list[Figure]]
BENCHMARKS: Final[dict[str, Benchmark]] = {
    "B1": b01_small_commits.run,
    "B2": b02_large_commits.run,
    "B3": b03_warm_reads.run,
    "B4": b04_cold_lookup.run,
    "B5": b05_cold_scan.run,
    "B6": b06_read_speed.run,
    "B7": b07_node_reads.run,
    "B8": b08_node_writes.run,
    "B9": b09_many_nodes.run,
    "B10": b10_edge.run,
    "B11 IMAGE": b11_whole_image.run,
    "B11 EDGE": b11_edge.run,
    "B12": b12_imports.run,
    "B13": b13_pace.run,
    "B14": b14_larger_databases.run,
    "B15": b15_group_commit.run,
    "B16": b16_processes.run,
    "B17 COMMITS": b17_commits.run,
    "B17 HISTORY": b17_history.run,
    "B17 BULK": b17_bulk.run,
    "B17 UPLOAD": b17_upload.run,
    "B17 SHAPE": b17_shape.run,
    "B18 MANY": b18_memory.run,
    "B18 LARGE": b18_large.run,
    "DEFERRED": deferred_writes.run,
    "SLOW": slow_clients.run,
}
"""In the order of the table. Each word of a name is one that can be asked for."""


def chosen(asked: Sequence[str]) -> list[str]:
    """The names of the benchmarks that some words ask for; no words ask for all. Raises `KeyError`: a word asks for none."""
    found = list[str]()
    for word in map(str.upper, asked):
        names = [name for name in BENCHMARKS if word in name.split()]
        if not names:
            raise KeyError(word)
        found += [name for name in names if name not in found]
    return found if asked else list(BENCHMARKS)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that were asked for and print what they found."""
    known = ", ".join(dict.fromkeys(word for name in BENCHMARKS for word in name.split()))
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Virke's budgets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {known}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this page (docs/figures.md)")
    asked = parser.parse_args(arguments)
    try:
        names = chosen(asked.names)
    except KeyError as error:
        parser.error(f"unknown benchmark {error.args[0]}; known: {known}")
    figures, failed = list[Figure](), list[str]()
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        try:
            found = BENCHMARKS[name]()
        except Exception:  # said here and at the end: a run of all takes long, and the others mean as much without it
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
        if asked.write:  # at once: a run of all may be stopped
            _write(asked.write, name, found)
        figures += found
    print(as_json(figures) if asked.json else f"{machine()}\n\n{table(figures)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _write(path: Path, name: str, found: list[Figure]) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    day = time.strftime("%Y-%m-%d")
    path.write_text(page(text, {name: found}, order=list(BENCHMARKS), day=day, machine=machine()), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
