"""No file, however it is made, takes more memory, disk or time than docs/transfer.md says.

Each case runs as a process of its own, so that its peak of memory is its own: `python -m tests.transfer.test_bounds CASE`.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

import pytest

from tests.transfer.test_memory import PEAK_MIB_MAX, peak_mib
from virke.engine.database import Database
from virke.errors import Invalid, NotFound, TooLarge, VirkeError
from virke.transfer import import_file, source
from virke.transfer.source import CHUNK_BYTES, open_input, open_source

MIB = 1 << 20
ENDLESS = 1 << 40
CREATE = b"CREATE TABLE t(a, b);\n"


class Stream(io.RawIOBase):
    """A stream that begins with `head`, goes on with as many times `unit` as `total` bytes take, and ends with `tail`."""

    def __init__(self, head: bytes, unit: bytes, total: int, tail: bytes = b"") -> None:
        self.taken = 0
        block = unit * max(1, CHUNK_BYTES // len(unit))
        self._blocks: Iterator[bytes] = chain([head], repeat(block, total // len(block)), [tail])

    def read(self, size: int = -1) -> bytes:
        """One block, whatever size is asked for."""
        data = next((block for block in self._blocks if block), b"")
        self.taken += len(data)
        return data


CASES: dict[str, tuple[Callable[[], Stream], str, int]] = {
    "a statement that never ends": (
        lambda: Stream(CREATE + b"INSERT INTO t VALUES", b"(1,'abcdefgh'),", ENDLESS),
        "TooLarge line 2: a statement of more than 16 MiB; nothing was changed",
        24,
    ),
    "a string that never ends": (
        lambda: Stream(CREATE + b"INSERT INTO t VALUES('", b"abc\n ", ENDLESS),
        "TooLarge line 2: a statement of more than 144 MiB, or a string in it that never ends; nothing was changed",
        150,
    ),
    "a statement of 256 MB": (
        lambda: Stream(CREATE + b"INSERT INTO t(a) VALUES(X'", b"00", 256_000_000, b"');"),
        "TooLarge line 2: a statement of more than 144 MiB, or a string in it that never ends; nothing was changed",
        150,
    ),
    "a trigger that never ends": (
        lambda: Stream(CREATE + b"CREATE TRIGGER r AFTER INSERT ON t BEGIN\n", b"SELECT 1;\n", ENDLESS),
        "TooLarge line 2: a statement of more than 16 MiB; nothing was changed",
        40,
    ),
    "a long statement": (
        lambda: Stream(CREATE + b"INSERT INTO t VALUES(0,0)", b",(1,'abcdefgh')", 11 * MIB, b";"),
        "Imported 768956",
        20,
    ),
    "a comment of 300 MB": (
        lambda: Stream(CREATE + b"/*", b"; comment\n", 300 * MIB, b"*/ INSERT INTO t VALUES(1,2);"),
        "Imported 1",
        302,
    ),
    "a header that never ends": (
        lambda: Stream(b"a,b", b",abcdefgh", ENDLESS),
        "TooLarge standard input, line 1: a record of more than 8 MiB, or a quote that never ends; nothing was changed",
        12,
    ),
    "a line that never ends": (
        lambda: Stream(b"a,b\n1,2\n3,", b"abcdefgh", ENDLESS),
        "TooLarge standard input, line 3: a record of more than 8 MiB, or a quote that never ends; nothing was changed",
        12,
    ),
    "a quoted field that never ends": (
        lambda: Stream(b'a,b\n1,2\n3,"', b"a, b\n", ENDLESS),
        "TooLarge standard input, line 3: a record of more than 8 MiB, or a quote that never ends; nothing was changed",
        12,
    ),
    "a field of 40 MB": (
        lambda: Stream(b"a,b\n1,", b"a", 40_000_000, b"\n"),
        "TooLarge standard input, line 2: a record of more than 8 MiB, or a quote that never ends; nothing was changed",
        12,
    ),
    "a long field": (
        lambda: Stream("a,b\n1,\N{GRINNING FACE}".encode(), b"a", 7 * MIB, b"\n"),
        "Imported 1",
        8,
    ),
    "a line of millions of fields": (
        lambda: Stream(b"a,b\n", b"1,", 7 * MIB, b"\n"),
        "TooLarge standard input, line 2: a record of more than 32,767 fields; nothing was changed",
        8,
    ),
}


def run(case: str) -> None:
    """Import one case, and print what came of it, the megabytes that were read, and the peak of memory in MiB."""
    from virke.opening import create

    stream, expected, _ = CASES[case]
    made = stream()
    with TemporaryDirectory() as folder, create("x", f"local:{folder}/store") as database:
        table = "t" if "record" in expected or "field" in case else None
        try:
            found = f"Imported {import_file(database, cast(BinaryIO, made), table=table).rows}"
        except VirkeError as error:
            found = f"{type(error).__name__} {error.message}"
    print(found, made.taken >> 20, peak_mib(), sep="\n")


@pytest.mark.parametrize("case", CASES)
def test_p11_memory_and_reading_are_bounded_whatever_the_file_is(case: str) -> None:
    """What is too long is refused with its line as soon as that is known; what is not comes in."""
    _, expected, read_mib_max = CASES[case]
    command = [sys.executable, "-m", "tests.transfer.test_bounds", case]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    found, read_mib, peak = done.stdout.splitlines()
    assert found == expected
    assert int(read_mib) <= read_mib_max
    assert int(peak) < PEAK_MIB_MAX


def test_p11_a_stream_is_spooled_up_to_a_limit_that_the_error_names(tmp_path: Path) -> None:
    stream = cast(BinaryIO, Stream(b"", b"SELECT 1;\n", ENDLESS))
    spooled = open_source(stream, tmp_path, stream_bytes_max=5 * MIB)
    with pytest.raises(TooLarge, match=r"standard input is longer than 5 MiB.*save it as a file"):
        spooled.complete()
    assert (tmp_path / "input").stat().st_size <= 5 * MIB


def test_p11_what_is_refused_at_its_beginning_is_not_read_further(database: Database) -> None:
    """`virke db import - < /dev/zero`, and text with an error on its first line."""
    for head, unit in ((b"", b"\0"), (b"CREATE TABLE t(;\n", b"SELECT 1;\n")):
        stream = Stream(head, unit, ENDLESS)
        with pytest.raises(Invalid):
            import_file(database, cast(BinaryIO, stream))
        assert stream.taken < 4 * MIB


def test_a_stream_is_the_same_each_time_it_is_read(tmp_path: Path) -> None:
    """Also if it was read in part before: a lost race reads it again."""
    stream = Stream("a;é\n".encode(), b"0123456789", 3 * MIB, b"end")
    spooled = open_source(cast(BinaryIO, stream), tmp_path)
    assert spooled.head().startswith("a;é\n".encode())
    assert next(spooled.text("utf-8"))[:3] == "a;é"
    whole = "".join(spooled.text("utf-8"))
    assert (whole[:4], whole[-6:]) == ("a;é\n", "789end")
    assert "".join(spooled.text("utf-8")) == whole
    assert spooled.size == stream.taken == len(whole.encode())


def test_p11_a_device_is_refused_and_not_read() -> None:
    with pytest.raises(Invalid, match=r"can't read /dev/zero: it is a device or a socket, not a file"):
        open_input(Path("/dev/zero"))


def test_p11_a_named_pipe_that_no_program_writes_into_is_empty_after_a_while(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "WRITER_WAIT_S", 0.05)
    os.mkfifo(tmp_path / "x.sql")
    with pytest.raises(Invalid, match=r"x\.sql is empty"):
        import_file(database, tmp_path / "x.sql")


def test_what_a_program_writes_into_a_named_pipe_comes_in(database: Database, tmp_path: Path) -> None:
    """As `virke db import <(zcat dump.sql.gz)` has it."""
    path = tmp_path / "x.sql"
    os.mkfifo(path)
    text = CREATE + b"INSERT INTO t VALUES(1, 2);\n" * 10_000
    writer = threading.Thread(target=path.write_bytes, args=(text,))
    writer.start()
    assert import_file(database, path).rows == 10_000
    writer.join()


def test_a_file_that_is_not_there_or_may_not_be_read_is_an_error_of_ours(database: Database, tmp_path: Path) -> None:
    for path, kind in (
        (tmp_path / "missing.sql", NotFound),
        (tmp_path, Invalid),
        (tmp_path / ("x" * 300), Invalid),
        (Path("a\0b"), Invalid),
    ):
        with pytest.raises(kind):
            import_file(database, path)


def test_a_file_that_grows_is_read_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.sql"
    path.write_bytes(b"SELECT 1;")
    opened = open_source(path, tmp_path)
    path.write_bytes(b"SELECT 1; and more")
    assert list(opened.chunks()) == [b"SELECT 1;"]
    path.write_bytes(b"SELECT")
    with pytest.raises(Invalid, match="became shorter"):
        list(opened.chunks())


def test_what_is_spooled_is_the_users_alone(tmp_path: Path) -> None:
    open_source(cast(BinaryIO, Stream(b"a", b"b", MIB)), tmp_path).complete()
    assert stat.S_IMODE((tmp_path / "input").stat().st_mode) == 0o600


if __name__ == "__main__":
    run(sys.argv[1])
