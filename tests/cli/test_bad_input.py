"""Bad input: one line on stderr, the right exit code, nothing on stdout, no traceback."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Virke, start
from tests.servers.proxy import Answer, proxy
from tests.servers.s3 import CREDENTIALS, S3Server
from virke.config import find_config
from virke.engine.database import Database
from virke.errors import Invalid, Unavailable
from virke.migrations import migrate
from virke.opening import connect, create, delete, list_databases
from virke.transfer import export_file, import_file

CASES = [
    (1, "create it with", ["db", "query", "SELECT 1", "--db", "missing"]),
    (1, "invalid database name", ["db", "create", "a/b"]),
    (1, "invalid database name", ["db", "query", "SELECT 1", "--db", "../x"]),
    (1, "syntax error", ["db", "query", "SELEC 1"]),
    (1, "incomplete input", ["db", "execute", "INSERT INTO"]),
    (1, "no such table: nope", ["db", "query", "SELECT * FROM nope"]),
    (1, "parameters", ["db", "query", "SELECT ?, ?", "-p", "1"]),
    (1, "parameters", ["db", "query", "SELECT 1", "-p", "1"]),
    (2, "no parameter 'b'", ["db", "query", "SELECT :a", "-p", "b=1"]),
    (2, "does not fit", ["db", "query", "SELECT ?", "-p", "9223372036854775808"]),
    (1, "no such file", ["db", "import", "missing.sql"]),
    (1, "nope", ["db", "settings", "nope=1"]),
    (1, "durability", ["db", "settings", "durability=maybe"]),
    (2, "KEY=VALUE", ["db", "settings", "durability"]),
    (1, "migrations", ["db", "migrate"]),
    (1, "exist", ["db", "create"]),
    (1, "", ["db", "schema", "nope"]),
    (2, "No such option", ["db", "query", "SELECT 1", "--bogus"]),
    (2, "Missing argument", ["db", "query"]),
    (2, "No such command", ["db", "bogus"]),
    (2, "Invalid value", ["db", "query", "SELECT 1", "--format", "xml"]),
    (2, "", ["db", "query", "SELECT 1", "--store", "gopher://x"]),
    (2, "virke.toml is a file", ["db", "list", "--store", "virke.toml"]),
    (2, "virke.toml is a file", ["db", "create", "x", "--store", "local:virke.toml"]),
    (1, "", ["db", "execute", "ATTACH 'x' AS y"]),
    (1, "", ["db", "query", ""]),
]


@pytest.mark.parametrize(("code", "words", "args"), CASES, ids=[" ".join(args) for _, _, args in CASES])
def test_is_one_line_and_the_right_exit_code(
    project: Path, virke: Virke, code: int, words: str, args: Sequence[str]
) -> None:
    before = virke("db", "status", "--json").stdout
    found = virke(*args)
    assert (found.exit_code, found.stdout) == (code, "")
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert words in found.stderr
    assert virke("db", "status", "--json").stdout == before


@pytest.mark.parametrize(("code", "words", "args"), CASES[:4] + CASES[-8:-4])
def test_is_a_json_object_with_json(project: Path, virke: Virke, code: int, words: str, args: Sequence[str]) -> None:
    found = virke(*args, "--json")
    assert (found.exit_code, found.stdout) == (code, "")
    error = json.loads(found.stderr)["error"]
    assert set(error) - {"offset"} == {"code", "message", "retryable"}
    assert words in error["message"]


def test_a_wrong_virke_toml_names_file_and_line(folder: Path, virke: Virke) -> None:
    (folder / "virke.toml").write_text('[project]\nname = "x"\n[database\n')
    found = virke("db", "status")
    assert found.exit_code == 2
    assert f"error: {folder / 'virke.toml'}:3: " in found.stderr


def test_without_any_name_the_error_says_what_to_do(folder: Path, virke: Virke) -> None:
    found = virke("db", "status")
    assert found.exit_code == 2
    assert "virke init" in found.stderr


def test_a_name_that_can_be_none_makes_no_store(folder: Path, virke: Virke) -> None:
    found = virke("db", "create", "a b", "--store", "local:new")
    assert found.exit_code == 1
    assert "invalid database name" in found.stderr
    assert list(folder.iterdir()) == []


def test_a_web_server_is_no_empty_store(folder: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong port, or the page of a hotel's network: it answers everything, and with success."""
    for name, value in {**CREDENTIALS, "VIRKE_CACHE": "off"}.items():
        monkeypatch.setenv(name, value)
    with proxy("http://nowhere.invalid") as way:
        way.fault = lambda request: Answer(200, b"<!DOCTYPE html><html><body>Welcome</body></html>")
        found = virke("db", "list", "--store", S3Server("web", way.endpoint).url("x"))
    assert (found.exit_code > 0, found.stdout) == (True, "")
    assert found.stderr.count("\n") == 1


@contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """A folder that this user may not search; root, who may, is another user meanwhile."""
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(0o700)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder, database: import_file(database, folder / "x.sql"), "can't read .*x.sql: Permission denied"),
        (lambda folder, database: export_file(database, folder / "x.sql"), "can't write .*x.sql: Permission denied"),
        (lambda folder, database: migrate(database, folder / "m"), "can't read .*m: Permission denied"),
    ],
    ids=["import", "export", "migrate"],
)
def test_a_folder_that_may_not_be_searched_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path, Database], object], words: str
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all, create("rights", "memory://") as database:
        Path(open_to_all).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", open_to_all)  # the one of this run may be closed to the other user
        database.execute("CREATE TABLE t(a)")
        folder = tmp_path / "closed"
        folder.mkdir()
        with without_rights(folder), pytest.raises(Invalid, match=words):
            call(folder, database)


CALLS: dict[str, Callable[[str, Database], object]] = {
    "strong read": lambda url, database: database.query("SELECT * FROM t", consistency="strong"),
    "write": lambda url, database: database.execute("INSERT INTO t VALUES (1)"),
    "connect": lambda url, database: connect("rights", url, background=False),
    "create": lambda url, database: create("other", url),
    "list": lambda url, database: list_databases(url),
    "delete": lambda url, database: delete("rights", url),
}


@pytest.mark.parametrize("call", CALLS)
def test_p11_a_store_whose_folder_was_closed_is_unavailable_and_goes_on_once_it_is_open(call: str) -> None:
    """No PermissionError of the system's reaches a caller, and nothing is changed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all:
        Path(open_to_all).chmod(0o755)
        folder = Path(open_to_all) / "store"
        url = f"local:{folder}"
        with create("rights", url) as database:
            database.execute("CREATE TABLE t(a)")
            with without_rights(folder), pytest.raises(Unavailable, match="Permission denied"):
                CALLS[call](url, database)
            assert database.query("SELECT * FROM t", consistency="strong").rows == []
        assert list_databases(url) == ["rights"]


def test_a_virke_toml_that_may_not_be_looked_for_is_none(tmp_path: Path) -> None:
    """A process may work below folders that it may not search."""
    (tmp_path / "closed" / "inner").mkdir(parents=True)
    with without_rights(tmp_path / "closed"):
        assert find_config(tmp_path / "closed" / "inner") is None


def test_a_virke_toml_without_end_is_an_error(folder: Path, virke: Virke) -> None:
    (folder / "virke.toml").touch()
    os.truncate(folder / "virke.toml", 30 << 30)
    found = virke("db", "status")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "it is longer than 1 MiB" in found.stderr


def test_an_error_of_our_own_is_one_line_unless_asked(
    project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virke.cli.target.load_config", lambda: 1 / 0)
    found = virke("db", "status")
    assert found.exit_code == 1
    assert found.stderr == (
        "internal error: ZeroDivisionError: division by zero (set VIRKE_DEBUG=1 for the traceback)\n"
    )
    monkeypatch.setenv("VIRKE_DEBUG", "1")
    assert "Traceback" in virke("db", "status").stderr


class PanicError(BaseException):
    """What a client library of another language raises; it is no `Exception`."""


@pytest.mark.parametrize("args", [[], ["--json"]])
def test_a_panic_of_a_library_is_an_error_like_any_other(
    project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    def panic() -> None:
        raise PanicError("index out of bounds")

    monkeypatch.setattr("virke.cli.target.load_config", panic)
    found = virke("db", "status", *args)
    assert (found.exit_code, found.stdout) == (1, "")
    message = "internal error: PanicError: index out of bounds (set VIRKE_DEBUG=1 for the traceback)"
    if args:
        assert json.loads(found.stderr) == {"error": {"code": "internal", "message": message, "retryable": False}}
    else:
        assert found.stderr == message + "\n"


@pytest.mark.parametrize("args", [["db", "list"], ["init"], ["db", "migrate"]])
def test_a_current_folder_that_was_deleted_is_named(
    folder: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    found = virke(*args)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: the current folder does not exist any more: change into one that does\n"


def test_an_interrupted_command_says_nothing_and_ends_with_130(
    project: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("virke.cli.target.load_config", interrupted)
    found = virke("db", "status")
    assert (found.exit_code, found.stdout, found.stderr) == (130, "", "\n")


def test_a_terminal_is_not_at_the_mercy_of_an_error(project: Path, virke: Virke) -> None:
    assert "\x1b" not in virke("db", "query", "SELECT \x1b[31m").stderr


def test_a_process_ends_with_the_code_of_its_error(folder: Path) -> None:
    for args, code in ((["db", "status", "--db", "missing"], 1), (["db", "status", "--bogus"], 2)):
        found = start(*args, folder=folder)
        assert (found.returncode, found.stdout) == (code, "")
        assert found.stderr.count("\n") == 1
        assert "Traceback" not in found.stderr
