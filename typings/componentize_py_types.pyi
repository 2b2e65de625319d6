"""How a component's host calls fail: the error is a value of the interface's own."""

from typing import Generic, TypeVar

E = TypeVar("E", covariant=True)

class Err(Exception, Generic[E]):
    @property
    def value(self) -> E: ...
