"""The wheel with apsw for WebAssembly is what its sources make of it (decision 0031)."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw
import pytest

from wasi.build import build, replace, tracked
from wasi.compiling import FEATURES, FRAMES, LIBRARY, CompileError, compile_libraries
from wasi.packing import wheel_of
from wasi.sources import SourceError, Sources, SourceUnavailable, fetch, missing_tools, run

ROOT: Final = Path(__file__).parent.parent.parent
HEADER: Final = "".join(
    f"#define {name} 8\n"
    for name in (
        "SIZEOF_LONG SIZEOF_VOID_P SIZEOF_SIZE_T SIZEOF_UINTPTR_T SIZEOF_PTHREAD_T ALIGNOF_LONG ALIGNOF_SIZE_T"
    ).split()
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    if missing := missing_tools():
        pytest.skip(f"building apsw for WebAssembly needs {' and '.join(missing)}")
    try:
        yield fetch(tmp_path_factory.mktemp("sources"))
    except SourceUnavailable as error:
        pytest.skip(f"the sources of apsw for WebAssembly can't be had here: {str(error).splitlines()[0]}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.once
def test_the_tracked_wheel_is_what_its_sources_make(sources: Sources, tmp_path: Path) -> None:
    assert digest(build(sources, tmp_path)) == digest(tracked())


@pytest.mark.prove
def test_two_folders_make_the_same_bytes(sources: Sources, tmp_path: Path) -> None:
    made = []
    for name in ("a", "folder/with/a/longer name"):
        work = tmp_path / name
        work.mkdir(parents=True)
        made.append(build(sources, work))
    assert digest(made[0]) == digest(made[1])


def test_the_wheel_is_whole_and_has_the_version_that_is_locked() -> None:
    version = re.search(r"(?m)^apsw==(\S+)", (ROOT / "requirements.lock").read_text())
    assert version is not None
    assert tracked().name == f"virke_edge-{version[1]}-cp314-cp314-wasi_wasm32.whl"
    with zipfile.ZipFile(tracked()) as pack:
        [record] = [name for name in pack.namelist() if name.endswith(".dist-info/RECORD")]
        lines = [line.split(",") for line in pack.read(record).decode().splitlines()]
        assert sorted(name for name, _, _ in lines) == sorted(pack.namelist())
        assert {LIBRARY, FRAMES} <= set(pack.namelist())
        for name, stated, size in lines[:-1]:
            data = pack.read(name)
            there = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (stated, int(size)) == (f"sha256={there}", len(data)), name


def test_the_features_are_those_of_the_native_wheel() -> None:
    """A database with an fts4 table, say, opens on a node; it must at the edge. What the result has: test_inside."""
    native = {option.removeprefix("ENABLE_") for option in apsw.compile_options if option.startswith("ENABLE_")}
    assert native - set(FEATURES) == {"SETLK_TIMEOUT"}  # set to 0 there, which is no feature
    assert set(FEATURES) <= native


def a_source(folder: Path) -> Sources:
    apsw_folder = folder / "apsw-9.1"
    for path in (apsw_folder / "src", folder / "sqlite", folder / "python", folder / "libdeflate" / "lib"):
        path.mkdir(parents=True)
    (apsw_folder / "LICENSE").write_text("as you like")
    (folder / "python" / "pyconfig.h").write_text(HEADER)
    for name in ("sqlite3.c", "sqlite3.h", "sqlite3ext.h"):
        (folder / "sqlite" / name).touch()
    for name in ("libdeflate.h", "COPYING"):
        (folder / "libdeflate" / name).touch()
    (folder / "libdeflate" / "common_defs.h").write_text("typedef size_t machine_word_t;\n")
    return Sources(
        apsw=apsw_folder,
        sqlite=folder / "sqlite",
        libdeflate=folder / "libdeflate",
        headers=folder / "python",
        compiler=folder / "no compiler",
    )


def test_a_wheel_depends_on_its_files_alone(tmp_path: Path) -> None:
    sources = a_source(tmp_path)
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / LIBRARY).write_bytes(b"\0asm")
        (folder / LIBRARY).chmod(0o755 if name == "one" else 0o600)
        made.append(wheel_of([folder / LIBRARY], sources, folder).read_bytes())
    assert made[0] == made[1]
    (tmp_path / "two" / LIBRARY).write_bytes(b"\0asn")
    assert wheel_of([tmp_path / "two" / LIBRARY], sources, tmp_path / "two").read_bytes() != made[0]


def test_headers_with_other_sizes_are_refused(tmp_path: Path) -> None:
    """A define that is not found would leave a structure of the wrong size, which shows up as memory faults."""
    sources = a_source(tmp_path)
    (sources.headers / "pyconfig.h").write_text(HEADER.replace("#define SIZEOF_LONG 8\n", ""))
    (tmp_path / "work").mkdir()
    with pytest.raises(CompileError, match="SIZEOF_LONG as 8 in 0 places"):
        compile_libraries(sources, tmp_path / "work")


def test_another_libdeflate_is_refused(tmp_path: Path) -> None:
    """Without words of 64 bits inflating costs a third more, and nothing would say so."""
    sources = a_source(tmp_path)
    (sources.libdeflate / "common_defs.h").write_text("typedef uintptr_t machine_word_t;\n")
    (tmp_path / "work").mkdir()
    with pytest.raises(CompileError, match="machine_word_t in 0 places"):
        compile_libraries(sources, tmp_path / "work")


def test_the_wheel_of_another_version_goes(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "virke_edge-3.1-cp314-cp314-wasi_wasm32.whl").touch()
    new = tmp_path / "virke_edge-3.2-cp314-cp314-wasi_wasm32.whl"
    new.write_bytes(b"new")
    replace(new, tmp_path / "vendor")
    assert [path.name for path in (tmp_path / "vendor").iterdir()] == [new.name]


def test_what_is_not_here_is_told_from_what_is_not_as_pinned(tmp_path: Path) -> None:
    """The first is a test that is skipped, the second one that fails."""
    with pytest.raises(SourceUnavailable, match="there is no virke-no-such-program here"):
        run(["virke-no-such-program"], tmp_path)
    with pytest.raises(SourceUnavailable, match="status 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
    words = "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE"
    with pytest.raises(SourceError, match="DO NOT MATCH") as raised:
        run([sys.executable, "-c", f"raise SystemExit({words!r})"], tmp_path)
    assert not isinstance(raised.value, SourceUnavailable)
