"""Console blocks of documents, run as a reader would type them, and their output compared with what the page says.

Knows bash and text; knows no page.

1. A block with prompts (`$ `) is compared line by line; one without is run, and every command of it has to succeed.
2. What differs from run to run (numbers, times, ids, the width of columns, the folder) is compared by its shape. `…` stands for any text,
   alone on a line for any lines.
3. `pip install …` is not run: the tests run on what is installed, and the step `wheel` of CI installs it.
4. What is written to stderr counts, where it was written.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_MARK: Final = "@@virke-docs@@"
_FOLDER: Final = re.compile(r"(?<![\w.])/[\w./-]*/my-app(?=[/:])")
_VOLATILE: Final = (
    (re.compile(r"main\.[0-9a-f]{8}\.[0-9a-f]{16}\.[0-9a-f]{8}"), "BOOKMARK"),
    (re.compile(r"vk_[\w-]+…?"), "TOKEN"),
    (re.compile(r"(?<=token )[0-9a-z]{8}\b|\b[0-9a-f]{16,}(…|\b)"), "#"),
    (re.compile(r"\d[\d,.:T-]*\d?Z?( UTC)?"), "#"),
    (re.compile(r"#( ?[KMG]iB| bytes?)\b"), "#"),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One console block: the page, the line it begins on, the heading above, and its text."""

    page: str
    line: int
    text: str

    @property
    def name(self) -> str:
        """`docs/cli.md: virke db query …`: page and first command."""
        commands = [line for line in self.text.splitlines() if line.strip() and "pip install" not in line]
        first = commands[0] if commands else ""
        return f"{self.page}: {first.removeprefix('$ ').split('  ')[0]}"


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the lines that it is said to print."""

    command: str
    expected: tuple[str, ...]


def blocks_of(page: str) -> list[Block]:
    """The console blocks of a page, in its order."""
    found, held, begun = list[Block](), list[str](), 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if begun and line == "```":
            found.append(Block(page, begun, "\n".join(held)))
            begun, held = 0, []
        elif begun:
            held.append(line)
        elif line == "```console":
            begun = number
    return found


def steps_of(block: Block) -> list[Step]:
    """The commands of a block with prompts; of one without, all of it as one command that prints what it likes."""
    lines = block.text.splitlines()
    if not lines[0].startswith("$ "):
        return [Step("\n".join(line for line in lines if not line.startswith("pip install ")), ("…",))]
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return [Step(command, tuple(expected)) for command, expected in found]


def run(block: Block, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run a block in `folder`; what differs from what it says, one line each, empty if nothing does."""
    steps = steps_of(block)
    script = ["exec 2>&1"] if len(steps) > 1 or steps[0].expected != ("…",) else ["set -e", "exec 2>&1"]
    for number, step in enumerate(steps):
        script += [step.command, f'{{ virke_status=$?; echo "{_MARK}{number}"; }} 2>/dev/null; (exit $virke_status)']
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    printed = re.split(rf"{_MARK}\d+\n", done.stdout)
    if len(printed) <= len(steps):
        return [f"{block.name}: ended after {len(printed) - 1} of {len(steps)} commands: {done.stdout}"]
    wrong = list[str]()
    for step, text in zip(steps, printed, strict=False):
        lines = text.splitlines()
        if not matches([shape(line) for line in step.expected], [shape(line) for line in lines]):
            wrong.append(f"{block.page}, line {block.line}: $ {step.command}\n" + "\n".join(lines))
    return wrong


def shape(line: str) -> str:
    """A line without what differs from run to run."""
    line = _FOLDER.sub("/my-app", line.rstrip())
    for pattern, text in _VOLATILE:
        line = pattern.sub(text, line)
    return line.strip()


def matches(expected: list[str], lines: list[str]) -> bool:
    """Whether the lines are those that are expected; `…` alone is any lines, in a line any text."""
    if not expected:
        return not lines
    if expected[0] == "…":
        return any(matches(expected[1:], lines[at:]) for at in range(len(lines) + 1))
    if not lines:
        return False
    pattern = ".*".join(map(re.escape, expected[0].split("…")))
    return re.fullmatch(pattern, lines[0]) is not None and matches(expected[1:], lines[1:])
