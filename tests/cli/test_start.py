"""How `virke` starts and ends as a process: what it imports, pipes that close, colours."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SOURCE, start

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE")}
ENVIRON |= {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
HEAVY = ("apsw", "rich", "isal", "virke.engine", "virke.stores", "virke.core", "virke.opening", "asyncio")
OF_OTHER_STORES = (
    "virke.stores.cached",
    "virke.stores.composite",
    "virke.stores.fastly_kv",
    "virke.stores.memory",
    "virke.stores.object",
    "virke.stores.valkey",
    "virke.client",
    "virke.transfer",
    "asyncio",
)
OF_NO_QUERY = (
    "concurrent",
    "logging",
    "tomllib",
    "secrets",
    "hmac",
    "random",
    "rich",
    "virke.api",
    "virke.node",
    "virke.migrations",
)
MODULES_MAX = 186
"""Virke's own, for a query of a local store: a third of a millisecond each."""


@pytest.mark.parametrize(
    "line", ["--help", "db --help", "db query --help", "completion zsh", "db migrate --help", "doctor --help"]
)
def test_help_imports_nothing_heavy(tmp_path: Path, line: str) -> None:
    code = f"""
import sys
from virke.cli.main import cli
try:
    cli.main({line.split()!r})
except SystemExit as end:
    assert end.code == 0, end.code
heavy = [name for name in sys.modules if name.startswith({HEAVY!r})]
print(heavy, file=sys.stderr)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRON,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stderr == "[]\n"


def test_a_query_of_a_local_store_imports_nothing_that_it_does_without(tmp_path: Path) -> None:
    """Budget B12, by modules instead of time: the cache of far stores alone is ten of them."""
    assert start("db", "create", "app", folder=tmp_path).returncode == 0
    code = f"""
import sys
from virke.cli.main import cli
try:
    cli.main(["db", "query", "select 1", "--db", "app", "--csv"])
except SystemExit as end:
    assert end.code == 0, end.code
print([name for name in sys.modules if name.startswith({OF_OTHER_STORES + OF_NO_QUERY!r})], file=sys.stderr)
assert sum(name.startswith("virke") for name in sys.modules) <= {MODULES_MAX}
"""
    found = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRON, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert (found.stdout, found.stderr) == ("1\n1\n", "[]\n")


def test_completion_of_names_imports_nothing_heavy(tmp_path: Path) -> None:
    found = start(
        folder=tmp_path, _VIRKE_COMPLETE="zsh_complete", COMP_WORDS="virke db ", COMP_CWORD="2", PYTHONVERBOSE="1"
    )
    assert "query" in found.stdout
    assert "import 'apsw'" not in found.stderr
    assert "import 'virke.cli.db_sql'" not in found.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    assert start("db", "create", "big", folder=tmp_path).returncode == 0
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n"
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "db", "query", sql, "--db", "big", "--csv"],
        cwd=tmp_path,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"i\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_on_a_terminal_that_wants_them(tmp_path: Path, no_color: str, coloured: bool) -> None:
    environ = ENVIRON | {"NO_COLOR": no_color, "TERM": "xterm"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "db", "status", "--db", "none"],
        cwd=tmp_path,
        env=environ,
        stderr=theirs,
    )
    assert process.wait(60) == 1
    os.close(theirs)
    text = os.read(ours, 4096)
    os.close(ours)
    assert (re.search(rb"\x1b\[[0-9;]*m", text) is not None) is coloured
    assert "\x1b" not in start("db", "status", "--db", "none", folder=tmp_path, TERM="xterm").stderr


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, "kept\n"), ("y", 0, "")])
def test_delete_asks_on_a_terminal(tmp_path: Path, answer: str, code: int, left: str) -> None:
    assert start("db", "create", "kept", folder=tmp_path).returncode == 0
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "db", "delete", "kept"],
        cwd=tmp_path,
        env=ENVIRON,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, answer.encode() + b"\n")
    out, err = process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, out) == (code, "deleted kept\n" if code == 0 else "")
    assert "Delete kept and all of its history?" in err
    assert start("db", "list", folder=tmp_path).stdout == left


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_valid_whatever_the_encoding_of_the_terminal(tmp_path: Path, encoding: str) -> None:
    """Data and errors alike: what the encoding lacks, and what would not be UTF-8, is escaped as JSON does it."""
    assert start("db", "create", "app", folder=tmp_path).returncode == 0
    odd = "é\N{GRINNING FACE}"
    sql = f"CREATE VIEW v AS SELECT '{odd}' AS \"{odd}\""
    assert start("db", "execute", sql, "--db", "app", folder=tmp_path).returncode == 0

    def said(*args: str) -> str:
        found = start("db", *args, "--db", "app", folder=tmp_path, PYTHONIOENCODING=encoding)
        assert (found.stdout + found.stderr).isascii()
        return found.stdout or found.stderr

    assert json.loads(said("query", "SELECT * FROM v", "--json"))["rows"] == [[odd]]
    assert json.loads(said("query", "SELECT * FROM v", "--ndjson")) == {odd: odd}
    assert json.loads(said("schema", "--json"))["schema"][0]["sql"] == sql
    assert odd in json.loads(said("query", f"SELECT {odd}", "--json"))["error"]["message"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_is_no_error(tmp_path: Path, closed: str) -> None:
    """What was done is done, what went wrong has its exit code, and nothing is said on that stream."""
    line = f'exec "$0" -m virke.cli.main "$@" {closed}'
    for args, code in (("db create x", 0), ("db list", 0), ("db delete x", 2), ("db execute - --db x", 0)):
        found = subprocess.run(
            ["sh", "-c", line, sys.executable, *args.split()],
            cwd=tmp_path,
            env=ENVIRON,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (found.returncode, b"internal" in found.stderr) == (code, False), args


def test_a_reader_that_is_gone_before_the_help_is_no_error(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "--help"],
        cwd=tmp_path,
        env=ENVIRON,
        stdout=writes,
        stderr=subprocess.PIPE,
    )
    os.close(writes)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 141


def test_two_processes_that_migrate_at_once_both_succeed(tmp_path: Path) -> None:
    assert start("db", "create", "app", folder=tmp_path).returncode == 0
    (tmp_path / "migrations").mkdir()
    for number in range(1, 9):
        sql = f"CREATE TABLE t{number}(x); INSERT INTO t{number} VALUES ({number});"
        (tmp_path / "migrations" / f"{number:03}_t.sql").write_text(sql)
    line = [sys.executable, "-m", "virke.cli.main", "db", "migrate", "--db", "app"]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(line, cwd=tmp_path, env=ENVIRON, stdout=pipe, stderr=pipe, text=True) for _ in range(3)
    ]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, ends, strict=True)] == [(0, "")] * 3
    applied = sorted(line for out, _ in ends for line in out.splitlines() if line.startswith("applied"))
    assert applied == [f"applied {number:03}_t.sql" for number in range(1, 9)]
