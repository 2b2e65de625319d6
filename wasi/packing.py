"""Packs the libraries into a wheel whose bytes depend on its files only: fixed dates, fixed order, not compressed."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wasi.sources import Sources

NAME: Final = "virke_edge"
TAG: Final = "cp314-cp314-wasi_wasm32"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3


def wheel_of(libraries: Sequence[Path], sources: Sources, folder: Path) -> Path:
    """The wheel, in `folder`; its version is apsw's."""
    version = sources.apsw.name.removeprefix("apsw-")
    info = f"{NAME}-{version}.dist-info"
    files = {
        **{library.name: library.read_bytes() for library in libraries},
        f"{info}/METADATA": _metadata(version),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: virke\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode(),
        f"{info}/licenses/LICENSE": (sources.apsw / "LICENSE").read_bytes(),
        f"{info}/licenses/COPYING.libdeflate": (sources.libdeflate / "COPYING").read_bytes(),
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    target = folder / f"{NAME}-{version}-{TAG}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as pack:  # what deflate writes depends on the version of zlib
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = _UNIX
            entry.external_attr = 0o100644 << 16
            pack.writestr(entry, data)
    return target


def _metadata(version: str) -> bytes:
    return (
        "Metadata-Version: 2.4\n"
        "Name: virke-edge\n"
        f"Version: {version}\n"
        "Summary: apsw and SQLite as a shared library for Python components (WASI), for Virke at the edge.\n"
        "License-File: LICENSE\n"
        "License-File: COPYING.libdeflate\n"
        "Requires-Python: ==3.14.*\n"
    ).encode()


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return ("".join(lines) + f"{own},,\n").encode()
