"""The command of `run`: one line for each place; exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import pytest

from tests.blackbox.places import PLACES, prepare
from tests.blackbox.run import run_place


def main() -> int:
    """Run on the places that are named, or on all."""
    parser = argparse.ArgumentParser(prog="python -m tests.blackbox")
    parser.add_argument("places", nargs="*", metavar="PLACE", help=f"of {', '.join(PLACES)}; all without it")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if unknown := set(options.places) - set(PLACES):
        parser.error(f"unknown place: {', '.join(sorted(unknown))}; there are {', '.join(PLACES)}")
    faults = 0
    for name in options.places or PLACES:
        with tempfile.TemporaryDirectory(prefix="virke-") as folder, pytest.MonkeyPatch.context() as patch:
            prepare(name, Path(folder), patch)
            outcome = run_place(name, Path(folder), seconds=options.seconds, seed=options.seed)
        print(outcome, *outcome.faults[:20], sep="\n  ", flush=True)
        faults += len(outcome.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
