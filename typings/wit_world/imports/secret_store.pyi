"""A Secret Store: small secrets by name."""

from typing import Self

class Secret:
    def plaintext(self, max_len: int) -> bytes: ...

class Store:
    @classmethod
    def open(cls, name: str) -> Self: ...
    def get(self, key: str) -> Secret | None: ...
