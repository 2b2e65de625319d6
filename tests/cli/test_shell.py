"""The shell: what is read from a pipe, what is typed at a terminal, and what either may reach."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.cli.test_start import ENVIRON
from tests.servers.node import node
from virke import connect
from virke.cli.shell_commands import COMMANDS, ELSEWHERE, OF_FILES, REFUSED
from virke.cli.shell_input import Typed
from virke.errors import Unavailable

WAIT_S = 60
ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"


def test_statements_of_a_pipe_are_run_and_their_rows_shown(users: Path, virke: Virke) -> None:
    """Over several lines, several on one, and one without an end; what a statement without rows did is a note for people."""
    found = virke(
        "shell",
        input="SELECT name\nFROM users\n WHERE id = 1;\nUPDATE users SET name = 'A; B' WHERE id = 1; SELECT name FROM users "
        "WHERE id = 1;\n\n-- a comment\n.mode csv\nSELECT 'last'",
    )
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == "name\n-----\nAlice\nname\n----\nA; B\n'last'\nlast\n"


def test_each_mode_shows_rows_in_its_way(users: Path, virke: Virke) -> None:
    sql = ".mode\nSELECT id, x'00' AS data FROM users LIMIT 2;\n"
    shown = {
        "line": "line\n  id = 1\ndata = X'00'\n\n  id = 2\ndata = X'00'\n",
        "ndjson": 'ndjson\n{"id": 1, "data": {"base64": "AA=="}}\n{"id": 2, "data": {"base64": "AA=="}}\n',
        "markdown": "markdown\n| id | data |\n| --- | --- |\n| 1 | X'00' |\n| 2 | X'00' |\n",
    }
    for mode, text in shown.items():
        assert virke("shell", input=f".mode {mode}\n{sql}").stdout == text


def test_a_transaction_is_seen_by_others_when_it_is_committed(users: Path, virke: Virke) -> None:
    """One that is open at the end is rolled back."""
    count = "SELECT count(*) FROM users;\n"
    open_still = virke("shell", input=f".mode csv\nBEGIN;\nDELETE FROM users WHERE id = 1;\n{count}")
    assert open_still.stdout == "count(*)\n2\n"
    assert open_still.stderr == "the open transaction was rolled back\n"
    assert virke("shell", input=f".mode csv\nBEGIN; DELETE FROM users; ROLLBACK; {count}").stdout == "count(*)\n3\n"
    kept = "BEGIN IMMEDIATE; DELETE FROM users WHERE id = 1; SAVEPOINT s; DELETE FROM users; ROLLBACK TO s; COMMIT;"
    assert virke("shell", input=f".mode csv\n{kept}\n{count}").stdout == "count(*)\n2\n"
    for sql, words in (
        ("COMMIT;", "cannot commit - no transaction is active"),
        ("ROLLBACK;", "cannot rollback - no transaction is active"),
        ("BEGIN; BEGIN;", "cannot start a transaction within a transaction"),
        ("SAVEPOINT s;", "no transaction is open\nhint: BEGIN one first"),
    ):
        found = virke("shell", input=sql)
        assert found.exit_code == 1
        assert words in found.stderr


def test_the_first_error_of_a_pipe_ends_it_and_says_where(users: Path, virke: Virke) -> None:
    found = virke("shell", input="SELECT 1 AS one;\nSELECT *\nFROM missing;\nSELECT 2;\n")
    assert (found.exit_code, found.stdout) == (1, "one\n---\n1\n")
    assert found.stderr == "error: line 2: no such table: missing\n"
    going_on = virke("shell", input=".bail off\nSELECT * FROM missing;\nSELECT 2 AS two;\n")
    assert (going_on.exit_code, going_on.stdout) == (0, "two\n---\n2\n")
    assert going_on.stderr == "error: no such table: missing\n"
    as_json = virke("shell", "--json", input="SELECT * FROM missing;\n").stderr
    assert '"code": "sql_error"' in as_json
    assert '"line": 1' in as_json


def test_commands_of_the_schema(users: Path, virke: Virke) -> None:
    virke("db", "execute", "CREATE INDEX by_name ON users (name); CREATE VIEW grown AS SELECT * FROM users")
    assert virke("shell", input=".tables\n").stdout == "grown\nusers\n"
    assert virke("shell", input=".tables u%\n").stdout == "users\n"
    assert virke("shell", input=".indexes users\n").stdout == "by_name\nsqlite_autoindex_users_1\n"
    assert virke("shell", input=".schema\n").stdout == virke("db", "schema").stdout
    assert virke("shell", input=".status\n").stdout == virke("db", "status").stdout
    in_transaction = virke("shell", input="BEGIN; CREATE TABLE made (x);\n.tables m%\n")
    assert in_transaction.stdout == "made\n"


def test_the_receipt_of_a_statement_is_shown_when_it_is_asked_for(users: Path, virke: Virke) -> None:
    found = virke("shell", input=".mode csv\nSELECT 1;\n.meta\n.meta on\nSELECT 2;\n.meta off\nSELECT 3;\n")
    rows = [line for line in found.stdout.splitlines() if "round trip" not in line]
    assert rows == ["1", "1", "2", "2", "3", "3"]
    assert found.stdout.count("round trip") == 1
    assert found.stderr.count("round trip") == 1


@pytest.mark.parametrize("name", sorted(OF_FILES | REFUSED | ELSEWHERE.keys()))
def test_p12_no_text_from_a_pipe_reaches_a_file(users: Path, virke: Virke, name: str) -> None:
    """It may be another's: a dump, a download."""
    (users / "secret.sql").write_text("SELECT 'secret';")
    before = sorted(users.rglob("*"))
    found = virke("shell", input=f"{name} secret.sql\n")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: line 1: {name} ")
    assert sorted(users.rglob("*")) == before


def test_wrong_commands_say_how_they_are_used(users: Path, virke: Virke) -> None:
    for line, words in (
        (".nothing", "there is no command .nothing\nhint: .help lists them"),
        (".mode wrong", "a mode is one of table, json"),
        (".mode a b", "usage: .mode [MODE]"),
        (".bail", "usage: .bail on|off"),
        (".meta yes", "it is on or off, not 'yes'"),
        (".print 'open", ".print: No closing quotation"),
    ):
        found = virke("shell", input=f"{line}\n")
        assert found.exit_code == 2
        assert words in found.stderr
    assert virke("shell", input=".print it's fine\n").exit_code == 2
    assert virke("shell", input=".print \x1b[31m two\n.quit\nSELECT 1;\n").stdout == "\\x1b[31m two\n"
    assert [line.split()[0] for line in virke("shell", input=".help\n").stdout.splitlines()[:-1]] == list(COMMANDS)


def test_a_shell_that_only_reads_writes_nothing(users: Path, virke: Virke) -> None:
    found = virke("shell", "--read-only", input="SELECT count(*) AS n FROM users;\nDELETE FROM users;\n")
    assert (found.exit_code, found.stdout) == (1, "n\n-\n3\n")
    assert virke("shell", "my-app-db", input="SELECT count(*) AS n FROM users;\n").stdout == "n\n-\n3\n"


def test_query_without_sql_is_for_terminals_alone(users: Path, virke: Virke) -> None:
    found = virke("db", "query", input="SELECT 1;")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "Missing argument 'SQL'" in found.stderr


def test_completion_knows_commands_names_and_keywords() -> None:
    typed = Typed(lambda: ["id", "item", "name"])
    assert typed.candidates(".me") == [".meta "]
    assert typed.candidates("i.n") == ["i.name"]
    found = typed.candidates("i")
    assert found[:2] == ["id", "item"]
    assert "insert " in found
    assert "INSERT " in typed.candidates("INS")

    def down() -> list[str]:
        raise Unavailable("the store does not answer")

    assert Typed(down).candidates("sel") == ["select "]


# At a terminal


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        environ = ENVIRON | {"TERM": "dumb", "XDG_STATE_HOME": str(folder / "state"), "INPUTRC": os.devnull}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "virke.cli.main", *args],
            cwd=folder,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            close_fds=True,
        )
        os.close(theirs)
        self.text = ""

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, line.encode() + b"\n")

    def until(self, words: str) -> str:
        """Wait until it shows these words; what it showed up to them, and forget that."""
        end = time.monotonic() + WAIT_S
        while words not in self.text:
            assert time.monotonic() < end, f"no {words!r} in {self.text!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
        found, _, self.text = self.text.partition(words)
        return found + words

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(folder: Path, *args: str) -> Iterator[Terminal]:
    made = Terminal(folder, *args)
    try:
        yield made
    finally:
        made.close()


def test_a_shell_that_is_typed(users: Path) -> None:
    """Errors are shown and it goes on; files are reached; the history is the user's alone."""
    (users / "more.sql").write_text("INSERT INTO users (name)\nVALUES ('Dan');\n")
    (users / "evil.sql").write_text(".read more.sql\n")
    with terminal(users, "db", "query") as shell:
        shell.until("my-app-db> ")
        shell.type("SELECT name FROM missing;")
        assert "error: no such table: missing" in shell.until("my-app-db> ")
        shell.type(".read more.sql")
        assert "1 row affected, version " in shell.until("my-app-db> ")
        shell.type(".read evil.sql")
        assert "error: line 1: .read reaches a file" in shell.until("my-app-db> ")
        shell.type("BEGIN;")
        shell.until("my-app-db*> ")
        shell.type("DELETE FROM users;")
        assert "4 rows affected, not committed yet" in shell.until("my-app-db*> ")
        shell.type("ROLLBACK;")
        shell.until("my-app-db> ")
        shell.type("SELECT 'a'")
        shell.until("...> ")
        shell.type("|| 'b' AS ab;")
        assert "ab\r\n--\r\nab" in shell.until("my-app-db> ")
        shell.type(".quit")
        assert shell.process.wait(WAIT_S) == 0
    history = users / "state" / "virke" / "history"
    assert "DELETE FROM users;" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


@pytest.mark.parametrize("sql", [ENDLESS, f"INSERT INTO users (name) {ENDLESS}", f"BEGIN; {ENDLESS}"])
def test_ctrl_c_cancels_the_statement_and_not_the_shell(users: Path, sql: str) -> None:
    """As often as it is pressed; a statement that is only begun is forgotten."""
    with terminal(users, "shell") as shell:
        shell.until("my-app-db> ")
        for _ in range(3):
            shell.type(f".print running\n{sql};")
            shell.until("running\r\n")
            shell.until(";\r\n")
            time.sleep(0.3)  # it computes by now, or the signal comes before: both are cancelled
            shell.process.send_signal(signal.SIGINT)
            shell.until("> ")
            shell.type("ROLLBACK;")
            shell.until("my-app-db> ")
        shell.type("SELECT 'begun',")
        shell.until("...> ")
        shell.process.send_signal(signal.SIGINT)
        shell.until("my-app-db> ")
        shell.type("SELECT count(*) AS n FROM users;")
        assert "n\r\n-\r\n3\r\n" in shell.until("my-app-db> ")
        shell.process.send_signal(signal.SIGTERM)
        assert shell.process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_ctrl_c_cancels_a_statement_of_a_node(tmp_path: Path) -> None:
    connect("shop", f"local:{tmp_path}/.virke", create=True).close()
    with node("local:.virke", tmp_path) as at, terminal(tmp_path, "shell", "shop", "--store", at.url) as shell:
        shell.until("shop> ")
        shell.type(f"{ENDLESS};")
        shell.until(";\r\n")
        time.sleep(0.3)
        shell.process.send_signal(signal.SIGINT)
        assert "error: the statement was cancelled" in shell.until("shop> ")
        shell.type("SELECT 1 AS one;")
        assert "one\r\n---\r\n1\r\n" in shell.until("shop> ")
