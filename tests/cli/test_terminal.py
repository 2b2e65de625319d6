"""What acts on a terminal never reaches one, whoever named the tables; files and pipes get the text as it is."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SEED_TOML, Virke, start
from tests.cli.test_start import ENVIRON

EVIL = "t\x1b]0;owned\x07\x9b31m\u202e\x7f\r"
"""Sets the title, rings, colours by C1, turns the line around, deletes, goes back to the beginning of the line."""
ACTING = "\x1b\x07\x9b\u202e\x7f"
QUOTED = f'"{EVIL}"'
SHOWN = re.compile(r"\\x1b|\\u001b|%1B")
_BARS = re.compile(r"\x1b\[(?:\?25[hl]|[0-9;]*[AKmG])")
NO_COLOUR = {"NO_COLOR": "1", "TERM": "xterm"}


def on_terminal(*args: str, folder: Path) -> str:
    """All that `virke` writes to its terminal, both streams."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", *args],
        cwd=folder,
        env=ENVIRON | NO_COLOUR,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not data:
            break
        found += data
    os.close(ours)
    process.wait(60)
    return found.decode()


@pytest.fixture
def evil(folder: Path, virke: Virke) -> Path:
    """A project whose database has a table, a column and values that act on a terminal."""
    (folder / "virke.toml").write_text(SEED_TOML)
    sql = f"CREATE TABLE {QUOTED}(\n  {QUOTED} TEXT -- {EVIL.strip()}\n); INSERT INTO {QUOTED} VALUES ('{EVIL}\ttab')"
    for args in (["db", "create"], ["db", "execute", sql]):
        assert virke(*args).exit_code == 0
    (folder / "migrations").mkdir()
    return folder


SHOWING = [
    ["db", "schema"],
    ["db", "schema", "--json"],
    ["db", "schema", EVIL],
    ["db", "schema", f"{EVIL}x"],
    *[
        ["db", "query", f"SELECT * FROM {QUOTED}", "--format", form]
        for form in ("table", "csv", "ndjson", "markdown", "json")
    ],
    ["db", "query", f"SELECT * FROM {QUOTED} WHERE \x1b[31m"],
    ["db", "execute", f"INSERT INTO {QUOTED} VALUES ('x') RETURNING *, '{EVIL}'"],
    ["db", "export", "-", "--quiet"],
    ["db", "export", f"{EVIL}/x.sql", "--quiet"],
    ["db", "import", f"{EVIL}.sql"],
    ["db", "settings", f"{EVIL}=1"],
    ["db", "status", "--db", EVIL],
    ["db", "create", "--store", f"local:{EVIL}"],
    ["db", "migrate", "--dir", EVIL],
    ["db", EVIL],
    ["db", "query", "SELECT 1", f"--{EVIL}"],
]


@pytest.mark.parametrize("args", SHOWING, ids=[ascii(" ".join(args))[:60] for args in SHOWING])
def test_p12_nothing_acts_on_a_terminal(evil: Path, args: list[str]) -> None:
    found = on_terminal(*args, folder=evil)
    assert [char for char in ACTING if char in found] == []
    assert "\r" not in found.replace("\r\n", ""), "the terminal itself makes `\\r\\n` of each end of a line"
    assert SHOWN.search(found)


def test_p12_a_progress_bar_shows_the_name_of_a_file_as_text(evil: Path) -> None:
    """What moves the cursor there is the bar's own."""
    (evil / f"[red]{EVIL}.sql").write_text("CREATE TABLE u(a);")
    found = on_terminal("db", "import", f"[red]{EVIL}.sql", folder=evil)
    assert [char for char in ACTING if char in _BARS.sub("", found)] == []
    assert "Importing [red]t\\x1b]0;owned" in found


def test_p12_an_image_is_nothing_for_a_terminal(evil: Path) -> None:
    assert "error: a SQLite file is nothing for a terminal" in on_terminal(
        "db", "export", "-", "--format", "sqlite", folder=evil
    )


def test_files_and_pipes_get_the_text_as_it_is(evil: Path) -> None:
    """The schema can be run again, CSV and a dump can be read again: they are data."""
    for args in (["db", "schema"], ["db", "query", f"SELECT * FROM {QUOTED}", "--csv"], ["db", "export", "-"]):
        found = subprocess.run(
            [sys.executable, "-m", "virke.cli.main", *args], cwd=evil, env=ENVIRON, capture_output=True, check=True
        )
        assert EVIL.encode() in found.stdout


def test_json_escapes_what_acts_on_a_terminal_and_reads_back_the_same(evil: Path) -> None:
    found = start("db", "query", f"SELECT * FROM {QUOTED}", "--json", folder=evil).stdout
    assert [char for char in ACTING if char in found] == []
    assert json.loads(found)["rows"] == [[f"{EVIL}\ttab"]]
    assert json.loads(found)["columns"] == [EVIL]


def test_p11_sql_to_execute_is_bounded(project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device is refused, and neither a file nor standard input is read further than the limit."""
    monkeypatch.setattr("virke.cli.db_sql.SCRIPT_BYTES_MAX", 1000)
    (project / "long.sql").write_text("SELECT 1;" * 200)
    for args, words in (
        (["--file", "/dev/zero"], "it is a device"),
        (["--file", "long.sql"], "long.sql is longer than"),
        (["-"], "standard input is longer than"),
        (["--file", "missing.sql"], "no such file: missing.sql"),
        (["--file", "."], "it is a folder"),
    ):
        found = virke("db", "execute", *args, input="SELECT 1;" * 200)
        assert (found.exit_code, found.stdout) == (1, "")
        assert words in found.stderr


def test_memory_that_is_used_up_is_an_error_like_any_other(
    project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used_up() -> None:
        raise MemoryError

    monkeypatch.setattr("virke.cli.target.load_config", used_up)
    found = virke("db", "status")
    assert (found.exit_code, found.stdout, found.stderr) == (1, "", "error: out of memory: ask for less at once\n")
