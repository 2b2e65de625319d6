"""`python -m tests.edge.install_viceroy`: builds Fastly's simulator from source, once, into Virke's cache folder, in the pinned version.

It takes 16 minutes of the processor's time. With `--look` nothing is built; where there is none, one line says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.edge.simulator import HOW
from virke.config import cache_folder
from virke.errors import UsageError
from virke.project.viceroy import VERSION, find_viceroy

SKIPPED: Final = int(os.environ.get("SKIPPED", "77"))


def build(cargo: str, place: Path) -> None:
    """Build it and put it at `place`, whole. Raises `subprocess.CalledProcessError`: cargo said why."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as root:
        command = [cargo, "install", "viceroy", "--locked", "--version", VERSION, "--root", root]
        subprocess.run(command, check=True)
        os.replace(Path(root) / "bin" / "viceroy", place)


def main(arguments: list[str]) -> int:
    """What became of it, as an exit status."""
    try:
        print(f"Viceroy is at {find_viceroy()}")
        return 0
    except UsageError as error:
        if "--look" in arguments:
            print(f"Viceroy: {error.message}, so nothing runs on it ({HOW})")
            return SKIPPED
    cache, cargo = cache_folder(), shutil.which("cargo")
    if cache is None or cargo is None:
        print("Viceroy can't be built: " + ("there is no cargo on the PATH" if cache else "there is no cache folder"))
        return SKIPPED
    try:
        build(cargo, place := cache / "viceroy" / "viceroy")
    except subprocess.CalledProcessError as error:
        print(f"Viceroy was not built: cargo ended with {error.returncode}; its words are above")
        return 1
    print(f"Viceroy is at {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
