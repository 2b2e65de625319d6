"""The file that SQLite sees behaves as a file does, and its changes make the database that it shows (vfs, rule 4)."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.world import image, make
from virke.core.ids import PageNo, Version
from virke.engine.snapshot import Snapshot
from virke.engine.vfs import PagedFile

SIZE: Final = 512
PAGES_MAX: Final = 12
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(2, PAGES_MAX), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.integers(1, PAGES_MAX), st.just(0)),
    ),
    max_size=8,
)


def _filled() -> Snapshot:
    db = make(page_size=SIZE)
    db.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (zeroblob(1500))")
    db.execute("UPDATE t SET v = replace(hex(v), '0', 'x')")
    return db.snapshot()


SNAPSHOT: Final = _filled()


@given(steps=STEPS)
def test_a_file_that_is_cut_and_grows_again_has_zeros_in_between(steps: list[tuple[str, int, int]]) -> None:
    """What a read shows and what the commit makes of it, page by page; no older page shines through."""
    file, model = PagedFile(SNAPSHOT, 1 << 20), bytearray(image(SNAPSHOT))
    for kind, page, fill in steps:
        end = page * SIZE
        if kind == "write":
            data = bytes([fill]) * SIZE
            file.xWrite(data, end - SIZE)
            model.extend(bytes(max(0, end - len(model))))
            model[end - SIZE : end] = data
        elif end <= len(model):  # SQLite never makes a file longer this way
            file.xTruncate(end)
            del model[end:]
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
