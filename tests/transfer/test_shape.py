"""A database as applications make them – full-text search kept by a trigger, blobs, long text – comes out as it went in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench.b17_shape import content_of, write_shape
from virke.opening import create
from virke.transfer import export_file, import_file


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shape") / "given.sqlite"
    write_shape(path, 2)
    return path


@pytest.mark.parametrize("way", [".sqlite", ".sql", ".sql.gz"])
def test_full_text_search_blobs_and_long_text_make_a_round_trip(given: Path, tmp_path: Path, way: str) -> None:
    sent, found, store = tmp_path / f"sent{way}", tmp_path / "found.sqlite", f"local:{tmp_path}/store"
    with create("here", store) as here, create("there", store) as there:
        import_file(here, given)
        export_file(here, sent)
        import_file(there, sent)
        export_file(there, found)
        words = "SELECT count(*) FROM search WHERE search MATCH 'note 7'"
        with closing(sqlite3.connect(given)) as plain:
            assert there.query(words).rows == plain.execute(words).fetchall() != [(0,)]
    assert content_of(found) == content_of(given)


def test_what_is_compared_notices_one_byte_of_a_blob(given: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.sqlite"
    changed.write_bytes(given.read_bytes())
    with closing(sqlite3.connect(changed)) as connection, connection:
        connection.execute(
            "UPDATE files SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM files WHERE length(data))"
        )
    before, after = content_of(given), content_of(changed)
    assert [name for name in before if before[name] != after[name]] == ["files"]
