"""The command `python -m bench [NAME ...] [--json] [--write FILE]`: names are budgets, such as `B1 B6`; none means all.

Exits with 0 whatever the verdicts say: a time is a matter of the machine. What is counted is asserted by
tests/bench/test_budgets.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
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
    b18_memory,
    deferred_writes,
    slow_clients,
)
from bench.figures import page
from bench.report import Figure, as_json, machine, table

BENCHMARKS: Final[dict[str, Callable[[], list[Figure]]]] = {
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
    "B11": b11_whole_image.run,
    "EDGE": b11_edge.run,
    "B12": b12_imports.run,
    "B13": b13_pace.run,
    "DEFERRED": deferred_writes.run,
    "B14": b14_larger_databases.run,
    "B15": b15_group_commit.run,
    "B16": b16_processes.run,
    "B17": b17_commits.run,
    "HISTORY": b17_history.run,
    "BULK": b17_bulk.run,
    "B18": b18_memory.run,
    "SLOW": slow_clients.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that were asked for and print what they found."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Virke's budgets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this page (docs/figures.md)")
    asked = parser.parse_args(arguments)
    names = [name.upper() for name in asked.names] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]}; known: {', '.join(BENCHMARKS)}")
    found: dict[str, list[Figure]] = {}
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        found[name] = BENCHMARKS[name]()
        if asked.write:  # at once: a run of all takes long, and may be stopped
            text = asked.write.read_text(encoding="utf-8") if asked.write.exists() else ""
            day = time.strftime("%Y-%m-%d")
            new = page(text, {name: found[name]}, order=list(BENCHMARKS), day=day, machine=machine())
            asked.write.write_text(new, encoding="utf-8")
    figures = [figure for each in found.values() for figure in each]
    print(as_json(figures) if asked.json else f"{machine()}\n\n{table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
