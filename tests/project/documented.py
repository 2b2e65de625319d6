"""Blocks of README and docs that need a build or a service that runs: their commands, and what they print held against what is printed.

1. Lines that depend on what is installed on a machine (`_NOT_ALWAYS`) count on neither side.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.docs_console import Step, blocks_of, matches, shape, steps_of

_NOT_ALWAYS: Final = ("installing ", "checked by ", "not checked: ")


def documented(page: str, begins: str) -> list[Step]:
    """The commands of the block of a page that begins so, without their comments and without pip."""
    [block] = [block for block in blocks_of(page) if block.name.startswith(f"{page}: {begins}")]
    steps = [Step(step.command.split("  #")[0].rstrip(), step.expected) for step in steps_of(block)]
    return [step for step in steps if not step.command.startswith("pip install ")]


def typed(command: str, folder: Path, **variables: str) -> str:
    """What a command prints that somebody types in `folder`, with the tested `virke` on the path. It has to succeed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1; {command}"],
        cwd=folder,
        env=environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def assert_printed(step: Step, printed: str) -> None:
    """What was printed is what the page says."""
    said, expected = (
        [shape(line) for line in lines if not line.startswith(_NOT_ALWAYS)]
        for lines in (printed.splitlines(), step.expected)
    )
    assert matches(expected, said), f"$ {step.command}\n{printed}\nis not\n" + "\n".join(step.expected)
