"""What a TypeScript or JavaScript app needs of this machine: Node, npm, and the packages of the project.

Knows their commands; installs what is missing, once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from virke.errors import UsageError, VirkeError
from virke.project.children import Children, ending_words

NODE_MIN: Final = 20
TSX: Final = "node_modules/.bin/tsx"


def check_node() -> None:
    """Raise `UsageError` if there is no Node that is new enough."""
    node = shutil.which("node")
    if node is None:
        raise UsageError(
            f"this app needs Node.js {NODE_MIN} or newer, and there is no `node` on the PATH",
            hint="install it from https://nodejs.org; a Python app needs none: virke init --python",
        )
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"v(\d+)\.", said)
    if found is None or int(found[1]) < NODE_MIN:
        raise UsageError(f"this app needs Node.js {NODE_MIN} or newer, and {node} is {said or 'none that runs'}")


def install_packages(folder: Path, children: Children, say: Callable[[str], None]) -> None:
    """Let npm install the packages of a project that has none yet.

    Raises:
        UsageError: there is no `package.json`, no npm, or no tsx among the packages. VirkeError: npm could not install them.
    """
    if not (folder / "node_modules").is_dir():
        if not (folder / "package.json").is_file():
            raise UsageError(f"there is no package.json in {folder}", hint="virke init --hono begins a new project")
        npm = shutil.which("npm")
        if npm is None:
            raise UsageError("the packages of this app are not installed, and there is no `npm` on the PATH")
        say("npm install (there is no node_modules yet)")
        words = ["install", "--no-audit", "--no-fund", "--loglevel=error"]
        child = children.start([npm, *words], folder, os.environ, has_data=False)
        try:
            code = child.wait()
        finally:
            child.stop()
        if code:
            raise VirkeError(
                f"npm install {ending_words(code)}", hint=f"its words are above; try it yourself in {folder}"
            )
    if not (folder / TSX).exists():
        raise UsageError("tsx, which runs TypeScript, is not installed", hint="npm install --save-dev tsx")
