"""The file that SQLite sees behaves as a file does, and its changes make the database that it shows (vfs, rule 4)."""

from __future__ import annotations

from unittest import mock

from hypothesis import given

from tests.engine.paging import SIZE, SNAPSHOT, STEPS, Step, take
from tests.engine.world import image
from virke.core.ids import PageNo, Version
from virke.engine.snapshot import Snapshot
from virke.engine.vfs import PagedFile


@given(steps=STEPS)
def test_a_file_that_is_cut_and_grows_again_has_zeros_in_between(steps: list[Step]) -> None:
    """What a read shows and what the commit makes of it, page by page; no older page shines through."""
    file, model = PagedFile(SNAPSHOT, 1 << 20), bytearray(image(SNAPSHOT))
    for step in steps:
        take(step, file, model)
        assert file.xFileSize() == len(model)
        for at in range(SIZE, len(model), SIZE):
            assert file.xRead(SIZE, at) == model[at : at + SIZE]
    dirty = file.change(Version(SNAPSHOT.version + 1))
    if dirty is None:
        return
    assert dirty.page_count * SIZE == len(model)
    for number in range(2, dirty.page_count + 1):
        kept = SNAPSHOT.page(PageNo(number)) if number <= SNAPSHOT.head.page_count else b""
        assert dirty.pages.get(PageNo(number), kept) == model[(number - 1) * SIZE : number * SIZE]


def test_the_first_page_is_fetched_once_though_it_is_read_in_pieces() -> None:
    """SQLite reads its header, then its change counter, then all of it; each is of the snapshot that is shown, with the file's counter."""
    first = SNAPSHOT.page(PageNo(1))
    with mock.patch.object(Snapshot, "page", return_value=first) as fetched:
        file = PagedFile(SNAPSHOT, 1 << 20)
        header, whole = file.xRead(100, 0), file.xRead(SIZE, 0)
        assert (header, whole[:24]) == (whole[:100], first[:24])
        assert file.xRead(16, 24) == whole[24:40]
        assert fetched.call_count == 1
        file.move(SNAPSHOT)
        moved = file.xRead(SIZE, 0)
        assert moved[28:92] == whole[28:92]
        assert moved[24:28] != whole[24:28]
        assert fetched.call_count == 2


def test_a_first_page_that_was_written_or_cut_away_is_not_the_fetched_one() -> None:
    file = PagedFile(SNAPSHOT, 1 << 20)
    before = file.xRead(SIZE, 0)
    file.xWrite(b"x" * 8, 40)
    assert file.xRead(SIZE, 0) == before[:40] + b"x" * 8 + before[48:]
    file.undo()
    assert file.xRead(SIZE, 0) == before
    file.xTruncate(0)
    file.xWrite(b"y" * SIZE, SIZE)
    assert file.xRead(SIZE, 0) == bytes(SIZE)
