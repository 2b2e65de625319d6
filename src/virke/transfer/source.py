"""The file that is imported: bytes, text and lines of it, as often as they are needed.

Knows files and codecs; knows no SQL. A stream (standard input, a pipe) is kept in a file while it is read, because a lost
race reads it again.

1. Reading never holds more than a chunk of `CHUNK_BYTES`.
2. Bytes that are no text of the encoding are an error that names the line, or surrogate escapes (PEP 383) for who can use
   those; nothing is replaced.
3. A stream is read only as far as it is asked for: what is refused at its beginning is refused there, and
   takes no more room than was read until then. Beyond `STREAM_BYTES_MAX`, or half of the room that was free, it is `TooLarge`.
4. What is compressed with gzip is unpacked while it is read, as a stream is.
5. A path may name a regular file or a pipe. A device, which may never end, is refused before it is opened, and a named
   pipe that no program writes into is empty after `WRITER_WAIT_S`. A file that grows is read as long as it was at first.
"""

from __future__ import annotations

import codecs
import gzip
import os
import select
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Final, cast

from virke.errors import Invalid, NotFound, TooLarge
from virke.transfer.sniff import HEAD_BYTES, not_valid

CHUNK_BYTES: Final = 1 << 20
STREAM_BYTES_MAX: Final = 16 << 30
WRITER_WAIT_S: Final = 10.0
_READING: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_GZIP: Final = b"\x1f\x8b"
STANDARD_INPUT: Final = "standard input"

Progress = Callable[[int, int], None]
"""Called with the bytes done and in total of a stage; each stage (reading, checking, committing) begins at 0 again."""


def silent_progress(done: int, total: int) -> None:
    """The `Progress` of a caller that asked for none."""


class Source:
    """What is imported: the path of the file that has it, the name that messages use, and the stream it comes from, if any."""

    def __init__(
        self,
        path: Path,
        name: str,
        stream: BinaryIO | None = None,
        *,
        bytes_max: int = 0,
        opened: BinaryIO | None = None,
    ) -> None:
        """`bytes_max`: how long the stream may be. `opened`: what `close` closes."""
        self.path = path
        self.name = name
        self._stream = stream
        self._opened = opened
        self._bytes_max = bytes_max
        self._size = path.stat().st_size

    def close(self) -> None:
        """Close the pipe that was opened; a caller's stream stays open."""
        if self._opened:
            self._opened.close()

    @property
    def size(self) -> int:
        """Bytes in the file: of a stream, what was read of it so far."""
        return self._size

    def head(self) -> bytes:
        """The first bytes, to tell what it is. Raises `TooLarge`."""
        while self._size < HEAD_BYTES and self._pull_chunk():
            pass
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    def complete(self) -> None:
        """Have all of it in the file. Raises `TooLarge`: the stream is too long."""
        while self._pull_chunk():
            pass

    def chunks(self) -> Iterator[bytes]:
        """All bytes, from the beginning. Raises `TooLarge`: the stream is too long."""
        done = 0
        with self.path.open("rb", buffering=0) as file:
            while done < self._size or self._pull_chunk():
                data = file.read(min(CHUNK_BYTES, self._size - done))
                if not data:
                    raise Invalid(f"{self.name} became shorter while it was read; nothing was changed")
                done += len(data)
                yield data

    def _pull_chunk(self) -> bool:
        """Take the next chunk of the stream into the file; whether there was one."""
        if self._stream is None:
            return False
        try:
            data = self._stream.read(CHUNK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Invalid(
                f"{self.name} is damaged: not the whole of what gzip wrote ({error}); nothing was changed"
            ) from error
        if not data:
            self._stream = None
            return False
        if self._size + len(data) > self._bytes_max:
            raise TooLarge(
                f"{self.name} is longer than {_size_text(self._bytes_max)}, which is what a stream may be here (at most half of "
                f"the free room in {self.path.parent}): save it as a file and import that; nothing was changed"
            )
        with self.path.open("ab", buffering=0) as file:
            file.write(data)
        self._size += len(data)
        return True

    def text(self, encoding: str, progress: Progress = silent_progress, *, errors: str = "strict") -> Iterator[str]:
        """The text in chunks, decoded; `errors` as those of a codec.

        Raises:
            Invalid: bytes that are no text of `encoding`; names the line. TooLarge: the stream is too long.
        """
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        line, done = 1, 0
        for data in self.chunks():
            text = self._decoded_chunk(decoder, data, encoding, line)
            if text:
                yield text
                line += text.count("\n")
            done += len(data)
            progress(done, self._size if self._stream is None else 0)
        if text := self._decoded_chunk(decoder, b"", encoding, line):
            yield text

    def _decoded_chunk(self, decoder: codecs.IncrementalDecoder, data: bytes, encoding: str, line: int) -> str:
        try:
            return decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The codec may prepend what it kept of the chunk before: `error.object` is what it looked at.
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            raise Invalid(
                f"{self.name}, line {line}: {not_valid(encoding)}",
                line=line,
            ) from error


class _Whole:
    """A stream of which the first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        """As that of a stream."""
        if not self._head:
            return self._rest.read(size)
        head, self._head = self._head, b""
        return head if 0 <= size <= len(head) else head + self._rest.read(size - len(head) if size > 0 else size)


def _size_text(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes >> 20} MiB"


def open_source(
    origin: str | PathLike[str] | BinaryIO,
    folder: Path,
    *,
    name: str | None = None,
    stream_bytes_max: int = STREAM_BYTES_MAX,
) -> Source:
    """The file at a path, or what a pipe or a binary stream holds, which is kept in `folder` as far as it is read.

    `name` is what messages call a stream.

    Raises:
        NotFound: there is no such file.
        Invalid: it is a folder or a device, or may not be read.
    """
    if isinstance(origin, (str, PathLike)):
        path = Path(fspath(origin))
        file = open_input(path)
        head = file.read(len(_GZIP))
        if head != _GZIP and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            return Source(path, path.name)
        stream, called, opened = file, path.name, file
    else:
        stream, called, opened = origin, name or STANDARD_INPUT, None
        head = stream.read(len(_GZIP))
    whole = _Whole(head, stream)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, whole), mode="rb") if head == _GZIP else whole)
    spool = folder / "input"
    spool.touch(0o600)
    room = min(stream_bytes_max, shutil.disk_usage(folder).free // 2)
    return Source(spool, called, stream, bytes_max=room, opened=opened)


def open_input(path: Path) -> BinaryIO:
    """The regular file or the pipe at `path`, open for reading.

    Raises:
        NotFound: there is no such file.
        Invalid: it is a folder or a device, or may not be read.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or a socket, not a file"
            raise Invalid(f"can't read {path}: it is {what} ('-' reads standard input)")
        fd = os.open(path, os.O_RDONLY | _READING)
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise Invalid(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        select.select([fd], [], [], WRITER_WAIT_S)  # without a writer it then ends at once, and is empty
        os.set_blocking(fd, True)
    return os.fdopen(fd, "rb")
