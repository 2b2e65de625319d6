"""CPython's own tests of `sqlite3`, run on `virke.dbapi`: what each of them ends as, as JSON.

They are taken from the `test` package of the interpreter that runs this (some systems leave it out). A module in the place of
`sqlite3` gives them `virke.dbapi`; `:memory:` is a new database in memory, and the name of a file a local store of its own, which is
gone when the file is removed.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3 as real
import sys
import tempfile
import traceback
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote

from virke import dbapi

SUITES: Final = ("dbapi", "types", "transactions", "factory", "userfunctions")


class Connection(dbapi.Connection):
    """`virke.dbapi.Connection` with the arguments of `sqlite3.Connection`."""

    def __init__(self, database: Any, *args: Any, **how: Any) -> None:
        names = (
            "timeout",
            "detect_types",
            "isolation_level",
            "check_same_thread",
            "factory",
            "cached_statements",
            "uri",
        )
        how |= dict(zip(names, args, strict=False))
        for name in ("factory", "cached_statements"):
            how.pop(name, None)
        is_uri, path = how.pop("uri", False), os.fsdecode(database)
        if path == ":memory:":
            super().__init__(path, **how)
            return
        if is_uri:
            path, _, mode = unquote(path.removeprefix("file:"), errors="surrogateescape").partition("?")
            how["read_only"] = mode == "mode=ro"
        folder = _folder_of(Path(path), may_make=not how.get("read_only"))
        super().__init__(
            "main", f"local:{folder}", create=folder.name.startswith("made-by-test") and not how.get("read_only"), **how
        )


def _folder_of(path: Path, *, may_make: bool) -> Path:
    """The store of a file: it is named in the file, which tests look for and remove."""
    if path.is_file():
        return Path(path.read_text())
    if not path.parent.is_dir() or path.is_dir() or not may_make:
        return path
    folder = tempfile.mkdtemp(prefix="made-by-test")
    path.write_text(folder)
    return Path(folder)


def connect(database: Any, *args: Any, factory: Callable[..., Any] = Connection, **how: Any) -> Any:
    """`sqlite3.connect`."""
    if len(args) > 4:
        factory = args[4]
    return factory(database, *args, **how)


def _substitute() -> None:
    """Let `import sqlite3` give `virke.dbapi` from here on."""
    shim = ModuleType("sqlite3")
    vars(shim).update({name: value for name, value in vars(dbapi).items() if not name.startswith("__")})
    constants = {name: getattr(real, name) for name in dir(real) if name.startswith("SQLITE_")}
    vars(shim).update(constants, Connection=Connection, connect=connect, dbapi2=shim, version="2.6.0")
    sys.modules["sqlite3"] = sys.modules["sqlite3.dbapi2"] = shim


class _Result(unittest.TestResult):
    """Each test once, with the worst of what it and its parts ended as."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, how: str) -> None:
        name = test.id().removeprefix("test.test_sqlite3.test_").partition(" ")[0]
        if self.ended.get(name) not in ("failed",):
            self.ended[name] = how

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, f"skipped: {reason}")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._failed(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._failed(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._failed(test, err)

    def _failed(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "failed")
        if "-v" in sys.argv:
            sys.stderr.write(f"== {test.id()}\n{''.join(traceback.format_exception(*err))}\n")


def main() -> None:
    """Run the suites and print what became of each test."""
    _substitute()
    warnings.simplefilter("ignore")
    result = _Result()
    os.chdir(tempfile.mkdtemp())
    chosen = [one for one in sys.argv[1:] if one != "-v"]
    for suite in SUITES:
        module = importlib.import_module(f"test.test_sqlite3.test_{suite}")
        for test in unittest.defaultTestLoader.loadTestsFromModule(module):
            for one in test if isinstance(test, unittest.TestSuite) else ():
                assert isinstance(one, unittest.TestCase)
                if not chosen or any(word in one.id() for word in chosen):
                    one.run(result)
    print(json.dumps(result.ended))


if __name__ == "__main__":
    main()
