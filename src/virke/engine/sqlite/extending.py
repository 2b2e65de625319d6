"""What an application may add to every connection of its database: functions, aggregates, collations.

Knows SQLite's registration; knows no request. The facade is what a hook is given, so that it needs no apsw.

1. An exception of such a function is an `SqlError` that names the function; the statement is undone as after any error.
2. A hook that fails is `Invalid` and names the reason; the connection that it was called for is closed.
3. Functions that the engine replaces when values are long (`linear`), or counts with, can't be replaced.
4. A function is not for views, triggers, indexes and generated columns unless it says `innocuous`: a schema may come
   from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, Protocol, TypeVar

import apsw

from virke.engine.sqlite.guard import Authorizer, Guard, is_reserved
from virke.engine.sqlite.lending import lent_arguments
from virke.engine.sqlite.linear import REPLACED
from virke.errors import Invalid, SqlError, VirkeError

P = ParamSpec("P")
T = TypeVar("T")
SqlValue = None | int | float | str | bytes
SqlFunction = Callable[..., SqlValue]
_OWN: Final = REPLACED | {"changes", "total_changes", "random", "randomblob"}


class Aggregate(Protocol):
    """One group: `step` for each of its rows, then `finalize`."""

    def step(self, *arguments: SqlValue) -> None:
        """Take one row."""

    def finalize(self) -> SqlValue:
        """The value of the group."""


class WindowAggregate(Aggregate, Protocol):
    """One window: rows also leave it, and it has a value at each row."""

    def inverse(self, *arguments: SqlValue) -> None:
        """Take one row back."""

    def value(self) -> SqlValue:
        """The value of the window as it is."""


class Extensions:
    """What a hook adds to one connection; the next connection calls the hook again."""

    def __init__(self, connection: apsw.Connection, guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self.functions: set[str] = set()
        """Names of what was added, in small letters; aggregates, too."""

    def call(self, hook: OnConnect) -> None:
        """Let the hook add what it has to. Raises `Invalid`: it failed."""
        try:
            hook(self)
        except (VirkeError, apsw.Error):
            raise
        except Exception as error:
            raise Invalid(f"on_connect raised {type(error).__name__}: {error}") from error

    def add_function(
        self,
        name: str,
        function: SqlFunction | None,
        *,
        arguments: int = -1,
        deterministic: bool = False,
        innocuous: bool = False,
    ) -> None:
        """Add a scalar function (-1 `arguments`: any number). `deterministic` ones may be used in indexes.

        It must not call the database that it is called by. None takes a function away.
        """
        self._take_name(name)
        called = function and _with_named_errors(name, function)
        also = lent_arguments(name.lower()) if arguments < 0 else ()  # a function with their number would come first
        for number in (arguments, *also):
            self._connection.create_scalar_function(
                name, called, number, deterministic=deterministic, flags=_function_flags(innocuous)
            )

    def add_aggregate(
        self, name: str, factory: Callable[[], Aggregate] | None, *, arguments: int = -1, innocuous: bool = False
    ) -> None:
        """Add an aggregate function; `factory` makes one `Aggregate` for each group. None takes one away."""
        self._take_name(name)
        if factory is None:
            self._connection.create_aggregate_function(name, None, arguments)
            return

        def start() -> tuple[Aggregate, Callable[..., None], Callable[[Aggregate], SqlValue]]:
            group = _with_named_errors(name, factory)()
            step, finalize = _with_named_errors(name, group.step), _with_named_errors(name, group.finalize)
            return group, lambda _, *given: step(*given), lambda _: finalize()

        self._connection.create_aggregate_function(name, start, arguments, flags=_function_flags(innocuous))

    def add_window_function(
        self, name: str, factory: Callable[[], WindowAggregate] | None, *, arguments: int = -1, innocuous: bool = False
    ) -> None:
        """Add an aggregate that may stand before OVER, too. None takes one away."""
        self._take_name(name)
        if factory is None:
            self._connection.create_window_function(name, None, arguments)
            return

        def start() -> WindowAggregate:
            return _with_named_errors(name, factory)()

        def step(group: WindowAggregate, *given: SqlValue) -> None:
            _with_named_errors(name, group.step)(*given)

        def inverse(group: WindowAggregate, *given: SqlValue) -> None:
            _with_named_errors(name, group.inverse)(*given)

        def finalize(group: WindowAggregate, *_: SqlValue) -> SqlValue:
            return _with_named_errors(name, group.finalize)()

        def value(group: WindowAggregate) -> SqlValue:
            return _with_named_errors(name, group.value)()

        self._connection.create_window_function(
            name, lambda: (start(), step, finalize, value, inverse), arguments, flags=_function_flags(innocuous)
        )

    def add_collation(self, name: str, compare: Callable[[str, str], int] | None) -> None:
        """Add an order of texts: `compare` answers below 0, 0 or above 0, and never changes its mind. None takes one away."""
        _check_name(name)
        self._connection.create_collation(name, compare and _with_named_errors(name, compare))

    def ask_before(self, authorizer: Authorizer | None) -> None:
        """Ask `authorizer`, as SQLite does, of every action of a statement that the guard allows. None asks no more."""
        self._guard.asked = authorizer

    def _take_name(self, name: str) -> None:
        _check_name(name)
        if name.lower() in _OWN:
            raise Invalid(f"{name}() has a form of its own in Virke, which can't be replaced; use another name")
        self.functions.add(name.lower())


OnConnect = Callable[[Extensions], None]
"""A hook that is called with every new connection of a database."""


def count_per_request(
    connection: apsw.Connection, changes: Callable[[], int], total_changes: Callable[[], int]
) -> None:
    """Let SQL's `changes()` and `total_changes()` answer with these."""
    for name, count in (("changes", changes), ("total_changes", total_changes)):
        function: SqlFunction = count
        connection.create_scalar_function(name, function, 0, flags=_function_flags(True))


def _function_flags(innocuous: bool) -> int:
    return apsw.SQLITE_INNOCUOUS if innocuous else 0


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise Invalid(f"a name must be text, not {type(name).__name__}")
    if is_reserved(name):
        raise Invalid(f"names that start with virke_ are reserved: {name}")


def _with_named_errors(name: str, function: Callable[P, T]) -> Callable[P, T]:
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except VirkeError:
            raise
        except Exception as error:
            raise SqlError(f"{name}() raised {type(error).__name__}: {error}") from error

    return call
