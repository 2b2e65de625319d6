"""P11, B18: what a process with many databases holds in memory; and where its budget is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bench import b18_memory as memory
from tests.promises.ledger import SOURCE
from virke.engine.memory import PROCESS
from virke.errors import Invalid, UsageError
from virke.opening import connect

BUDGET: Final = """
import sys
from virke import connect
from virke.engine.memory import PROCESS
with connect("db", *sys.argv[1:], create=True):
    print(PROCESS.bytes_max >> 20)
"""


def python(code: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """What a process of its own prints."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("VIRKE_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=known | {"PYTHONPATH": SOURCE} | variables,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, to see what a process holds")
def test_b18_a_hundred_open_databases_take_little_memory_and_few_descriptors() -> None:
    """B18: each was written and read, and answers at once."""
    mib, descriptors = memory.held()
    assert mib <= memory.RSS_MIB_MAX
    assert descriptors <= memory.DESCRIPTORS_MAX


def test_the_variable_beats_the_file_and_the_file_the_machine(tmp_path: Path) -> None:
    """The file's holds where the file names the store."""
    (tmp_path / "virke.toml").write_text("[store]\nmemory_mb = 77\n", encoding="utf-8")
    assert python(BUDGET, cwd=tmp_path) == "77"
    assert python(BUDGET, cwd=tmp_path, VIRKE_MEMORY_MB="33") == "33"
    elsewhere = int(python(BUDGET, f"local:{tmp_path}/other", cwd=tmp_path))
    assert elsewhere not in (33, 77)
    assert python(BUDGET, f"local:{tmp_path}/other", cwd=tmp_path, VIRKE_MEMORY_MB="33") == "33"


@pytest.mark.parametrize("text", ["much", "7", "-64", "1.5", "1048577", " 64"])
def test_a_variable_that_is_not_a_size_is_an_error(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRKE_MEMORY_MB", text)
    monkeypatch.setattr(PROCESS, "is_sized", False)
    with pytest.raises(UsageError, match="VIRKE_MEMORY_MB must be a whole number from 8 to 1048576"):
        connect("db", f"local:{tmp_path}", create=True)


@pytest.mark.parametrize("value", [0, 7, True, 64.0, "64", 1 << 21])
def test_an_argument_that_is_not_a_size_is_an_error(tmp_path: Path, value: object) -> None:
    with pytest.raises(Invalid, match="memory_mb must be a whole number from 8 to 1048576"):
        connect("db", f"local:{tmp_path}", create=True, memory_mb=value)  # type: ignore[arg-type]


def test_the_argument_resizes_the_memory_of_the_process(tmp_path: Path) -> None:
    """For all of its databases, from now on; one that is opened without it leaves it as it is."""
    before = PROCESS.bytes_max
    try:
        with (
            connect("a", f"local:{tmp_path}", create=True, memory_mb=64),
            connect("b", f"local:{tmp_path}", create=True),
        ):
            assert PROCESS.bytes_max == 64 << 20
    finally:
        PROCESS.resize(before)
