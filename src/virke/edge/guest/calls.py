"""What all host calls have in common: why one failed, and bodies, read and written.

Knows the shapes of the host's answers; knows no store and no HTTP.

1. A body is read to its end, or its failure is an error: fewer bytes than were announced are never an answer.
"""

from __future__ import annotations

from typing import Final

from componentize_py_types import Err
from wit_world.imports import http_body
from wit_world.imports.async_io import Pollable

CHUNK_BYTES: Final = 1 << 20
"""The most that one call carries: a host may refuse to copy more at once."""
LEAST_BYTES: Final = 4096
Failed = Err
"""A host call's own error; its value says which."""


def reason_of(error: BaseException) -> str:
    """Why a call failed: the name that the interface gives it."""
    value = getattr(error, "value", error)
    return str(getattr(value, "name", type(value).__name__))


def body_of(data: bytes) -> Pollable:
    """A body that holds these bytes."""
    body = http_body.new()
    write_body(body, data)
    return body


def write_body(body: Pollable, data: bytes) -> None:
    """Write all of it: the host may take less at a time."""
    at = 0
    while at < len(data):
        at += http_body.write(body, data if len(data) <= CHUNK_BYTES and not at else data[at : at + CHUNK_BYTES])


def whole_body(body: Pollable) -> bytes:
    """All bytes of a body, which is closed. Raises `EOFError`: it ended before the length that was announced."""
    announced = http_body.get_known_length(body)
    chunks, size = [], 0
    while announced is None or size < announced:
        wanted = CHUNK_BYTES if announced is None else min(announced - size, CHUNK_BYTES)
        chunk = http_body.read(body, max(LEAST_BYTES, wanted))
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    http_body.close(body)
    if announced is not None and size < announced:
        raise EOFError(f"{size} of {announced} bytes came")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
