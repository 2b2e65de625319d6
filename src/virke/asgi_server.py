"""The ASGI server that the node and `virke.runtime` are served by: uvicorn, imported here alone."""

from __future__ import annotations

from uvicorn import Config, Server

__all__ = ["Config", "Server"]
