"""Exporting a snapshot: as an SQLite file, page by page, or as SQL text.

Knows the order of things; the formats are in `image` and `dump`.

1. What is written is one version, whole; a file appears complete or not at all.
2. A file that is there is kept without `force`.
"""

from __future__ import annotations

import sys
import time
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from virke.engine.sqlite import Error, translate
from virke.errors import Invalid
from virke.transfer.dump import dump
from virke.transfer.image import new_file, write_image
from virke.transfer.scratch import Pages, scratch
from virke.transfer.source import CHUNK_BYTES, Progress, silent

SQL: Final = "sql"
IMAGE: Final = "sqlite"
_BY_NAME: Final = {".sqlite": IMAGE, ".sqlite3": IMAGE, ".db": IMAGE, ".db3": IMAGE, ".sql": SQL, ".dump": SQL}
STANDARD_OUTPUT: Final = "-"
