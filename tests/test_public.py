"""The public names: there, lazy, and not hidden by the modules that hold them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import virke


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_every_public_name_is_there() -> None:
    """What `virke` says it has can be had, and is named as it is called."""
    for name in virke._HOMES:
        assert getattr(virke, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="nonsense"):
        _ = virke.nonsense


@pytest.mark.parametrize("first", ["virke.opening", "virke.aio", "virke.cli.main", "virke.engine.database"])
def test_connect_is_a_function_whatever_was_imported_first(first: str) -> None:
    """No module may take the name of a public function."""
    assert python(f"import {first}, virke; print(callable(virke.connect))") == "True"


def test_importing_virke_loads_neither_sqlite_nor_the_engine() -> None:
    """Budget B12, by modules instead of time."""
    loaded = python("import sys, virke; print(*sorted(m for m in sys.modules if m.split('.')[0] in ('apsw', 'virke')))")
    assert loaded == "virke"


def test_python_m_virke_is_the_command() -> None:
    """Both names of the program are one program."""
    done = subprocess.run([sys.executable, "-m", "virke", "--version"], check=True, capture_output=True, text=True)
    assert virke.__version__ in done.stdout
