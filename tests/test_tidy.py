"""The tree keeps every rule of `tidy.py`, and every rule can fail."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Final

import pytest

from tests.tidy import RULES
from tests.tidy.shape import ENGINE_LINES_MAX, FILE_LINES_AIM, FILE_LINES_MAX, FUNCTION_LINES_MAX, grown_files

ROOT: Final = Path(__file__).resolve().parents[1]
BUILT: Final = frozenset(
    ".git .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache __pycache__ build dist node_modules".split()
)


def _paths() -> list[str]:
    """Every file that is tracked or could be; without git, every file that nothing here built."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        return [path.as_posix() for path in paths if not BUILT & set(path.parts)]


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    """Every text file of the repository."""
    files = {}
    for name in _paths():
        if (path := ROOT / name).is_file() and b"\0" not in (data := path.read_bytes()):
            files[name] = data.decode(errors="replace")
    return files


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_keeps(rule: str, tree: dict[str, str]) -> None:
    assert RULES[rule](tree) == []


@pytest.mark.filterwarnings("default::UserWarning")
def test_the_tree_is_read_and_grown_files_are_named(tree: dict[str, str]) -> None:
    assert {
        "pyproject.toml",
        "ARCHITECTURE.md",
        "src/virke/errors.py",
        "src/virke/core/ids.py",
        "tests/test_tidy.py",
    } <= tree.keys()
    for advice in grown_files(tree):
        warnings.warn(advice, stacklevel=1)


CORE, ENGINE, STORE, CLI = (f"src/virke/{name}.py" for name in ("core/x", "engine/x", "stores/x", "cli/x"))
DATABASE: Final = "src/virke/engine/database.py"
MAP: Final = "  engine/     all\n    x sqlite/      some\n  other/ b\n    y    more\n"
WORK: Final = "/" + "work/main"

BAD: Final[list[tuple[str, dict[str, str], str]]] = [
    ("import_arrows", {CORE: "from virke.engine import driver"}, "core/x.py:1: 'core' may not import"),
    ("import_arrows", {CORE: "from ..stores.base import Blobs"}, "may not import 'virke.stores.base.Blobs'"),
    ("import_arrows", {STORE: "def f():\n    import virke.engine.vfs"}, "stores/x.py:2:"),
    ("import_arrows", {ENGINE: "from virke import opening"}, "may not import 'virke.opening'"),
    ("import_arrows", {"src/virke/errors.py": "import virke"}, "may not import 'virke'"),
    ("import_arrows", {"src/virke/api/x.py": "from virke import cli"}, "may not import 'virke.cli'"),
    ("import_arrows", {"src/virke/node/x.py": "from virke.cli.main import main"}, "'node' may not import"),
    ("import_arrows", {"src/virke/journal.py": "if True:\n    from virke.runtime import app"}, "journal.py:2:"),
    ("import_arrows", {"src/virke/extra.py": ""}, "'extra' has no row in LAYERS"),
    ("import_arrows", {CORE: "from virke import extra", "src/virke/extra.py": ""}, "may not import 'virke.extra'"),
    ("core_is_pure", {CORE: "import os.path"}, "may not import 'os.path'"),
    ("core_is_pure", {CORE: "from random import randbytes"}, "may not import 'random.randbytes'"),
    ("core_is_pure", {CORE: "def f():\n    import threading"}, "core/x.py:2:"),
    ("core_is_pure", {CORE: "import apsw"}, "may not import 'apsw'"),
    ("core_is_pure", {CORE: "from datetime import datetime\nT = datetime.now()"}, "core/x.py:2: may not call .now()"),
    ("core_is_pure", {CORE: "open('x')"}, "may not call open()"),
    ("core_is_pure", {CORE: "print(input())"}, "may not call input()"),
    ("edge_clean", {ENGINE: "import socket"}, "may not import 'socket'"),
    ("edge_clean", {ENGINE: "from concurrent.futures import ThreadPoolExecutor"}, "may not import 'concurrent"),
    ("edge_clean", {ENGINE: "from threading import Thread"}, "may not import 'threading.Thread'"),
    ("edge_clean", {ENGINE: "import threading\nthreading.Thread()"}, "may not use 'threading.Thread'"),
    ("edge_clean", {ENGINE: "import threading as t"}, "may not rename 'threading'"),
    ("edge_clean", {ENGINE: "import os\nos.open('x', 0)"}, "may not use 'os.open'"),
    ("edge_clean", {ENGINE: "def f():\n    import json"}, "may not import inside f()"),
    ("edge_clean", {ENGINE: "class A:\n    async def f(self):\n        from json import loads"}, "import inside f()"),
    ("edge_clean", {ENGINE: "open('x')"}, "may not call open()"),
    ("edge_clean", {ENGINE: "import isal"}, "may not need 'isal'"),
    ("edge_clean", {ENGINE: "try:\n    import isal\nexcept ValueError:\n    pass"}, "may not need 'isal'"),
    ("edge_clean", {ENGINE: "from virke.stores.x import y", STORE: "import ssl"}, "stores/x.py:1: runs at the edge"),
    ("edge_clean", {ENGINE: "from ..stores import x", STORE: "import mmap"}, "(imported by src/virke/engine/x.py)"),
    ("edge_clean", {ENGINE: "import virke.stores.x", "src/virke/stores/__init__.py": "import ssl"}, "import 'ssl'"),
    ("one_importer", {CORE: "import apsw", ENGINE: "from apsw import ext"}, "one file imports 'apsw', not 2"),
    ("one_importer", {STORE: "def f():\n    import rich.table", CLI: "import rich"}, "one file imports 'rich'"),
    ("one_importer", {STORE: "import fcntl", CLI: "import fcntl"}, "one file imports 'fcntl'"),
    ("one_importer", {CLI: "import click", ENGINE: "import click"}, "one file imports 'click'"),
    ("sizes", {CORE: "x = 1\n" * (FILE_LINES_MAX + 1)}, "501 lines"),
    ("sizes", {ENGINE: "x = 1\n" * (ENGINE_LINES_MAX + 1)}, "engine/x.py:401: 401 lines, 400 is the end"),
    ("sizes", {DATABASE: "class Database:\n" + "    x = 1\n" * 250}, "class Database has 251 lines of 250"),
    ("sizes", {"tests/test_x.py": "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX}, "f() has 71 lines of 70"),
    ("sizes", {CORE: "def f(a, b, /, c, d, e=1): ..."}, "f() takes 5 positional parameters"),
    ("sizes", {CORE: "class A:\n    @staticmethod\n    def f(a, b, c, d, e): ..."}, "takes 5 positional"),
    ("sizes", {CORE: "class A:\n    def f(self, a, b, c, d, e): ..."}, "takes 5 positional"),
    ("docstrings", {CORE: ""}, "the module docstring starts with a sentence"),
    ("docstrings", {CORE: '"""Things"""'}, "the module docstring starts with a sentence"),
    ("docstrings", {CORE: '"""It is here."""\ndef f(): ...'}, "core/x.py:2: f has no docstring"),
    ("docstrings", {CORE: '"""It is here."""\nclass A: ...'}, "A has no docstring"),
    ("docstrings", {CORE: '"""It is here."""\nclass A:\n    """A."""\n    def f(self): ...'}, "f has no docstring"),
    ("docstrings", {CORE: '"""It is here."""\nclass A(Protocol):\n    """A."""\n    def f(self): ...'}, "f has no"),
    ("no_junk", {"src/virke/core/utils.py": ""}, "'utils' says nothing"),
    ("no_junk", {"tests/common/x.py": ""}, "'common' says nothing"),
    ("no_junk", {CORE: "try:\n    f()\nexcept:\n    raise"}, "core/x.py:3: swallows every error"),
    ("no_junk", {CORE: "try:\n    f()\nexcept Exception as e:\n    pass"}, "core/x.py:3: swallows every error"),
    ("no_junk", {CORE: "x = 1  # type: ignore"}, "a type ignore names its code"),
    ("no_junk", {CORE: "x = 1  # TODO later"}, "finish it"),
    ("no_junk", {"README.md": "a\n" + "<" * 7 + " HEAD\nb"}, "README.md:2: a merge is not finished"),
    ("no_junk", {CORE: '"""FIXME."""'}, "finish it"),
    (
        "rooms",
        {"ARCHITECTURE.md": MAP, ENGINE: "", DATABASE: ""},
        "database.py:1: ARCHITECTURE.md does not name 'database'",
    ),
    ("rooms", {"ARCHITECTURE.md": MAP, ENGINE: ""}, "ARCHITECTURE.md:2: engine/ has no 'sqlite'"),
    ("rooms", {"ARCHITECTURE.md": MAP, ENGINE: "", CORE: ""}, "core/x.py:1: ARCHITECTURE.md does not name 'x'"),
    (
        "rooms",
        {"ARCHITECTURE.md": MAP, "src/virke/engine/y.py": ""},
        "engine/y.py:1: ARCHITECTURE.md does not name 'y'",
    ),
    ("no_machine", {"README.md": f"one\nsee {WORK}/x"}, "README.md:2:"),
    ("no_machine", {"a.toml": "path = '" + "/" + "home/me/x'"}, "a.toml:1:"),
    ("no_machine", {"docs/x.md": "https:" + "//pypi.example.internal/simple"}, "docs/x.md:1:"),
    ("no_machine", {"x.lock": "a==1\n--index-url https://example.org/simple"}, "x.lock:2:"),
]


@pytest.mark.parametrize(("rule", "files", "finding"), BAD, ids=[f"{case[0]}-{n}" for n, case in enumerate(BAD)])
def test_a_bad_snippet_is_found(rule: str, files: dict[str, str], finding: str) -> None:
    found = RULES[rule](files)
    assert any(finding in line for line in found), found


def test_every_rule_has_a_bad_snippet() -> None:
    assert {case[0] for case in BAD} == RULES.keys()


GOOD: Final[list[dict[str, str]]] = [
    {
        CORE: '"""Pure it is."""\nimport zlib\nfrom virke.errors import Invalid\nfrom virke import config',
        "src/virke/errors.py": '"""Errors of Virke."""',
        "src/virke/config.py": '"""Settings of Virke."""\nfrom virke.errors import Invalid',
    },
    {
        ENGINE: '"""A locked thing."""\nimport os\nimport threading\nimport time\nimport apsw\n'
        "try:\n    from isal import isal_zlib\nexcept ImportError:\n    import zlib\n"
        "LOCK = threading.Lock()\nID = os.urandom(16)\nfrom virke.core.x import y",
        CORE: '"""Pure it is."""',
    },
    {"src/virke/__init__.py": '"""The public names."""\nfrom virke.aio import connect\nfrom virke.api import x'},
    {"src/virke/dbapi.py": '"""PEP 249 for Virke."""\nfrom virke import connect\nfrom virke.aio import y'},
    {CLI: '"""One group of commands."""\nimport click', "src/virke/cli/y.py": '"""One more group."""\nimport click'},
    {
        STORE: '"""Stores and contracts."""\nclass A(Protocol):\n    """A."""\n    def f(self):\n        """F."""\n'
        'class B:\n    """B."""\n    def f(self): ...\n    def _g(self): ...\n'
        '    def h(self, a, b, c, d, *, e, f=1):\n        """H."""\n'
        '    @property\n    def p(self):\n        """P."""\n    @p.setter\n    def p(self, value): ...'
    },
    {CORE: '"""Narrow errors are fine."""\ntry:\n    x = 1  # type: ignore[misc]\nexcept KeyError:\n    pass'},
    {"tests/test_x.py": "class A:\n    def f(self, a, b, c, d, e): ...\n" + "x = 1\n" * FILE_LINES_AIM},
    {"ARCHITECTURE.md": MAP, ENGINE: '"""It is an engine."""', "src/virke/engine/sqlite/x.py": '"""A part of it."""'},
    {"README.md": "See docs/work/x, ./home/x, https://example.org/home/x and http://localhost:8080/root."},
]


@pytest.mark.parametrize("files", GOOD)
def test_a_good_snippet_is_left_alone(files: dict[str, str]) -> None:
    assert [line for rule in RULES.values() for line in rule(files)] == []
