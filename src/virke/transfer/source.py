"""The file that is imported: bytes, text and lines of it, as often as they are needed.

Knows files and codecs; knows no SQL. A stream is first written to a file, because a lost race reads it again.

1. Reading never holds more than a chunk of `CHUNK_BYTES`.
2. Bytes that are no text of the encoding are an error that names the line; nothing is replaced.
"""

from __future__ import annotations

import codecs
import shutil
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Final

from virke.errors import Invalid, NotFound
from virke.transfer.sniff import HEAD_BYTES

CHUNK_BYTES: Final = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes done and in total of a stage; each stage (reading, checking, committing) begins at 0 again."""


def silent(done: int, total: int) -> None:
    """The `Progress` of a caller that asked for none."""


class Source:
    """A readable file: its path, the name that messages use, and its size in bytes."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.size = path.stat().st_size

    def head(self) -> bytes:
        """The first bytes, to tell what it is."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    def text(self, encoding: str, progress: Progress = silent) -> Iterator[str]:
        """The text in chunks, decoded.

        Raises:
            Invalid: bytes that are no text of `encoding`; names the line.
        """
        decoder = codecs.getincrementaldecoder(encoding)()
        line, done = 1, 0
        with self.path.open("rb") as file:
            while True:
                data = file.read(CHUNK_BYTES)
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    # The codec may prepend what it kept of the chunk before: `error.object` is what it looked at.
                    line += error.object[: error.start].decode(encoding, "replace").count("\n")
                    raise Invalid(
                        f"{self.name}, line {line}: not valid {encoding.removesuffix('-sig').upper()}: save it as UTF-8",
                        line=line,
                    ) from error
                if text:
                    yield text
                    line += text.count("\n")
                if not data:
                    return
                done += len(data)
                progress(done, self.size)


def open_source(origin: str | PathLike[str] | BinaryIO, folder: Path) -> Source:
    """The file at a path, or what a binary stream holds, kept in `folder`.

    Raises:
        NotFound: there is no such file.
        Invalid: it is a folder, or may not be read.
    """
    if not isinstance(origin, (str, PathLike)):
        spooled = folder / "input"
        with spooled.open("wb") as file:
            shutil.copyfileobj(origin, file, CHUNK_BYTES)
        return Source(spooled, "standard input")
    path = Path(fspath(origin))
    try:
        with path.open("rb") as file:
            if not path.is_file():  # a named pipe can be read only once
                return open_source(file, folder)
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except OSError as error:
        raise Invalid(f"can't read {path}: {error.strerror}") from error
    return Source(path, path.name)
