"""What the node next to an app logs, as lines for a developer: each statement, how long it took, and what it cost.

Pure. Knows the records of `virke serve --log-format json`; lines that are none pass as they are.
"""

from __future__ import annotations

import json
from typing import Any

STATEMENTS = "virke.slow"
OPENING = "SELECT 1"
"""What Python's client asks when it opens a database."""


def readable_line(line: str, database: str) -> str | None:
    """One line of the node's log; `database` is the one that is not named. None: it says nothing of the app."""
    try:
        record = json.loads(line)
    except ValueError:
        return line.rstrip()
    if not isinstance(record, dict) or "message" not in record:
        return line.rstrip()
    if record.get("logger") != STATEMENTS or "sql" not in record:
        text = f"node: {record['message']}"
        return f"{text}\n{record['traceback']}" if "traceback" in record else text
    if record["sql"] == OPENING:
        return None
    where = "" if record["database"] == database else f" on {record['database']}"
    return f"db: {record['ms']} ms{where}: {record['sql']} ({_cost_text(record)})"


def _cost_text(record: dict[str, Any]) -> str:
    trips, requests = record["round_trips"], record["store_requests"]
    if not requests:
        return "from memory"
    words = [_counted_noun(trips, "round trip"), _counted_noun(requests, "store request")]
    words += [
        f"{record[key]:,} bytes {way}" for key, way in (("bytes_up", "up"), ("bytes_down", "down")) if record[key]
    ]
    if record["shared_by"] > 1:
        words.append(f"shared by {record['shared_by']}")
    return ", ".join(words)


def _counted_noun(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
