"""A PEP 517 backend that only says what a source distribution is, without running its setup.py.

pip asks for metadata before it keeps a source distribution that it fetched. apsw's own setup.py answers by downloading SQLite from
a site that is not the configured index; this answers from the file `PKG-INFO` that is in the distribution already.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def prepare_metadata_for_build_wheel(folder: str, settings: object = None) -> str:
    """Writes the metadata of the distribution in the current folder into `folder`; returns the name it has there."""
    name = "apsw-0.dist-info"
    target = Path(folder, name)
    target.mkdir()
    shutil.copyfile("PKG-INFO", target / "METADATA")
    return name


def build_wheel(folder: str, settings: object = None, metadata: object = None) -> str:
    """A hook that PEP 517 requires; nothing here builds apsw this way."""
    raise RuntimeError("this backend only fetches")
