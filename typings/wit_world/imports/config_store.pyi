"""A Config Store: small texts by name."""

from typing import Self

class Store:
    @classmethod
    def open(cls, name: str) -> Self: ...
    def get(self, key: str, max_len: int) -> str | None: ...
