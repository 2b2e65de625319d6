"""A pytest plugin that runs each test as if it were at the edge: what is not there raises, and is remembered.

Knows Python's audit events. Loaded by `test_edge_clean.py` into a process of its own, because an audit hook stays for ever.

1. While armed: no thread, file (but Python source and bytecode), socket, process, or import of what is not loaded yet.
2. `isal` can't be imported from the start: the engine does without.
3. What was caught is a failure of the test even if the code under test swallowed the error.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

import pytest

SOURCE_ENDINGS: Final = (".py", ".pyc")
FORBIDDEN: Final = (
    "_thread.start", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.mkdir",
    "os.remove", "os.rename", "os.rmdir", "os.listdir", "os.scandir", "os.truncate", "os.link", "os.symlink", "os.chmod",
    "tempfile.", "shutil.", "glob.", "mmap.", "ctypes.", "fcntl.", "ftplib.", "http.", "urllib.", "webbrowser.",
)  # fmt: skip
STARTERS: Final = ("_start_new_thread", "_start_joinable_thread")
caught: Final[list[str]] = []
_state: Final = {"installed": False, "armed": False}


class NotAtTheEdge(BaseException):
    """The code under test used what the edge does not have; no `except Exception` stops it."""


def refusal(event: str, args: tuple[object, ...]) -> str | None:
    """Why an audit event can't happen at the edge."""
    if event == "import":
        return f"import {args[0]}"
    if event == "open":
        return None if str(args[0]).endswith(SOURCE_ENDINGS) else f"open {args[0]!r}"
    if event == "sqlite3.connect":
        return None if args[0] == ":memory:" else f"sqlite3.connect {args[0]!r}"
    return event if event.startswith(FORBIDDEN) else None


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event == "import" and str(args[0]).split(".")[0] == "isal":
        raise ImportError("isal is not there at the edge")
    if _state["armed"] and (reason := refusal(event, args)):
        _state["armed"] = False  # reporting it may do the same
        caught.append(reason)
        raise NotAtTheEdge(reason)


def install() -> None:
    """Watch this process from now on."""
    if not _state["installed"]:
        sys.addaudithook(_audit)
        for name in STARTERS:  # before Python 3.12 starting a thread was no audit event
            if start := getattr(threading, name, None):
                setattr(threading, name, _watched_start(start))
        _state["installed"] = True


def _watched_start(start: Callable[..., object]) -> Callable[..., object]:
    def starting(*args: object, **named: object) -> object:
        _audit("_thread.start", ())
        return start(*args, **named)

    return starting


@contextmanager
def armed() -> Iterator[None]:
    """Refuse, inside the `with` block, what the edge does not have."""
    _state["armed"] = True
    try:
        yield
    finally:
        _state["armed"] = False


def pytest_configure() -> None:
    """Pytest loads this plugin before anything of Virke."""
    install()
    import_module("sqlite3.dump")  # the tests' own tool, which loads it late


def _watched() -> Generator[None, object, object]:
    del caught[:]
    with armed():
        result = yield
    if caught:
        pytest.fail(f"not at the edge: {caught}")
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Our own fixtures open databases too; pytest's make folders."""
    if fixturedef.baseid.startswith("tests/engine"):
        return (yield from _watched())
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """The test itself."""
    return (yield from _watched())
