"""How much memory a process may use by default: by the machine and by control groups of both versions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from virke.machine import MOST_BYTES, UNKNOWN_BYTES, default_budget_bytes

MIB: Final = 1 << 20
RAM: Final = 2048 * MIB
V1_NONE: Final = "9223372036854771712\n"


def system(folder: Path, groups: str, files: dict[str, str]) -> Path:
    """A system whose process is in `groups` and whose /sys/fs/cgroup has `files`."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(groups, encoding="utf-8")
    for name, text in files.items():
        path = folder / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, RAM),
        ("0::/\n", {"memory.max": f"{256 * MIB}\n"}, 256 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{512 * MIB}\n"}, 512 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{128 * MIB}", "a/memory.max": f"{512 * MIB}"}, 128 * MIB),
        ("5:cpu:/c\n4:memory:/c\n", {"memory/c/memory.limit_in_bytes": f"{300 * MIB}\n"}, 300 * MIB),
        ("4:hugetlb,memory:/c\n", {"memory/memory.limit_in_bytes": f"{64 * MIB}\n"}, 64 * MIB),
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": f"{96 * MIB}\n"}, 96 * MIB),
        ("4:memory:/c\n", {"memory/c/memory.limit_in_bytes": V1_NONE}, RAM),
        ("4:memory:/c\n0::/d\n", {"d/memory.max": f"{80 * MIB}", "memory/c/memory.limit_in_bytes": V1_NONE}, 80 * MIB),
        ("0::/\n", {"memory.max": f"{RAM * 4}"}, RAM),
        ("0::/\n", {"memory.max": "much\n"}, RAM),
        ("0::/../../etc\n", {}, RAM),
        ("nonsense\n\0\n::\n", {}, RAM),
        ("", {}, RAM),
    ],
)
def test_a_process_takes_a_quarter_of_the_smallest_limit_on_it(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int
) -> None:
    """Its own control group's, that of a group above it, or the machine's memory."""
    assert default_budget_bytes(system(tmp_path, groups, files), RAM) == limit // 4


def test_a_process_never_takes_more_than_a_gibibyte_by_itself(tmp_path: Path) -> None:
    assert default_budget_bytes(tmp_path, 64 << 30) == MOST_BYTES == 1 << 30


def test_this_machine_has_memory() -> None:
    assert 8 * MIB <= default_budget_bytes() <= MOST_BYTES <= UNKNOWN_BYTES


@pytest.mark.parametrize("pages", [-248, -1, 0])
def test_a_system_that_does_not_know_its_memory_has_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """WebAssembly answers with a negative number of pages; a budget made of it would keep nothing."""
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 65536, "SC_PHYS_PAGES": pages}.__getitem__)
    assert default_budget_bytes(system(tmp_path, "0::/\n", {})) == UNKNOWN_BYTES // 4
