"""What crosses between host and guest, without a word of the library that carries it.

1. A host function takes the sandbox and the guest's values: a handle comes as the `Resource` behind it, a record as a dict, a
   variant as a `Case`, an enum as its name. It answers the same kinds of values; a WIT `result` is `Ok` or `Err`.
2. A function that raises ends its sandbox, as a trap of WebAssembly's own does. `Trap` does so on purpose.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import ClassVar

from virke.lazy_dataclasses import dataclass


class Trap(Exception):
    """The sandbox ends here: the guest asked for what the host does not have, or a test wanted it."""


class Resource:
    """What a handle stands for; `kind` is the interface and the name of its type in WIT, aliases resolved."""

    kind: ClassVar[str]

    def dropped(self) -> None:
        """The guest let its handle go."""


class Pollable(Resource):
    """Bodies and whatever is awaited are one type in Fastly's interfaces."""

    kind = "async-io/pollable"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a variant."""

    tag: str
    payload: object = None


@dataclass(frozen=True, slots=True)
class Ok:
    """The good case of a result."""

    value: object = None


@dataclass(frozen=True, slots=True)
class Err:
    """The other one."""

    value: object = None


@dataclass
class Handles:
    """The resources of one sandbox by their number; the guest's drop removes one."""

    _held: dict[int, Resource] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def keep(self, resource: Resource) -> int:
        """A number for `resource`."""
        number = next(self._numbers)
        self._held[number] = resource
        return number

    def lent(self, number: int) -> Resource:
        """The resource of a handle that stays the guest's."""
        return self._held[number]

    def given(self, number: int) -> Resource:
        """The resource of a handle that the guest gave away."""
        return self._held.pop(number)

    def drop(self, number: int) -> Resource | None:
        """Forget one."""
        return self._held.pop(number, None)


HostFunction = Callable[..., object]
Interfaces = Mapping[str, Mapping[str, HostFunction]]
"""Name of an interface of `fastly:compute` → name of a function → what it does."""


class Counter:
    """Numbers that no two threads get twice."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._lock = threading.Lock()

    def take(self) -> int:
        """The next one."""
        with self._lock:
            number = self._next
            self._next += 1
        return number
