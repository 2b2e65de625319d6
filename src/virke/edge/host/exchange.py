"""Requests and responses as those who use the host see them, and bodies as the guest does.

1. A body is written by one side and read by the other, in other threads perhaps: it ends when it is closed. One that is
   dropped before that was cut short, and is never taken for whole.
2. Headers keep their order and repeat.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field

from virke.edge.host.counting import Counts
from virke.edge.host.values import Pollable
from virke.lazy_dataclasses import dataclass

Headers = Sequence[tuple[str, str]]


class Body(Pollable):
    """Bytes on their way. Made with `data`, it is whole."""

    def __init__(self, data: bytes | None = None) -> None:
        self._chunks: deque[bytes] = deque([data] if data else [])
        self._changed = threading.Condition()
        self.is_closed = data is not None
        self.is_cut = False
        self.known_length = None if data is None else len(data)

    def write(self, data: bytes, *, front: bool = False) -> None:
        """Add bytes at the end (or before all others)."""
        with self._changed:
            if data:
                (self._chunks.appendleft if front else self._chunks.append)(data)
            self._changed.notify_all()

    def close(self, *, cut: bool = False) -> None:
        """No more is written; `cut`: because the writer is gone."""
        with self._changed:
            if not self.is_closed:
                self.is_closed, self.is_cut = True, cut
            self._changed.notify_all()

    def dropped(self) -> None:
        """The guest let it go: what it had not closed was cut short."""
        self.close(cut=True)

    def read(self, most: int) -> bytes:
        """Up to `most` bytes; empty at the end."""
        with self._changed:
            while not self._chunks and not self.is_closed:
                self._changed.wait()
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            return chunk

    @property
    def is_ready(self) -> bool:
        """Whether `read` answers at once."""
        with self._changed:
            return bool(self._chunks) or self.is_closed

    def chunks(self) -> Iterator[bytes]:
        """All that comes until the end."""
        while chunk := self.read(1 << 20):
            yield chunk

    def whole(self) -> bytes:
        """All of it, once it is closed."""
        return b"".join(self.chunks())


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `url` is whole (`http://host/path?query`)."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes | Iterable[bytes] = b""
    client: str = "127.0.0.1"


@dataclass
class Response:
    """One response.

    `trap` says why the sandbox ended without an answer (then the status is 500). `counts` are final when the body is whole;
    `after` goes on counting what the sandbox does after its answer, until `Host.settle`.
    """

    status: int
    headers: Headers
    stream: Body
    counts: Counts
    after: Counts = field(default_factory=Counts)
    is_fresh: bool = True
    """Whether a new sandbox was started for it."""
    trap: str | None = None
    _body: bytes | None = None

    @property
    def body(self) -> bytes:
        """All of the body; waits for it."""
        if self._body is None:
            self._body = self.stream.whole()
        return self._body

    @property
    def is_whole(self) -> bool:
        """Whether the guest closed the body, and did not just end."""
        return bool(self.body is not None) and not self.stream.is_cut

    def header(self, name: str) -> str | None:
        """The last header of that name."""
        found = [value for known, value in self.headers if known.lower() == name.lower()]
        return found[-1] if found else None
