"""Functions, aggregates and collations of an application, as `sqlite3` calls them and reports their errors.

Knows what the engine lets an application add (`Extensions`); knows no statement.

1. A function that raises ends its statement with `sqlite3`'s message; what it raised is the cause, and goes to `sys.unraisablehook`
   after `enable_callback_tracebacks(True)`.
2. Functions may be used in views, triggers, indexes and generated columns, as with `sqlite3`.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from virke.dbapi.errors import Translating
from virke.engine.sqlite import Extensions, OnConnect
from virke.errors import SqlError

_tracebacks = SimpleNamespace(are_shown=False)


def enable_callback_tracebacks(enable: bool, /) -> None:
    """Whether what callbacks raise is shown by `sys.unraisablehook`."""
    _tracebacks.are_shown = bool(enable)


class Callbacks:
    """What one connection has added; the error of the callback that failed last is reported to `errors`."""

    def __init__(self, errors: Translating) -> None:
        self._hooks: dict[tuple[str, str, int], OnConnect] = {}
        self._errors = errors

    def extend(self, made: Extensions) -> None:
        """Add all of it to a connection of SQLite."""
        for hook in self._hooks.values():
            hook(made)

    def keep(self, kind: str, name: str, arguments: int, hook: OnConnect) -> None:
        """Have it added to those to come, in the place of what had the same name."""
        self._hooks[kind, name.lower(), arguments] = hook

    def call(
        self, function: Callable[..., Any], message: str, *given: Any, of: object = None, is_value: bool = True
    ) -> Any:
        """Call what the application gave, and check what it answers (rule 1)."""
        try:
            answer = function(*given)
            return _checked_answer(answer) if is_value else answer
        except Exception as error:
            self._errors.failed = error
            self._show_error(error, of or function)
            raise SqlError(message) from error

    @staticmethod
    def _show_error(error: BaseException, function: object) -> None:
        if _tracebacks.are_shown:
            kind, trace = type(error), error.__traceback__
            shown = SimpleNamespace(exc_type=kind, exc_value=error, exc_traceback=trace, err_msg=None, object=function)
            sys.unraisablehook(shown)

    def function(self, call: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """A scalar function, as the engine takes it."""
        return call and partial(self.call, call, "user-defined function raised exception")

    def aggregate(self, made: Callable[[], Any] | None, *, is_window: bool = False) -> Callable[[], Any] | None:
        """An aggregate or window function, as the engine takes it."""
        return made and partial(_Group, self, made, is_window=is_window)

    def authorizer(self, ask: Callable[..., Any]) -> Callable[..., int]:
        """An authorizer, as the engine takes it: what is not SQLITE_OK refuses."""

        def asked(*action: Any) -> int:
            try:
                answer = ask(*action)
            except Exception as error:
                self._show_error(error, ask)
                return sqlite3.SQLITE_DENY
            return sqlite3.SQLITE_OK if type(answer) is int and answer == sqlite3.SQLITE_OK else sqlite3.SQLITE_DENY

        return asked


class _Group:
    """One group of an aggregate: an object of the application's class from its first row on; without rows it is NULL."""

    def __init__(self, callbacks: Callbacks, made: Callable[[], Any], *, is_window: bool = False) -> None:
        self._callbacks, self._maker, self._is_window = callbacks, made, is_window
        self._group: Any = None

    def _call_method(self, method: str, *given: Any) -> Any:
        kind, group = "not defined", self._group

        def call(*row: Any) -> Any:
            nonlocal kind
            bound = getattr(group, method)
            kind = "raised error"
            return bound(*row)

        try:
            return self._callbacks.call(call, "", *given, of=self._maker)
        except SqlError as error:
            raise SqlError(f"user-defined aggregate's '{method}' method {kind}") from error.__cause__

    def step(self, *given: Any) -> None:
        if self._group is None:
            message = "user-defined aggregate's '__init__' method raised error"
            self._group = self._callbacks.call(self._maker, message, of=self._maker, is_value=False)
        self._call_method("step", *given)

    def inverse(self, *given: Any) -> None:
        self._call_method("inverse", *given)

    def value(self) -> Any:
        return self._call_method("value") if self._group is not None else None

    def finalize(self) -> Any:
        try:
            return self._call_method("finalize") if self._group is not None else None
        except SqlError:
            if self._is_window:  # which SQLite does not report
                return None
            raise


def _checked_answer(value: object) -> object:
    """What a function may answer."""
    match value:
        case None | float() | bytes():
            return value
        case int():
            if not -(1 << 63) <= value < 1 << 63:
                raise OverflowError("Python int too large to convert to SQLite INTEGER")
            return value
        case str():
            value.encode()
            return value
        case bytearray() | memoryview():
            if isinstance(value, memoryview) and not value.c_contiguous:
                raise BufferError("memoryview: underlying buffer is not C-contiguous")
            return bytes(value)
        case _:
            raise TypeError(f"a function can't answer with {type(value).__name__}")
