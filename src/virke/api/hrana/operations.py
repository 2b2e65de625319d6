"""What a request of Hrana's asks for, as values; `database` is "" where the path names none."""

from __future__ import annotations

from typing import ClassVar, Final

from virke.api.hrana import requests
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Requests on a stream, in order; without a baton on a new one."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    baton: str | None
    requests: tuple[requests.StreamRequest, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A batch on a stream whose answers come line by line."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    baton: str | None
    batch: requests.Batch


@dataclass(frozen=True, slots=True)
class Once:
    """A statement or a batch on a stream of its own, as version 1 has it."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    request: requests.Execute | requests.Batch


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered, and how old the state is that it is of, where that is older than allowed: the store is down."""

    body: object
    stale_ms: int | None


HRANA: Final = (Pipeline, Cursor, Once)
"""All of them: for `isinstance`, which takes half a microsecond for a union that is written out."""
