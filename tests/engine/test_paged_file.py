"""The file that SQLite sees behaves as a file does, and its changes make the database that it shows (vfs, rule 4)."""

from __future__ import annotations

from hypothesis import given

from tests.engine.paging import SIZE, SNAPSHOT, STEPS, Step, take
from tests.engine.world import image
from virke.core.ids import PageNo, Version
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
