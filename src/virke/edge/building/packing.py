"""The package that Fastly takes: `NAME/fastly.toml` and `NAME/bin/main.wasm`, as `fastly compute pack` lays them.

Knows its layout; knows nothing of what is in the program.

1. The same program and manifest give the same bytes: no clock, no user and no order of a folder is in them.
2. A package that is there is whole: it is written next to its place, and moved there.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Final

MANIFEST: Final = "fastly.toml"
PROGRAM: Final = "bin/main.wasm"
_LEVEL: Final = 6


def manifest_of(folder: Path, name: str, language: str) -> bytes:
    """The `fastly.toml` of a project, else one that says what a package must say."""
    own = folder / MANIFEST
    if own.is_file():
        return own.read_bytes()
    return f"manifest_version = 3\nname = {json.dumps(name)}\nlanguage = {json.dumps(language)}\n".encode()


def pack_program(package: Path, name: str, program: Path, manifest: bytes) -> None:
    """Write the package of a program."""
    package.parent.mkdir(parents=True, exist_ok=True)
    new = package.with_name(f".{package.name}.new")
    with (
        new.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for folder in (name, f"{name}/bin"):
            archive.addfile(_archive_entry(folder, 0o755, tarfile.DIRTYPE))
        for path, content in ((f"{name}/{PROGRAM}", program.read_bytes()), (f"{name}/{MANIFEST}", manifest)):
            archive.addfile(_archive_entry(path, 0o644, tarfile.REGTYPE, len(content)), io.BytesIO(content))
    os.replace(new, package)


def _archive_entry(path: str, mode: int, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type, entry.size = mode, kind, size
    entry.uname = entry.gname = "root"
    return entry
