"""A small database as SQLite's file, and what may be done to that: pages that are written, cut off and grown again."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.engine.world import make
from virke.engine.snapshot import Snapshot
from virke.engine.vfs import PagedFile

SIZE: Final = 512
PAGES_MAX: Final = 12
Step = tuple[str, int, int]
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


def take(step: Step, file: PagedFile, model: bytearray) -> None:
    """Do one step to the file, and to the bytes that it should have."""
    kind, page, fill = step
    end = page * SIZE
    if kind == "write":
        data = bytes([fill]) * SIZE
        file.xWrite(data, end - SIZE)
        model.extend(bytes(max(0, end - len(model))))
        model[end - SIZE : end] = data
    elif end <= len(model):  # SQLite never makes a file longer this way
        file.xTruncate(end)
        del model[end:]
