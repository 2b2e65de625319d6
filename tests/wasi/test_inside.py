"""The project's tests of the engine and its core pass inside WebAssembly, on the apsw that the edge has (decision 0031)."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Final

import apsw
import pytest

from tests.wasi.inside import HERE, Inside
from wasi.sources import SourceUnavailable

FOLDERS: Final = ("tests/engine", "tests/core")
PASSED_MIN: Final = 500
"""Fewer means that tests were left out, not that they pass."""

DIFFERENT: Final = {
    "COMPILER": "another compiler",
    "HAVE_ISNAN": "SQLite's own function instead of the system's",
    "MAX_MMAP_SIZE": "there are no memory maps",
    "MAX_WORKER_THREADS": "there are no threads",
    "MUTEX_NOOP": "there are no threads",
    "MUTEX_PTHREADS": "there are no threads",
    "OMIT_LOAD_EXTENSION": "SQLite leaves it out on WASI",
    "OMIT_WAL": "there is no shared memory",
    "TEMP_STORE": "there are no temporary files",
}
"""Options of SQLite that differ between a machine and the edge, and why."""

pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    try:
        return Inside(tmp_path_factory.mktemp("inside"))
    except SourceUnavailable as error:
        pytest.skip(f"the tests inside WebAssembly can't run here: {str(error).splitlines()[0]}")


def test_the_engine_inside_webassembly(inside: Inside, tmp_path: Path) -> None:
    """One test for all that pytest runs there, and for the options of its SQLite: making the component takes a minute."""
    there = ast.literal_eval(inside.run("import apsw; answer = repr((apsw.compile_options, apsw.apsw_version()))"))
    different = {option.partition("=")[0] for option in set(there[0]) ^ set(apsw.compile_options)}
    assert (different, there[1]) == (set(DIFFERENT), apsw.apsw_version())

    program = (
        (HERE / "suite.py").read_text().replace("FOLDERS: list[str] = []", f"FOLDERS: list[str] = {list(FOLDERS)}")
    )
    answer = inside.run(program, tmp_path / "output")
    assert answer.startswith("{"), answer
    results = json.loads(answer)
    print(f"inside WebAssembly: {results['counts']}")
    assert results["failed"] == {}, (tmp_path / "output").read_text()[-5000:]
    assert results["status"] == 0
    assert results["counts"]["passed"] >= PASSED_MIN


COMPARED: Final = """
import random, zlib
import virke_frames
from virke.core import codec, strides, wire
from virke.errors import Corrupt

assert codec.optimised is virke_frames
made = random.Random(5)
answer = ""
for size in (0, 1, 2, 100, 4096, 32768, 65536):
    for kinds in (1, 3, 40, 256):
        raw = bytes(made.randrange(kinds) for _ in range(size))
        kind, data = codec.encode(raw)
        assert kind == codec.STORED and data == raw or len(data) < size, (size, kinds)
        packed = data if kind == codec.DEFLATE else zlib.compress(raw, wbits=-15)
        assert zlib.decompress(packed, -15) == raw == codec.inflate(packed, size, "x") == virke_frames.inflate(packed, size)
        assert codec.crc32(raw) == zlib.crc32(raw) == codec.crc32(memoryview(raw)) == codec.crc32(bytearray(raw))
        assert virke_frames.inflate(packed, size + 1) is None and (not size or virke_frames.inflate(packed, size - 1) is None)
        assert virke_frames.inflate(packed[:-1], size) is None
        for stride in (1, 7, 255):
            fast, codec.optimised = strides._stride_sums(raw[:4096], stride), None
            assert not size or fast == strides._stride_sums(raw[:4096], stride)
            codec.optimised = virke_frames
        for _ in range(20 if packed else 0):
            at = made.randrange(len(packed))
            bad = packed[:at] + bytes([packed[at] ^ 1 << made.randrange(8)]) + packed[at + 1:]
            found = virke_frames.inflate(bad, size)
            assert found is None or len(found) == size
        column = wire.number_column(raw[:size // 4 * 4])
        for column in (column, column[:1], wire.number_column(bytes(3) + raw[:1]) if raw else column):
            for least in (0, 1):
                fast, codec.optimised = wire.running_sums(column, least), None
                assert fast == wire.running_sums(column, least)
                codec.optimised = virke_frames
        answer += "."
for wrong in (lambda: virke_frames.inflate(b"", -1), lambda: virke_frames.sums(b"a", 0), lambda: virke_frames.crc32("a")):
    try:
        wrong()
    except (ValueError, TypeError):
        answer += "!"
"""


def test_what_components_have_for_frames_does_what_the_standard_library_does(inside: Inside) -> None:
    """Checksums, deflate, and sums of strides, also of streams that are damaged (decision 0038)."""
    assert inside.run(COMPARED) == "." * 28 + "!!!"
