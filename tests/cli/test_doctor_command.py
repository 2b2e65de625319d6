"""`virke doctor`: what it prints, its exit codes and its JSON."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.cli.test_start import ENVIRON
from tests.examinations import repeat_less
from tests.servers.proxy import DropAnswer, IgnoreConditions, proxy
from tests.servers.running import free_ports
from tests.servers.s3 import CREDENTIALS, S3Server

pytestmark = pytest.mark.once


@pytest.fixture
def s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a client of the test servers."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VIRKE_CACHE", str(folder / "cache"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that repeat less."""
    repeat_less(monkeypatch)


def test_a_fit_store_is_a_table_and_exit_code_0(users: Path, virke: Virke) -> None:
    """One row for each check, latencies, one last line; nothing on stderr, and the database is as it was."""
    before = virke("db", "status").stdout
    found = virke("doctor")
    assert (found.exit_code, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["check", "verdict", "found"]
    assert lines[2].split()[:3] == ["create", "only", "ok"]
    assert lines[-1].startswith(f"{(users / '.virke').as_uri()}: fit for Virke (35 checks, ")
    assert max(map(len, lines[:-1])) <= 100
    assert virke("db", "status").stdout == before


def test_what_checks_mean_is_said_if_asked_for(virke: Virke) -> None:
    """With `--explain` of every check, at 100 columns."""
    found = virke("doctor", "--explain", "--store", "memory://")
    assert "Of two who create the same database" in " ".join(found.stdout.split())
    assert max(map(len, found.stdout.splitlines())) <= 100
    assert "Of two who create" not in virke("doctor", "--store", "memory://", "--quiet").stdout


def test_json_has_checks_latencies_and_the_verdict(virke: Virke) -> None:
    """One object, of which programs read `fit`."""
    found = virke("doctor", "--json", "--store", "memory://", "--large")
    assert (found.exit_code, found.stderr) == (0, "")
    report = json.loads(found.stdout)
    assert set(report) == {"store", "fit", "checks", "latencies", "calls", "elapsed_ms"}
    assert report["fit"] is True
    assert all(set(check) == {"name", "status", "found", "means"} for check in report["checks"])
    assert {check["status"] for check in report["checks"]} == {"ok"}
    assert all(set(one) == {"name", "count", "median_ms", "worst_ms"} for one in report["latencies"])


@pytest.mark.usefixtures("s3", "few")
def test_a_store_that_ignores_conditions_is_refused_with_exit_code_1(virke: Virke, moto: S3Server) -> None:
    """What failed is named in the last line, and explained in its row."""
    with proxy(moto.endpoint) as way:
        way.fault = lambda request: IgnoreConditions() if request.method == "PUT" else None
        url = S3Server("proxy", way.endpoint).url("refused")
        found = virke("doctor", "--store", url)
    assert (found.exit_code, found.stderr) == (1, "")
    lines = found.stdout.splitlines()
    assert lines[-1].startswith(f"{url}: not fit for Virke: create only, stale swap, ")
    assert "Creating a database would replace one that is there" in " ".join(found.stdout.split())
    assert max(map(len, lines[:-1])) <= 100


@pytest.mark.usefixtures("s3")
def test_a_store_of_which_nothing_is_known_is_exit_code_3(virke: Virke, moto: S3Server) -> None:
    """Answers get lost from some point on: neither fit nor refused, in JSON too."""
    with proxy(moto.endpoint) as way:
        way.fault = lambda request: DropAnswer() if request.method == "PUT" and request.number > 20 else None
        found = virke("doctor", "--json", "--store", S3Server("proxy", way.endpoint).url("lost"))
    assert (found.exit_code, found.stderr) == (3, "")
    report = json.loads(found.stdout)
    assert report["fit"] is False
    assert "fail" not in {check["status"] for check in report["checks"]}


@pytest.mark.usefixtures("s3")
def test_a_server_that_is_down_is_an_error_with_exit_code_3(virke: Virke) -> None:
    """No verdict: nobody answered."""
    found = virke("doctor", "--store", S3Server("nobody", f"http://127.0.0.1:{free_ports(1)[0]}").url())
    assert (found.exit_code, found.stdout) == (3, "")
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1


def test_a_folder_that_is_not_there_is_not_made(folder: Path, virke: Virke) -> None:
    """The doctor makes no stores, and says which command does."""
    for args in ([], ["--store", "local:there"]):
        found = virke("doctor", *args)
        assert (found.exit_code, found.stdout) == (1, "")
        assert found.stderr.startswith("error: no store at ")
        made = found.stderr.partition("(with: virke ")[2].removesuffix(")\n")
        assert [*folder.iterdir()] == []
        assert virke(*made.split()).exit_code == 0
        assert virke("doctor", *args).exit_code == 0
        shutil.rmtree(folder / (args or ["", ".virke"])[1].removeprefix("local:"))


def test_a_terminal_gets_colours(tmp_path: Path) -> None:
    """Verdicts are coloured there; no bar is drawn where stderr is no terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "virke.cli.main", "doctor", "--store", "memory://"],
        cwd=tmp_path,
        env=ENVIRON | {"NO_COLOR": "", "TERM": "xterm"},
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    assert process.stderr is not None
    printed = b""
    while not printed.endswith(b" s)\r\n"):
        printed += os.read(ours, 65536)
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0
    os.close(ours)
    assert b"\x1b[32mok\x1b[0m" in printed
