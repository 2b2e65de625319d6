"""`make wasi`: fetches, compiles and packs apsw for WebAssembly, and puts the wheel where `virke build` finds it."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Final

from wasi.compiling import CompileError, compile_libraries
from wasi.packing import NAME, wheel_of
from wasi.sources import SourceError, Sources, fetch

VENDOR: Final = Path(__file__).parent.parent / "src" / "virke" / "edge" / "vendor"


def build(sources: Sources, work: Path) -> Path:
    """The wheel, made in the empty folder `work`."""
    return wheel_of(compile_libraries(sources, work), sources, work)


def tracked() -> Path:
    """The wheel that is part of Virke."""
    [wheel] = VENDOR.glob(f"{NAME}-*.whl")
    return wheel


def replace(wheel: Path, folder: Path) -> Path:
    """Puts `wheel` into `folder` instead of the one of another version."""
    folder.mkdir(parents=True, exist_ok=True)
    data = wheel.read_bytes()
    for old in folder.glob(f"{NAME}-*.whl"):
        old.unlink()
    target = folder / wheel.name
    target.write_bytes(data)
    return target


def main() -> int:
    """Exit status 1, with what failed, if there is no wheel in the end."""
    parser = argparse.ArgumentParser(prog="make wasi", description=__doc__)
    parser.add_argument("--into", type=Path, default=VENDOR, help="the folder that gets the wheel")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="virke-wasi-") as temporary:
        folder = Path(temporary)
        work = folder / "work"
        work.mkdir()
        try:
            made = replace(build(fetch(folder), work), arguments.into)
        except (SourceError, CompileError) as error:
            print(f"make wasi: {error}", file=sys.stderr)
            return 1
    print(f"{made} {made.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(made.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
