"""The packed `@virke/runtime` that is tracked, and what it was made of."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "js"
PACKED: Final = ROOT / "src" / "virke" / "project" / "vendor" / "virke-runtime.tgz"


def contents(tarball: Path) -> dict[str, bytes]:
    """What is in a packed package, by name."""
    with tarfile.open(tarball) as opened:
        files = {member.name.removeprefix("package/"): opened.extractfile(member) for member in opened}
        return {name: file.read() for name, file in files.items() if file}


def unpack(tarball: Path, folder: Path) -> None:
    """Put the contents of a packed package into a folder."""
    for name, data in contents(tarball).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
