"""What a stream asks of whoever serves it: each is answered with a value, or with an error that is thrown in.

Frozen values; knows nothing of how they are done. A server does them with a loop, threads and a gate; a blocking one in
a row.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from virke.engine.programs import Step
from virke.engine.sessions import NotOneProgram
from virke.engine.sqlite import Parameters
from virke.engine.transaction import Transaction
from virke.errors import Denied
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Single:
    """One statement outside of a transaction, of any kind → its `QueryResult`."""

    sql: str
    params: Parameters
    foreign_keys: bool


@dataclass(frozen=True, slots=True)
class Together:
    """Steps as one program that keeps going and has transactions → the `Answer` of each."""

    steps: tuple[Step, ...]
    foreign_keys: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """What SQLite says of a statement, outside of a transaction → `Description`."""

    sql: str


@dataclass(frozen=True, slots=True)
class BeginWriting:
    """A transaction that no other of this server keeps from writing → `Transaction`. It waits, for a bounded time."""

    foreign_keys: bool
    key: str | None = None


@dataclass(frozen=True, slots=True)
class BeginReading:
    """A transaction on the state that reads see, not older than `bookmark` → `Transaction`."""

    foreign_keys: bool
    bookmark: str | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """A call on a transaction, which may take its time → what it returns."""

    transaction: Transaction
    call: Callable[[], Any]
    sql: str = ""
    """The text of what is called, for logs."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a transaction → the version that a commit made, else None. It is over afterwards, whatever is thrown in."""

    transaction: Transaction
    commits: bool


Effect = Single | Together | Ask | BeginWriting | BeginReading | Within | End
Doing = Generator[Effect, Any, T]
"""What a stream does for a request; it returns what `T` is."""


def check_scope(effect: Effect, scope: Scope) -> None:
    """Hold an effect against what a token may do, as far as it is known before a statement is prepared.

    Raises:
        NotOneProgram: a reader's batch is done step by step, so that its reads are answered.
        Denied: it would write.
    """
    if scope >= Scope.WRITE:
        return
    if isinstance(effect, Together):
        raise NotOneProgram("a program is for those who may write")
    if isinstance(effect, BeginWriting):
        check_may_write(scope)


def check_may_write(scope: Scope) -> None:
    """Raise `Denied` for a token that may only read."""
    if scope < Scope.WRITE:
        raise Denied("this statement writes, and the token may only read; nothing was changed")


def check_foreign_keys(scope: Scope, value: bool) -> None:
    """Raise `Denied` for a client that would switch foreign keys off without the right to change the schema.

    A stream keeps the mode and hands it to its programs, so no PRAGMA that SQLite's authorizer could refuse ever runs.
    """
    if not value and scope < Scope.SCHEMA:
        raise Denied(
            f"PRAGMA foreign_keys = off needs the scope `schema`; this request has `{scope.word}`; nothing was changed"
        )
