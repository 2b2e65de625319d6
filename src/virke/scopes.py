"""What the holder of a token may do: an order of four scopes, each with all of those below it.

1. `read`: SELECT, schema, status, export. `write`: and INSERT, UPDATE, DELETE. `schema`: and CREATE, ALTER, DROP,
   migrations, imports. `admin`: and everything else.
"""

from __future__ import annotations

from enum import IntEnum

from virke.errors import Invalid


class Scope(IntEnum):
    """How much is allowed; a greater one allows all that a smaller one does."""

    READ = 1
    WRITE = 2
    SCHEMA = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """As users write it."""
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Scope:
        """The scope of a word. Raises `Invalid`: there is none of that name."""
        for scope in cls:
            if scope.word == word:
                return scope
        raise Invalid(f"a scope is one of {', '.join(scope.word for scope in cls)}, not {word!r}")
