"""Stand-ins for Pythons and for the vendor's build tool: small shell scripts, so that tests need neither."""

from __future__ import annotations

from pathlib import Path

from virke.edge.building.pythons import Python
from virke.edge.building.tools import Tools, tools_of


def script(path: Path, text: str) -> Path:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def stand_in(cache: Path, python: Python, text: str) -> Tools:
    """An environment whose Python is a script, where the one for `python` is looked for (`XDG_CACHE_HOME` is `cache`)."""
    tools = tools_of(python)
    assert tools.folder.is_relative_to(cache), "the test says where the cache is"
    script(tools.python, text)
    return tools
