"""An error in SQL shows its line and a caret under the wrong token: on a terminal alone, and as `offset` in JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from virke.cli.caret import SOURCE, WIDTH, caret_lines
from virke.errors import SqlError


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is one, as far as the report of errors asks."""

    class Streams:
        """`sys` with a stderr that is a terminal."""

        def __getattr__(self, name: str) -> object:
            return _Terminal(getattr(real, name)) if name == "stderr" else getattr(real, name)

    real = sys
    monkeypatch.setattr("virke.cli.group.sys", Streams())


class _Terminal:
    def __init__(self, stream: object) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (("query", "SELECT name FORM users"), ["  SELECT name FORM users", "                   ^"]),
        (
            ("query", "  SELECT nmae FROM users"),
            ["  SELECT nmae FROM users", "         ^", "hint: did you mean 'name'?"],
        ),
        (("query", "SELECT name,\n nmae FROM users"), ["  nmae FROM users", "  ^", "hint: did you mean 'name'?"]),
        (
            ("execute", " SELECT 1; SELECT 'å', nmae FROM users"),
            ["  SELECT 'å', nmae FROM users", "              ^", "hint: did you mean 'name'?"],
        ),
        (("execute", "/* one */\nUPDATE users SET nmae = 1"), None),
        (("query", "SELECT * FROM user", "--csv"), None),
    ],
)
@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_the_wrong_token_is_shown(
    users: Path, virke: Virke, line: tuple[str, ...], lines: list[str] | None
) -> None:
    found = virke("db", *line)
    assert found.exit_code == 1
    shown = found.stderr.splitlines()[1:]
    if lines is not None:
        assert shown == lines
    elif len(shown) == 3:  # what SQLite says a place of points into the statement
        assert shown[0][shown[1].index("^") :].startswith(("nmae", "user"))


def test_in_a_pipe_it_is_one_line_and_in_json_an_offset(users: Path, virke: Virke) -> None:
    found = virke("db", "query", "SELECT name FORM users")
    assert found.stderr == 'error: near "users": syntax error\n'
    error = json.loads(virke("db", "query", "SELECT name FORM users", "--json").stderr)["error"]
    assert (error["code"], error["offset"]) == ("sql_error", 17)


@pytest.mark.parametrize(
    ("sql", "offset", "lines"),
    [
        ("SELECT x", None, []),
        ("SELECT x", 99, []),
        ("SELECT '日本', x", 20 - 3, ["  SELECT '日本', x", " " * 17 + "^"]),
        ("\x1b[2J SELECT", 5, ["  \\x1b[2J SELECT", " " * 10 + "^"]),
        ("a" * 200 + " b " + "c" * 200, 201, ["  …" + "a" * 59 + " b " + "c" * (WIDTH - 63) + "…", " " * 63 + "^"]),
    ],
)
def test_the_caret_is_under_the_token(sql: str, offset: int | None, lines: list[str]) -> None:
    """Wide characters, escape sequences and long lines counted as they are shown."""
    assert caret_lines(SqlError("wrong", offset=offset, **{SOURCE: sql})) == lines


def test_without_the_text_there_is_no_caret() -> None:
    assert caret_lines(SqlError("wrong", offset=3)) == []
