"""The vendor's own command, where it is: it says whether a package is one that Fastly takes.

Knows where the command may be and how it is asked; installs none.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from virke.edge.building.tools import run_command
from virke.errors import Invalid, Unavailable

NPM: Final = Path("node_modules") / ".bin" / "fastly"


def vendors_command(folder: Path) -> str | None:
    """The vendor's command: of the project's npm packages, or of the PATH."""
    own = folder / NPM
    return str(own) if own.exists() else shutil.which("fastly")


def check_package(package: Path, folder: Path) -> str:
    """What the vendor's command says of a package, in a few words.

    Raises:
        Invalid: Fastly would refuse it.
    """
    command = vendors_command(folder)
    if command is None:
        return "not checked: there is no `fastly` on the PATH (npm install --global @fastly/cli brings it)"
    try:
        run_command(
            [command, "compute", "validate", "--package", str(package)], "fastly compute validate", folder=folder
        )
    except Unavailable as error:
        raise Invalid(f"Fastly's own command refuses {package}: {error.message}") from error
    return "checked by `fastly compute validate`"
