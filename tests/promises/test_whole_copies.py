"""`virke db verify` and `copy` by command, on files, on real servers and through a node: what they name, refuse, and leave."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import virke
from tests.promises.places import on
from tests.servers.node import node
from virke.cli.main import cli
from virke.opening import open_alone, open_store
from virke.stores.base import Range
from virke.stores.cached.on_disk import cached_store
from virke.transfer import copying, import_file

SHOP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB);
CREATE VIRTUAL TABLE words USING fts5 (body);
INSERT INTO item SELECT value, 'item ' || value, randomblob(9000) FROM generate_series(1, 120);
INSERT INTO words SELECT name FROM item;
"""


def ran(*line: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, line)])


def said(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def filled(place: str) -> None:
    with virke.connect("shop", place, create=True, background=False) as database:
        database.change_settings({"history_days": 14})
        database.run_script(SHOP)
        database.execute("UPDATE item SET photo = randomblob(60000) WHERE id < 20")
        database.execute("DELETE FROM item WHERE id = 3")


def rows(place: str, name: str = "shop", at: int | None = None) -> Sequence[object]:
    with virke.connect(name, place, background=False) as database:
        return database.query("SELECT id, name, hex(photo) FROM item ORDER BY id", at=at).rows


def damaged(place: str) -> str:
    """Flip a byte in the newest segment of the database; its key."""
    with open_alone("shop", place) as alone:
        ref = alone.snapshot().root.segments[-1]
    key, store = ref.identity.part_key(0), open_store(place, cached=False)
    [data] = store.blobs[ref.tier].get([Range(key)])
    assert isinstance(data, bytes)
    bad = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    store.blobs[ref.tier].delete([key])
    store.blobs[ref.tier].put_new(key, bad)
    return key


@on("local", "seaweedfs", "moto", "local+seaweedfs")
def test_a_damaged_object_is_named_and_the_copy_of_the_version_before_it_is_whole(place: str, tmp_path: Path) -> None:
    """Verify says 5 and where; copy --at saves what is whole, although the database itself can't be read any more."""
    filled(place)
    with virke.connect("shop", place) as database:
        before = {version: rows(place, at=version) for version in range(3, database.version + 1)}
    good = ran("db", "verify", "shop", "--store", place, "--json")
    assert (good.exit_code, said(good)["whole"], said(good)["damages"]) == (0, True, [])
    key = damaged(place)
    bad = ran("db", "verify", "shop", "--store", place, "--json")
    found = said(bad)
    assert (bad.exit_code, found["whole"], [one["object"] for one in found["damages"]]) == (5, False, [key])
    whole = found["newest_whole"]
    assert isinstance(whole, int)
    error = json.loads(bad.stderr)["error"]
    assert (error["code"], f"--at {whole}" in error["hint"]) == ("corrupt", True)
    there = f"local:{tmp_path / 'saved'}"
    copied = ran("db", "copy", "shop", "--store", place, "--at", str(whole), "--to", there)
    assert copied.exit_code == 0, copied.stderr
    assert rows(there) == before[whole]
    assert ran("db", "verify", "shop", "--store", there).exit_code == 0
    people = ran("db", "verify", "shop", "--store", place)
    assert (people.exit_code, people.stderr.count("\n")) == (5, 2)
    assert key in people.stdout


@on("local", "seaweedfs", "moto")
def test_a_copy_is_the_same_database_and_never_overwrites(place: str, tmp_path: Path) -> None:
    filled(place)
    there = f"local:{tmp_path / 'there'}"
    done = ran("db", "copy", "shop", "--store", place, "--to", there, "--json")
    assert done.exit_code == 0, done.stderr
    assert rows(there) == rows(place)
    with virke.connect("shop", there) as copied:
        assert copied.settings().history_days == 14
        assert copied.query("SELECT count(*) FROM words WHERE words MATCH 'item'").one() == (120,)
    again = ran("db", "copy", "shop", "--store", place, "--to", there)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "nothing was copied" in again.stderr
    back = ran("db", "copy", "shop", "--store", there, "--to", place, "--as", "second", "--json")
    assert back.exit_code == 0, back.stderr
    assert rows(place, "second") == rows(place)
    assert said(back)["sha256"] == said(done)["sha256"]


def test_a_copy_goes_from_and_to_a_node(tmp_path: Path) -> None:
    here, there = f"local:{tmp_path / 'here'}", f"local:{tmp_path / 'there'}"
    filled(here)
    with virke.connect("shop", here) as database:
        before = database.version - 1
    with node(here, tmp_path) as one, node(there, tmp_path) as other:
        done = ran("db", "copy", "shop", "--store", one.url, "--at", str(before), "--to", other.url)
        assert done.exit_code == 0, done.stderr
        refused = ran("db", "verify", "shop", "--store", one.url)
        assert (refused.exit_code, "hint: run it where the node runs" in refused.stderr) == (2, True)
        with virke.connect("shop", one.url) as remote, pytest.raises(virke.Invalid, match="not over a node"):
            remote.verify()
    assert rows(there) == rows(here, at=before)


def test_a_copy_that_was_killed_is_finished_by_the_same_command(tmp_path: Path) -> None:
    """Killed at several moments: what is there is nothing, an empty database, or all of it."""
    here = f"local:{tmp_path / 'here'}"
    filled(here)
    for number in range(6):
        there = f"local:{tmp_path / f'there{number}'}"
        line = [sys.executable, "-m", "virke", "db", "copy", "shop", "--store", here, "--to", there]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        folder, until = Path(there.removeprefix("local:")), time.monotonic() + 60
        while number and not folder.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(number * 0.04)
        process.send_signal(signal.SIGKILL)
        process.wait()
        try:
            is_done = bool(rows(there))
        except virke.VirkeError:
            is_done = False
        again = ran("db", "copy", "shop", "--store", here, "--to", there)
        assert again.exit_code == (1 if is_done else 0), again.stderr
        assert rows(there) == rows(here)


def test_a_copy_of_a_damaged_version_says_so_and_commits_nothing(tmp_path: Path) -> None:
    here, there = f"local:{tmp_path / 'here'}", f"local:{tmp_path / 'there'}"
    filled(here)
    with virke.connect("shop", here) as database:
        newest = database.version
    damaged(here)
    result = ran("db", "copy", "shop", "--store", here, "--at", str(newest), "--to", there)
    assert result.exit_code == 5
    with virke.connect("shop", there) as copied:
        assert copied.status().page_count == 0


def test_what_is_read_back_differently_is_not_called_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gives back other bytes is noticed before the command says that it is done."""
    here, there = f"local:{tmp_path / 'here'}", f"local:{tmp_path / 'there'}"
    filled(here)
    real = import_file

    def wrong(database: virke.Database, path: Path, **options: object) -> object:
        with sqlite3.connect(path) as file:
            file.execute("UPDATE item SET name = 'other' WHERE id = 7")
        file.close()
        return real(database, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(copying, "import_file", wrong)
    result = ran("db", "copy", "shop", "--store", here, "--to", there)
    assert (result.exit_code, "is not what was copied" in result.stderr) == (5, True)


def test_bad_input_is_a_clear_error(tmp_path: Path) -> None:
    here = f"local:{tmp_path / 'here'}"
    filled(here)
    assert ran("db", "verify", "nope", "--store", here).exit_code == 1
    assert ran("db", "copy", "shop", "--store", here).exit_code == 2
    assert ran("db", "copy", "shop", "--store", here, "--to", "ftp://x").exit_code == 2
    assert ran("db", "copy", "shop", "--store", here, "--to", here).exit_code == 1
    assert ran("db", "copy", "shop", "--store", here, "--to", f"local:{tmp_path / 't'}", "--at", "999").exit_code == 1


def test_a_good_copy_in_a_cache_does_not_hide_a_damaged_object(tmp_path: Path) -> None:
    """What is verified is what the store has, though every read so far was answered by the cache."""
    here = f"local:{tmp_path / 'here'}"
    filled(here)
    cached = cached_store(open_store(here), folder=tmp_path / "cache")
    with virke.connect("shop", cached, background=False) as database:
        database.query("SELECT sum(length(photo)) FROM item")
        assert database.verify().is_whole
        key = damaged(here)
        assert [one.object for one in database.verify().damages] == [key]
