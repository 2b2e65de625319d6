"""What is waited for: a body, or the answer to a call."""

from typing import Self

class Pollable:
    def __enter__(self) -> Self: ...
    def __exit__(self, *ending: object) -> None: ...
