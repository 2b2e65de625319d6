"""A deployment that is killed at a request, any of them, and run again: the account is as if it had been left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import SOURCE
from tests.project.fastly_project import app_token_is_good, as_text, there, write_project
from tests.servers.fastly_account import Account
from tests.servers.fastly_api import TOKEN, FastlyApi, fastly_api

ROOT = Path(__file__).resolve().parents[2]


class Deployer:
    """Deploys a folder in a process that can be killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def deploy(self, api: FastlyApi, *, kill_at: int | None = None, applied: bool = False) -> int:
        """The exit status; -9 if it was killed at its `kill_at`-th request."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"g")
        stdin.flush()
        child = int(stdout.readline())
        if kill_at is not None:
            api.kill_at(kill_at, child, applied=applied)
        stdin.write(b".")
        stdin.flush()
        return int(stdout.readline())


@contextmanager
def deployer(folder: Path, url: str) -> Iterator[Deployer]:
    """A deployer of a folder, against a model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRKE", "AWS_"))}
    environ = kept | {
        "FASTLY_API_TOKEN": TOKEN,
        "FASTLY_API_ENDPOINT": url,
        "VIRKE_CACHE": "off",
        "PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)]),
    }
    command = [sys.executable, "-m", "tests.project.deployer"]
    with subprocess.Popen(command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Deployer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastlyApi]:
    """A model whose account each deployment gets empty."""
    monkeypatch.setenv("FASTLY_API_TOKEN", TOKEN)
    with fastly_api() as running:
        yield running


def state_of(api: FastlyApi, *, is_two: bool) -> str:
    """What is there; for two services also that the app's token is the one that is good."""
    assert api.account.problems == []
    if is_two:
        assert app_token_is_good(api)
    return as_text(there(api))


def killed_everywhere(api: FastlyApi, folder: Path, *, is_two: bool, step: int) -> int:
    """Kill at every `step`-th request, before and after it was carried out, and go on; returns how many there are."""
    write_project(folder, is_two=is_two)
    with deployer(folder, api.url) as one:
        assert one.deploy(api) == 0
        calls, expected = len(api.account.calls), state_of(api, is_two=is_two)
        for number in range(1, calls + 1, step):
            for applied in (False, True):
                api.account = Account()
                at = f"killed {'after' if applied else 'before'} request {number} of {calls}"
                assert one.deploy(api, kill_at=number, applied=applied) == -signal.SIGKILL, at
                assert one.deploy(api) == 0, at
                assert state_of(api, is_two=is_two) == expected, at
    return calls


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("is_two", [False, True], ids=["one service", "two services"])
def test_killed_at_some_requests(api: FastlyApi, tmp_path: Path, is_two: bool) -> None:
    """It goes on where it was, and nothing is there twice."""
    assert killed_everywhere(api, tmp_path, is_two=is_two, step=11) > 40


@pytest.mark.prove
@pytest.mark.parametrize("is_two", [False, True], ids=["one service", "two services"])
def test_killed_at_every_single_request(api: FastlyApi, tmp_path: Path, is_two: bool) -> None:
    """The same at all of them."""
    assert killed_everywhere(api, tmp_path, is_two=is_two, step=1) > 40
