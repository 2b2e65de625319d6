"""What SQL wrote in room is a stream of pages: each that is another one now, as it is now, once and in order (`streaming.Written`)."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.engine.paging import SIZE, SNAPSHOT, STEPS, Step, take
from tests.engine.world import image, make
from virke.core.ids import CommitId, PageCount, PageNo, Version
from virke.core.page import HEADER_MAGIC, lock_page
from virke.core.segment import Head
from virke.engine.streaming import Written
from virke.engine.vfs import PagedFile
from virke.errors import Conflict


@given(steps=STEPS)
def test_the_pages_laid_over_the_snapshot_are_the_file(steps: list[Step]) -> None:
    """Whatever was written, cut off and grown again: none is left out, stale, out of order, there twice or beyond the end."""
    file, model, written = PagedFile(SNAPSHOT, 1 << 20), bytearray(image(SNAPSHOT)), set[int]()
    for step in steps:
        take(step, file, model)
        kind, page, _ = step
        written = written | {page} if kind == "write" else {number for number in written if number * SIZE <= len(model)}
    stream = Written(file)
    pages = list(stream.pages())
    numbers = [number for number, _ in pages]
    assert (stream.page_size, stream.page_count) == (SIZE, len(model) // SIZE)
    assert numbers == sorted(set(numbers))
    assert written <= set(numbers)
    assert all(number <= stream.page_count for number in numbers)
    laid = {number: SNAPSHOT.page(number) for number in range(2, SNAPSHOT.page_count + 1)} | dict(pages)
    found = [laid[number] for number in range(2, stream.page_count + 1)]
    assert found == [bytes(model[at : at + SIZE]) for at in range(SIZE, len(model), SIZE)]
    assert list(stream.pages()) == pages  # a race that was lost asks for them again


def test_a_file_that_was_cut_and_grew_again_says_so_page_by_page() -> None:
    """Three pages that are there, the last two are cut off, and the fourth is written."""
    file = PagedFile(SNAPSHOT, 1 << 20)
    assert SNAPSHOT.page_count > 4
    file.xTruncate(SIZE)
    file.xWrite(b"\x07" * SIZE, 3 * SIZE)
    assert list(Written(file).pages()) == [(2, bytes(SIZE)), (3, bytes(SIZE)), (4, b"\x07" * SIZE)]


def test_only_what_was_written_is_in_the_stream() -> None:
    """Not the database: a page in the middle, and the first page with the counter that SQLite sees."""
    file = PagedFile(SNAPSHOT, 1 << 20)
    file.xWrite(b"\x07" * SIZE, 2 * SIZE)
    assert list(Written(file).pages()) == [(3, b"\x07" * SIZE)]
    file.xWrite(file.xRead(SIZE, 0), 0)
    assert [number for number, _ in Written(file).pages()] == [1, 3]


@pytest.mark.parametrize(("old_size", "size"), [(512, 1024), (1024, 512)])
def test_another_page_size_streams_every_page(old_size: int, size: int) -> None:
    """As VACUUM cuts the database again: nothing of the old pages can stay."""
    db = make(page_size=old_size)
    db.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (hex(zeroblob(1500)))")
    file = PagedFile(db.snapshot(), 1 << 20)
    old = image(db.snapshot())
    length = len(old) // 1024 * 1024
    first = bytearray(file.xRead(size, 0))
    first[16:18] = size.to_bytes(2, "big")
    file.xWrite(bytes(first), 0)
    file.xTruncate(length)
    stream, content = Written(file), bytes(first) + old[size:length]
    assert (stream.page_size, stream.page_count) == (size, length // size)
    assert list(stream.pages()) == [(at // size + 1, content[at : at + size]) for at in range(0, length, size)]


class _Zeros:
    """A snapshot, zeros but for its header, that reaches to the page that SQLite never uses."""

    lineage = 0

    def __init__(self, page_size: int, page_count: int) -> None:
        self.head = Head(Version(1), CommitId(bytes(16)), 0, page_size, PageCount(page_count), 0)

    def page(self, number: PageNo) -> bytes:
        header = HEADER_MAGIC + b"\x00\x01" if number == 1 else b""  # 65,536 is written as 1
        return header.ljust(self.head.page_size, b"\0")

    def run(self, number: PageNo) -> dict[PageNo, bytes]:
        return {number: self.page(number)}

    def page_here(self, number: PageNo) -> bytes | None:
        return self.page(number)


@pytest.mark.parametrize("old_count", [0, 2])
def test_the_lock_page_is_never_in_the_stream(old_count: int) -> None:
    """Whether it was written or came into being between others."""
    size, skip = 65536, lock_page(65536)
    file = PagedFile(_Zeros(size, skip + old_count - 2), 1 << 30)
    for number in (skip - 1, skip, skip + 1):
        file.xWrite(b"\x01" * size, (number - 1) * size)
    assert [number for number, _ in Written(file).pages()] == [skip - 1, skip + 1]


def test_what_is_streamed_is_what_a_commit_stores() -> None:
    """The pages of one file, committed as a change and as a stream, make the same state."""
    sql = "INSERT INTO t VALUES (hex(zeroblob(2000))); DELETE FROM t WHERE rowid = 1; CREATE INDEX i ON t (v)"
    usual, streamed = make(page_size=SIZE), make(page_size=SIZE)
    for db in (usual, streamed):
        db.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (hex(zeroblob(1500)))")
    usual.run_script(sql)
    file = PagedFile(streamed.snapshot(), 1 << 20)
    after, before = usual.snapshot(), streamed.snapshot()
    for number, page in after.pages():
        if number > before.page_count or page != before.page(number):
            file.xWrite(page, (number - 1) * SIZE)
    file.xTruncate(after.page_count * SIZE)
    written = Written(file)
    streamed.long_write().commit_pages(
        before, page_size=written.page_size, page_count=written.page_count, pages=written.pages()
    )
    assert streamed.query("SELECT * FROM t INDEXED BY i").rows == usual.query("SELECT * FROM t").rows
    assert streamed.query("PRAGMA integrity_check").rows == [("ok",)]
    with pytest.raises(Conflict):
        streamed.long_write().commit_pages(
            before, page_size=written.page_size, page_count=written.page_count, pages=written.pages()
        )
