"""`virke db journal`: what is pending, rejected or damaged is shown, and set aside without a loss."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Virke

JOURNAL = Path(".virke") / "journal" / "my-app-db.sqlite"


@pytest.fixture
def deferred(users: Path, virke: Virke) -> Path:
    """The project, whose writes are deferred; two are pending."""
    assert virke("db", "settings", "durability=deferred").exit_code == 0
    for name in ("Dora", "Eve"):
        assert virke("db", "execute", f"UPDATE users SET name = '{name}' WHERE id = 1").exit_code == 0
    return users / JOURNAL


def change(journal: Path, sql: str) -> None:
    """What no program of Virke's does."""
    file = sqlite3.connect(journal)
    file.execute(sql)
    file.commit()
    file.close()


def test_a_database_that_never_deferred_has_nothing_to_show(users: Path, virke: Virke) -> None:
    assert virke("db", "journal").stdout == "no writes are pending, rejected or damaged\n"
    assert not JOURNAL.parent.exists()
    found = json.loads(virke("db", "journal", "--json").stdout)
    assert (found["damage"], found["entries"]) == (None, [])


def test_pending_writes_are_shown_without_the_store(deferred: Path, virke: Virke) -> None:
    for path in (deferred.parent.parent).glob("kv.*"):
        path.unlink()
    lines = virke("db", "journal").stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["1", "pending"], ["2", "pending"]]
    assert lines[3].rstrip().endswith("UPDATE users SET name = 'Eve' WHERE id = 1")
    assert lines[-1] == "2 pending writes, 0 rejected writes, 0 damaged writes"
    found = json.loads(virke("db", "journal", "--json").stdout)
    assert found["journal"] == str(deferred)
    assert [(one["id"], one["state"], one["reason"]) for one in found["entries"]] == [
        (1, "pending", None),
        (2, "pending", None),
    ]


def test_damage_is_shown_and_set_aside_and_reads_go_on_meanwhile(deferred: Path, virke: Virke) -> None:
    change(deferred, "UPDATE entry SET time_ms = 0 WHERE sequence = 1")
    assert "Alice" in virke("db", "query", "SELECT name FROM users").stdout
    assert "journal       journal " in virke("db", "status").stdout
    refused = virke("db", "execute", "UPDATE users SET name = 'Fay'")
    assert (refused.exit_code, "virke db journal --discard" in refused.stderr) == (5, True)
    assert "1 damaged write" in virke("db", "journal").stdout
    aside = deferred.with_name(f"{deferred.name}.discarded-1")
    assert virke("db", "journal", "--discard").stdout.splitlines()[0] == f"set aside as {aside}"
    assert aside.is_file()
    assert virke("db", "flush").stdout.startswith("pushed 1 write,")
    assert "Eve" in virke("db", "query", "SELECT name FROM users").stdout


@pytest.mark.parametrize("content", [b"", b"not a journal" * 100])
def test_a_file_that_is_no_journal_is_set_aside_as_it_is(content: bytes, deferred: Path, virke: Virke) -> None:
    deferred.write_bytes(content)
    assert virke("db", "journal").stdout.startswith("damaged: ")
    assert "damage" in json.loads(virke("db", "journal", "--json").stdout)
    found = json.loads(virke("db", "journal", "--discard", "--json").stdout)
    assert Path(found["discarded"]).read_bytes() == content
    assert (found["damage"], found["entries"]) == (None, [])
    assert virke("db", "execute", "UPDATE users SET name = 'Fay'").exit_code == 0


def test_rejected_writes_are_set_aside_too(deferred: Path, virke: Virke) -> None:
    virke("db", "settings", "durability=sync")
    virke("db", "settings", "durability=deferred")
    assert virke("db", "execute", "INSERT INTO users (name) VALUES ('Fay')").exit_code == 0
    change(deferred, "UPDATE entry SET rejected = 1, noted = 1, reason = 'no such\ntable' WHERE sequence = 3")
    assert "no such table" in virke("db", "journal").stdout
    assert virke("db", "journal", "--discard").stdout.splitlines()[-1].endswith(" 0 rejected writes, 0 damaged writes")
    nothing = virke("db", "journal", "--discard").stdout.splitlines()[0]
    assert nothing == "nothing is damaged or rejected; nothing was set aside"
