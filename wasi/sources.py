"""Fetches what the build is made of: through pip, cargo and Maven, each from the index that is configured for it.

1. No host is named here or in the files beside this one.
2. Each thing has its hash in this folder: pip checks requirements.txt, cargo Cargo.lock, `headers` the jar.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
JAR: Final = "org.bytedeco:cpython:3.14.3-1.5.13:jar:linux-x86_64"
"""CPython 3.14 as others packed it: its headers, and its standard library for the tests inside WebAssembly."""
JAR_SHA256: Final = "eb5f1a6fe2dc498ac18927189a37f28a47b0ba06ae6bd85112eff023fe2eb46f"
_IN_JAR: Final = "org/bytedeco/cpython/linux-x86_64"
HEADERS: Final = f"{_IN_JAR}/include/python3.14"
STDLIB: Final = f"{_IN_JAR}/lib/python3.14"
TOOLS: Final = ("cargo", "mvn")
_OTHER: Final = ("DO NOT MATCH THE HASHES", "checksum for", "checksum of", "cannot update the lock file")
"""What pip and cargo say if something is there and is not what is pinned."""


class SourceError(Exception):
    """A source is not the one that is pinned."""


class SourceUnavailable(SourceError):
    """A source could not be had here: a program or an index is missing."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are after `fetch`."""

    apsw: Path
    sqlite: Path
    libdeflate: Path
    headers: Path
    compiler: Path


def missing_tools() -> list[str]:
    """The programs that are not on this machine."""
    return [name for name in TOOLS if shutil.which(name) is None]


def fetch(folder: Path) -> Sources:
    """Everything that the build needs, in `folder`. Raises `SourceError`."""
    if missing := missing_tools():
        raise SourceUnavailable(f"the build needs {' and '.join(missing)}, from the system's packages")
    pip_folder = folder / "pip"
    requirements = ["--require-hashes", "--requirement", str(HERE / "requirements.txt")]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(
        [*pip, "download", "--no-deps", "--no-build-isolation", "--dest", str(pip_folder), *requirements],
        folder,
        PYTHONPATH=str(HERE / "metadata"),
    )
    crates = _vendored(folder)
    return Sources(
        apsw=_unpacked_sdist(_only(pip_folder, "apsw-*.tar.gz"), folder),
        sqlite=crates / "libsqlite3-sys" / "sqlite3",
        libdeflate=crates / "libdeflate-sys" / "libdeflate",
        headers=_unzipped(jar(folder), HEADERS, folder / "python"),
        compiler=_compiler(_only(pip_folder, "ziglang-*.whl"), folder),
    )


def jar(folder: Path) -> Path:
    """The jar with CPython, in `folder`, checked."""
    goal = ["dependency:copy", f"-Dartifact={JAR}", f"-DoutputDirectory={folder}"]
    run(["mvn", "--quiet", "--batch-mode", *goal], folder)
    found = _only(folder, "cpython-*.jar")
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest != JAR_SHA256:
        raise SourceError(f"{found.name} has SHA-256 {digest}, and {JAR_SHA256} is pinned")
    return found


def standard_library(folder: Path) -> Path:
    """Python's own modules as sources, in `folder`: what the tests inside WebAssembly import."""
    return _unzipped(jar(folder), STDLIB, folder / "python")


def run(command: list[str], folder: Path, **extra: str) -> None:
    """A program that fetches, in `folder`. Raises `SourceUnavailable`, or `SourceError` if what came is not what is pinned."""
    if shutil.which(command[0]) is None:
        raise SourceUnavailable(f"there is no {command[0]} here, from the system's packages")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **extra}, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        kind = SourceError if any(word in said for word in _OTHER) else SourceUnavailable
        raise kind(f"`{' '.join(command[:4])} …` failed with status {done.returncode}:\n{said}")


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise SourceError(f"expected one {pattern} and found {len(found)}")
    return found[0]


def _unpacked_sdist(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _vendored(folder: Path) -> Path:
    project = folder / "cargo"
    project.mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copyfile(HERE / name, project / name)
    (project / "none.rs").touch()
    run(["cargo", "vendor", "--quiet", "--locked", "vendor"], project)
    return project / "vendor"


def _unzipped(archive: Path, inside: str, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as pack:
        pack.extractall(folder, [name for name in pack.namelist() if name.startswith(f"{inside}/")])
    return folder / inside


def _compiler(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as pack:
        pack.extractall(folder / "compiler")
    zig = folder / "compiler" / "ziglang" / "zig"
    zig.chmod(0o755)
    return zig
