"""Logging of `virke serve`: the loggers under `virke`, on stderr, as text or as JSON.

Knows stdlib logging; knows nothing of what is logged. A record may have `fields`, which JSON has as fields of its own.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Final

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class TextFormat(logging.Formatter):
    """`2026-11-26T14:25:49.123Z WARNING virke.node: words`, each record on one line except for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        text = f"{_time_of(record)} {record.levelname} {record.name}: {record.getMessage().translate(_CONTROL)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormat(logging.Formatter):
    """One JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        found: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            found |= fields
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=True, default=str)


def _time_of(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z"


def set_up(form: str, level: str) -> None:
    """Let the loggers under `virke` write to stderr from now on, and what serves them its warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormat() if form == "json" else TextFormat())
    for name, least in (("virke", level.upper()), ("uvicorn", "WARNING"), ("asyncio", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
