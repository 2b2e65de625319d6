"""Answers of a client as one JSON: each check's answer by its name, or the error that it raised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_answers: dict[str, Any] = {}


def check(name: str, ask: Callable[[], Any]) -> None:
    """Ask, and keep what came of it."""
    try:
        _answers[name] = shown(ask())
    except Exception as error:
        _answers[name] = {"error": described(error)}


def caught(ask: Callable[[], Any]) -> Any:
    """The answer, or the error as a value."""
    try:
        return shown(ask())
    except Exception as error:
        return {"error": described(error)}


def described(error: Exception) -> dict[str, Any]:
    """An error's class and words; the first line of them: SQLAlchemy adds the statement."""
    found = {"name": type(error).__name__, "message": str(error).splitlines()[0] if str(error) else ""}
    code = getattr(error, "code", None)
    return found if code is None else {**found, "code": str(code)}


def shown(value: Any) -> Any:
    """A value of Python so that no two kinds look alike in JSON."""
    match value:
        case bytes() | bytearray() | memoryview():
            return {"blob": bytes(value).hex()}
        case float() if not math.isfinite(value):
            return {"float": repr(value)}
        case float():
            return {"float": value}
        case str() | int() | None:
            return value
        case Mapping():
            return {str(name): shown(one) for name, one in value.items()}
        case Sequence():
            return [shown(one) for one in value]
        case _:
            return {type(value).__name__: str(value)}


def print_answers() -> None:
    """Print all of them, in one line."""
    print(json.dumps(_answers))
