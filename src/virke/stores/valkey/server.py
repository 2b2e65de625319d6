"""What a Valkey server is asked, and what can be said of its answers, without the library that carries them.

Knows commands, scripts and acknowledgements; knows no keys. `valkey` is the server that is real.

1. With a wait option nothing is answered that could still vanish: neither a write, nor a record that the reader does
   not know yet, before as many servers as asked have it. The commit protocol reads the root after `Lost`; a read that
   did not wait would let it take for committed what only the primary's memory holds.
2. A server reports all writes to its replicas and its log in order, so that waiting for one of them waits for all that
   came before. A reader writes for that purpose alone (`Waits.fence`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from virke.core.effects import Lost
from virke.errors import Unavailable
from virke.lazy_dataclasses import dataclass
from virke.stores.valkey.url import Address

Command = tuple[str | bytes | int, ...]


class NoAnswer(Exception):
    """The request was sent, in part or all of it, and there is no answer."""


class Script:
    """A script: its text, and the digest by which a server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Server(Protocol):
    """Where commands go."""

    def ask(self, commands: Sequence[Command]) -> list[object]:
        """The answers to `commands`, in one round trip. An error that is an answer stands in its place.

        Raises:
            NoAnswer: any of `commands` may have been carried out, or may still be.
            Unavailable, Denied, UsageError: nothing was sent.
        """

    def run(self, script: Script, key: str, *arguments: bytes | str, then: Sequence[Command] = ()) -> list[object]:
        """The answer to `script` on `key`, and those to the commands `then` that follow it. Raises as `ask`."""

    def good(self, answer: object) -> object:
        """`answer` to a read, unless it is an error. Raises `Unavailable`, `Denied`, `Corrupt`."""

    def lost(self, answer: object) -> Lost:
        """What an unexpected `answer` to a write means. Raises `Unavailable`, `Denied`, `Corrupt`: nothing was done."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What follows a request so that its answer comes when enough servers have what was written (rule 1)."""

    address: Address

    @property
    def commands(self) -> list[Command]:
        """One for each kind of server that is waited for."""
        at = self.address
        commands: list[Command] = []
        if at.wait_replicas:
            commands.append(("WAIT", at.wait_replicas, at.wait_ms))
        if at.wait_aof:
            commands.append(("WAITAOF", at.wait_aof, 0, at.wait_ms))
        return commands

    @property
    def fence(self) -> list[Command]:
        """A write of our own, so that waiting after it covers all before it; nothing if nothing is waited for."""
        return [("SET", f"{self.address.prefix}:f", b"")] if self.commands else []

    def missing(self, answers: Sequence[object]) -> str:
        """Those that did not have it in time, by the answers to `commands`; "" if none is missing."""
        at = self.address
        for command, answer in zip(self.commands, answers, strict=True):
            match command[0], answer:
                case ("WAIT", int(count)):
                    if count < at.wait_replicas:
                        return f"{count} of {at.wait_replicas} replicas of {at.server} had it in {at.wait_ms} ms"
                case ("WAITAOF", [int(local), _]):
                    if local < at.wait_aof:
                        return f"it was not on the disk of {at.server} in {at.wait_ms} ms"
                case _:
                    return f"{at.server} does not wait for it: {answer}"
        return ""


def read_all(server: Server, commands: Sequence[Command], then: Sequence[Command] = ()) -> list[object]:
    """The answers to `commands`, all of them good, and to the commands `then`, which may be errors, in one round trip.

    Raises:
        Unavailable, Denied, Corrupt: a bad answer, or none.
    """
    try:
        answers = server.ask([*commands, *then])
    except NoAnswer as error:
        raise Unavailable(f"no answer from {error}; repeat it") from error
    return [*map(server.good, answers[: len(commands)]), *answers[len(commands) :]]
