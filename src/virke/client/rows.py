"""The rows of one statement from a node, one at a time: results of any size in bounded memory.

Knows the lines of such an answer (docs/http.md) and the stream that they come from.

1. What was read of the stream is at most one piece and one line.
2. The last line says how it ended: an error is raised then, and without that line the rows are `Unavailable`.
3. Closing before the end ends the statement on the node: it sees its client go away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from virke.client import reading
from virke.client.exchange import NoAnswer, Stream
from virke.client.failures import error_in
from virke.engine.results import Stamp
from virke.engine.rows import Rows
from virke.engine.sqlite import Row
from virke.engine.terms import Cancel
from virke.errors import Unavailable


class RemoteRows(Rows):
    """`Rows` of a node."""

    def __init__(self, stream: Stream, cancel: Cancel, seen: Callable[[Stamp], None]) -> None:
        self._stream: Stream | None = stream
        self._cancel = cancel
        self._parts: list[bytes] = []
        """The beginning of a line whose end has not come."""
        self._lines: deque[bytes] = deque()
        head = self._next_line()
        if not isinstance(head, dict):
            self.close()
            raise Unavailable("the node's answer has no head")
        if "error" in head:
            self.close()
            raise error_in(head["error"])
        self.columns = list(head.get("columns", []))
        self.decltypes = list(head.get("decltypes", []))
        self._stamp = Stamp(int(head.get("version", 0)), str(head.get("bookmark", "")))
        seen(self._stamp)

    @property
    def version(self) -> int:
        """See `Rows.version`."""
        return self._stamp.version

    @property
    def bookmark(self) -> str:
        """See `Rows.bookmark`."""
        return self._stamp.bookmark

    def take(self, limit: int) -> list[Row]:
        """See `Rows.take`."""
        return list(islice(self, limit))

    def _next_line(self) -> Any:
        """The next line. Raises `TimedOut`, `Unavailable`: the answer was cut off."""
        while not self._lines:
            assert self._stream is not None, "it is open"
            try:
                piece = self._stream.read()
            except NoAnswer as error:
                self.close()
                self._cancel.check()
                raise Unavailable(f"the rows were cut off: {error}") from error
            if not piece:
                self.close()
                raise Unavailable("the rows were cut off: the last line is missing")
            first, *more = piece.split(b"\n")
            self._parts.append(first)
            for part in more:
                self._lines.append(b"".join(self._parts))
                self._parts = [part]
        return reading.value_in(self._lines.popleft())

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._stream is None:
            raise StopIteration
        self._check_cancel()
        match self._next_line():
            case list() as row:
                return reading.rows_of([row])[0]
            case dict() as end:
                self._end_rows(end)
                raise StopIteration
            case _:
                self.close()
                raise Unavailable("the node's answer has a line that is neither a row nor an end")

    def _check_cancel(self) -> None:
        try:
            self._cancel.check()
        except BaseException:
            self.close()
            raise

    def _end_rows(self, end: Mapping[str, Any]) -> None:
        assert self._stream is not None, "it is open"
        if "error" not in end:
            self._stream.read()  # its end, so that the connection can be kept
        self.close()
        if "error" in end:
            raise error_in(end["error"])

    def interrupt(self) -> None:
        """See `Rows.interrupt`."""
        self._cancel.cancel()

    def cut_off(self) -> None:
        """See `Rows.cut_off`; over a node no rows belong to a transaction."""
        self.close()

    def close(self) -> None:
        """End the statement and give the connection back; harmless when done."""
        stream, self._stream = self._stream, None
        self._lines.clear()
        if stream is not None:
            stream.close()

    def __del__(self) -> None:
        if getattr(self, "_stream", None) is not None:
            self.close()
