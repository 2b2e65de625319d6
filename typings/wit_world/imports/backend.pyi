"""Servers that the service was given."""

from typing import Self

class Backend:
    @classmethod
    def open(cls, name: str) -> Self: ...
