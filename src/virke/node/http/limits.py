"""What a connection may cost: sizes, times, and how many there may be; and what all of them have moved.

Knows numbers alone.
"""

from __future__ import annotations

from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one listening socket. Times are seconds."""

    connections: int = 4096
    head_bytes: int = 32 << 10
    """The request line and the headers together."""
    headers: int = 100
    handshake_s: float = 10.0
    """Of a new connection with TLS, until HTTP begins."""
    head_s: float = 20.0
    """From the first byte of a request (of a new connection, from its beginning) to the end of its head."""
    body_s: float = 20.0
    """What a body may take in any case; longer only with `body_bytes_per_s`."""
    body_bytes_per_s: int = 16 << 10
    idle_s: float = 75.0
    """Between an answer and the next request."""
    send_s: float = 30.0
    """How long a client may take none of what is there for it."""
    linger_s: float = 5.0
    """How long is read what a client still sends after its last answer: closing at once could cost it the answer."""
    sweep_s: float = 1.0
    """How often it is looked for what is overdue."""


class Traffic:
    """What the connections of one listening socket have moved so far."""

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = 0
        self.connections = self.refused = self.dropped = 0
        """All that were opened; refused for want of room, or for what they sent; ended because a deadline was over."""
