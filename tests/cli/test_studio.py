"""`virke studio`: a node on a free port of this machine, and the address of its page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.cli.conftest import Virke
from tests.cli.test_start import ENVIRON


def test_studio_serves_the_page_until_it_is_ended(users: Path) -> None:
    command = [sys.executable, "-m", "virke.cli.main", "studio", "--no-open", "--json"]
    with subprocess.Popen(command, cwd=users, env=ENVIRON, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = "".join(iter(process.stdout.readline, "}\n")) + "}"
        url = urlsplit(json.loads(found)["url"])
        assert (url.hostname, url.path, url.fragment) == ("127.0.0.1", "/_/", "/my-app-db")
        base = f"http://{url.netloc}"
        with urlopen(f"{base}/_/") as answer:
            assert b"main.js" in answer.read()
        with urlopen(f"{base}/db") as answer:
            assert json.load(answer) == {"databases": [{"name": "my-app-db"}]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_studio_is_for_stores_with_that_database(users: Path, virke: Virke) -> None:
    missing = virke("studio", "missing", "--no-open")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "'missing' does not exist" in missing.stderr
    node = virke("studio", "--no-open", "--store", "http://127.0.0.1:1")
    assert node.exit_code == 2
    assert "hint: a node has the page itself: open /_/ there" in node.stderr
