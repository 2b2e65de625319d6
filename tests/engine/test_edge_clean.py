"""The engine runs where there is no thread, file, socket, process, C library but apsw, or late import: at the edge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.once, pytest.mark.native]

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS_MIN: Final = 300

VIOLATIONS: Final = {
    "thread": "threading.Thread(target=print).start()",
    "pool": "concurrent.futures.ThreadPoolExecutor(1).submit(print)",
    "file to write": "open('x.txt', 'w')",
    "file to read": "open('pyproject.toml')",
    "descriptor": "os.open('pyproject.toml', os.O_RDONLY)",
    "path": "pathlib.Path('pyproject.toml').read_text()",
    "folder": "os.mkdir('x')",
    "listing": "os.listdir('.')",
    "database file": "sqlite3.connect('x.sqlite')",
    "socket": "socket.socket()",
    "address": "socket.getaddrinfo('localhost', 80)",
    "process": "subprocess.run(['true'])",
    "shell": "os.system('true')",
    "fork": "os.fork()",
    "late import": "import wave",
    "late import of a part": "importlib.import_module('xml.dom.minidom')",
    "swallowed": "contextlib.suppress(Exception).__enter__(); import wave",
}
FINE: Final = {
    "source": "open('tests/engine/__init__.py').close()",
    "loaded": "import json, os.path",
    "lock": "threading.Lock().acquire()",
    "memory": "sqlite3.connect(':memory:').close()",
    "randomness": "os.urandom(8)",
}
PROBE: Final = """
import concurrent.futures, concurrent.futures.thread, contextlib, importlib, json, os, pathlib, socket, sqlite3
import subprocess, sys, threading
from tests.engine import edge_hook
edge_hook.install()
code = compile(sys.argv[1], "probe.py", "exec")
names = dict(globals())
try:
    with edge_hook.armed():
        exec(code, names)
except edge_hook.NotAtTheEdge as error:
    print("caught:", error)
else:
    print("fine")
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Another Python in the project's folder."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("code", VIOLATIONS.values(), ids=VIOLATIONS)
def test_the_hook_catches(code: str) -> None:
    """Each thing that is not there, one by one."""
    done = python("-c", PROBE, code)
    assert done.stdout.startswith("caught:"), done.stdout + done.stderr


@pytest.mark.parametrize("code", FINE.values(), ids=FINE)
def test_the_hook_lets_pass(code: str) -> None:
    done = python("-c", PROBE, code)
    assert done.stdout == "fine\n", done.stdout + done.stderr


def test_isal_can_not_be_imported_under_the_hook() -> None:
    """Armed or not; what the engine writes without it, it reads with it."""
    code = (
        "from tests.engine import edge_hook; edge_hook.install(); from virke.core import codec; "
        "print(codec.isal_zlib, codec.encode(bytes(5000))[1].hex())"
    )
    done = python("-c", code)
    assert done.stdout.startswith("None "), done.stderr
    from virke.core.codec import crc32, decode

    data = bytes.fromhex(done.stdout.split()[1])
    assert decode(1, data, crc=crc32(data), raw_bytes=5000, what="x") == bytes(5000)


def test_what_the_edge_needs_imports_with_what_its_python_has() -> None:
    """Modules that are everywhere but there come back with every refactoring; this names each that brought one."""
    done = python("-m", "tests.engine.edge_imports")
    assert json.loads(done.stdout) == {}, done.stderr


def test_a_module_that_needs_what_is_not_there_is_named() -> None:
    """The list is not empty because nothing was looked at."""
    code = (
        "from tests.engine import edge_imports; edge_imports.block(); "
        "edge_imports.NEEDED_TOO = ('stores.local.kv', 'no_such'); print(edge_imports.failures())"
    )
    done = python("-c", code)
    assert "mmap is not there at the edge" in done.stdout, done.stderr
    assert "virke.no_such" in done.stdout


def test_the_engine_s_tests_pass_at_the_edge() -> None:
    """All tests marked `edge`, each under the hook: SQL, pages, guard, clock, parameters, consistency, counts."""
    plugins = ["-p", "tests.engine.edge_hook", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    done = python("-m", "pytest", "tests/engine", "-q", "-m", "edge", *plugins)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    passed = re.search(r"(\d+) passed", report)
    assert passed, report
    assert int(passed[1]) >= TESTS_MIN
