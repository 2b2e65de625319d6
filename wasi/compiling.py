"""Compiles apsw with SQLite, and what frames cost most of, into the shared libraries that a Python component links.

The result depends on the sources and on what is written here, not on the folder: paths are relative, nothing has a date, and the
compiler's caches start empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from wasi.sources import HERE, Sources

_SUFFIX: Final = "cpython-314-wasm32-wasi.so"
LIBRARY: Final = f"apsw.{_SUFFIX}"
FRAMES: Final = f"virke_frames.{_SUFFIX}"

FEATURES: Final = (
    "CARRAY COLUMN_METADATA DBSTAT_VTAB FTS3 FTS3_PARENTHESIS FTS4 FTS5 GEOPOLY MATH_FUNCTIONS PERCENTILE PREUPDATE_HOOK "
    "RTREE SESSION STAT4"
).split()
"""What PyPI's wheel of apsw has: a database that uses one of them natively must open at the edge as well."""
DEFINES: Final = {
    "APSW_USE_SQLITE_AMALGAMATION": 1,
    "NDEBUG": 1,
    "SQLITE_OMIT_AUTOINIT": 1,
    "SQLITE_OS_OTHER": 1,  # no files: system.c
    "SQLITE_OMIT_WAL": 1,  # needs shared memory
    "SQLITE_OMIT_LOAD_EXTENSION": 1,  # SQLite sets it for WASI anyway
    "SQLITE_MAX_MMAP_SIZE": 0,
    "SQLITE_TEMP_STORE": 3,  # always memory
    "SQLITE_THREADSAFE": 1,  # apsw refuses 0; the mutexes are those of one thread
    "SQLITE_MUTEX_NOOP": 1,
    "SQLITE_ENABLE_SETLK_TIMEOUT": 0,
    **{f"SQLITE_ENABLE_{name}": 1 for name in FEATURES},
}
_FOUR_BYTES: Final = (
    "SIZEOF_LONG SIZEOF_VOID_P SIZEOF_SIZE_T SIZEOF_UINTPTR_T SIZEOF_PTHREAD_T ALIGNOF_LONG ALIGNOF_SIZE_T"
).split()
"""Eight bytes on the machine that the headers were made for, four in WebAssembly."""


class CompileError(Exception):
    """The compiler refused, or the headers are not the expected ones."""


def compile_libraries(sources: Sources, work: Path) -> list[Path]:
    """The shared libraries, in `work`, which must be empty. Raises `CompileError`."""
    shutil.copytree(sources.apsw / "src", work / "apsw")
    shutil.copytree(sources.headers, work / "python")
    (work / "sqlite").mkdir()
    for name in ("sqlite3.c", "sqlite3.h", "sqlite3ext.h"):
        shutil.copyfile(sources.sqlite / name, work / "sqlite" / name)
    for name in ("common_defs.h", "libdeflate.h", "lib"):
        found = sources.libdeflate / name
        (shutil.copytree if found.is_dir() else shutil.copyfile)(found, _made(work / "libdeflate") / name)
    for name in ("unit.c", "system.c", "frames.c"):
        shutil.copyfile(HERE / name, work / name)
    _narrow(work / "python" / "pyconfig.h")
    _widen(work / "libdeflate" / "common_defs.h")
    defines = [f"-D{name}={value}" for name, value in DEFINES.items()]
    includes = ["-Ipython", "-Isqlite", "-Iapsw", "-I."]
    _compile(sources, work, "unit.c", LIBRARY, *defines, *includes)
    _compile(sources, work, "frames.c", FRAMES, "-DNDEBUG=1", "-Ipython", "-Ilibdeflate")
    return [work / LIBRARY, work / FRAMES]


def _widen(header: Path) -> None:
    """WebAssembly has integers of 64 bits, although its addresses have 32: libdeflate takes its bits from one."""
    text, times = re.subn(r"(?m)^typedef size_t machine_word_t;", "typedef u64 machine_word_t;", header.read_text())
    if times != 1:
        raise CompileError(f"{header.name} defines machine_word_t in {times} places; 1 was expected")
    header.write_text(text)


def _compile(sources: Sources, work: Path, unit: str, library: str, *options: str) -> None:
    target = ["-target", "wasm32-wasi", "-fPIC", "-O2", "-Wno-everything"]
    _zig(sources, work, "cc", *target, *options, "-c", unit, "-o", f"{unit}.o")
    link = ["-shared", "--experimental-pic", "--strip-all", "--unresolved-symbols=import-dynamic"]
    _zig(sources, work, "wasm-ld", *link, f"--export=PyInit_{library.split('.')[0]}", f"{unit}.o", "-o", library)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _narrow(header: Path) -> None:
    text = header.read_text()
    for name in _FOUR_BYTES:
        text, times = re.subn(rf"(?m)^#define {name} 8$", f"#define {name} 4", text)
        if times != 1:
            raise CompileError(f"{header.name} defines {name} as 8 in {times} places; 1 was expected")
    header.write_text(text)


def _zig(sources: Sources, work: Path, *arguments: str) -> None:
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(work / "cache"), "ZIG_LOCAL_CACHE_DIR": str(work / "cache")}
    done = subprocess.run(
        [str(sources.compiler), *arguments],
        cwd=work,
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise CompileError(f"`zig {arguments[0]}` failed with status {done.returncode}:\n{done.stderr[-3000:]}")
