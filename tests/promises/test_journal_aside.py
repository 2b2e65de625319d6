"""A journal that can't be read at all is set aside whole: its log with it, and the file last (P7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.promises.test_journal_entries import append, pending
from virke.engine.entry import DamagedJournal, UnreachableJournal
from virke.journal import FileJournal
from virke.processes import sync_file
from virke.stores.local.files import System

GARBAGE = b"this is no journal" * 100


def listing_fails(listing: Callable[[], object]) -> None:
    with pytest.raises(DamagedJournal):
        listing()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which file is synced")
def test_p7_a_file_that_can_not_be_read_is_set_aside_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies in between leaves a file that is damaged still, and never a log that another file would take for its own."""
    path, said = tmp_path / "db.sqlite", []
    rename = os.rename

    def renamed(old: str, new: str) -> None:
        rename(old, new)
        said.append(Path(old).name)

    def sync(fd: int) -> None:
        said.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync_file(fd)

    journal = FileJournal(path, system=System(sync=sync))
    append(journal, 2)
    journal.close()
    path.write_bytes(GARBAGE)
    with pytest.raises(DamagedJournal):
        journal.read()
    said.clear()
    monkeypatch.setattr(os, "rename", renamed)
    listing = journal.listing

    def listed() -> NoReturn:
        listing_fails(listing)
        log.write_bytes(b"its log")  # SQLite would take it away, as it fits no file
        raise DamagedJournal("damaged")

    log = path.with_name("db.sqlite-wal")
    monkeypatch.setattr(journal, "listing", listed)
    aside = journal.discard()
    assert aside is not None
    assert aside.read_bytes() == GARBAGE
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"its log"
    assert said[-3:] == ["db.sqlite-wal", "db.sqlite", str(tmp_path)]
    assert not path.exists()
    append(journal)
    assert pending(journal) == [1]
    journal.close()


def test_p7_a_file_that_can_not_be_set_aside_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db.sqlite"
    path.write_bytes(GARBAGE)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(UnreachableJournal, match="not allowed"):
        FileJournal(path).discard()
    assert path.read_bytes() == GARBAGE
