"""A Valkey (or Redis) server as a store: its connections, and what its errors mean.

Knows the library and the server's ways to say no. What is kept under which key, and by which commands, is
`data`'s matter; the URL is `url`'s. What the server's settings do to durability is said in
`docs/stores/valkey.md`; in one sentence: what was answered survives the server only as far as its log on disk and its
replicas had it, and `wait_replicas` and `wait_aof` make every answer wait for them.

1. A request is sent once; the library's own retries are off. What failed before the first byte was sent, and what the
   server refused, is `Unavailable` or `Denied`. Whatever else happens to a write is `Lost`.
2. Requests that are made together travel together: one round trip.
3. A connection whose answers were not all read is closed, so no answer is ever taken for another's.
4. Opening a store connects to nothing. A thread that finds no free connection makes one; a process that was forked
   makes its own. When no caller holds the store any more, its connections are closed.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from valkey import Connection, ConnectionPool, SSLConnection
from valkey.backoff import NoBackoff
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    ValkeyError,
)
from valkey.retry import Retry

from virke.core.effects import Lost, Tier
from virke.errors import Corrupt, Denied, Unavailable, UsageError, VirkeError
from virke.stores.base import Store
from virke.stores.valkey.data import ValkeyBlobs, ValkeyRegister
from virke.stores.valkey.server import Command, NoAnswer, Script, Waits
from virke.stores.valkey.url import Address, parse_address

KV_BYTES_MAX: Final = 1 << 20

_DENIED: Final = frozenset({"DENIED", "ACL"})
"""First words of: a server in protected mode, a script that came to a command that the user may not give."""
_REFUSED: Final = frozenset(
    "MISCONF NOREPLICAS BUSY MASTERDOWN CLUSTERDOWN MOVED ASK TRYAGAIN CROSSSLOT unknown".split()
)
"""First words of answers to what was not carried out, besides those that the library has classes for.

The log or snapshot on disk fails, too few replicas, another script does not end, a replica without a primary, a node
of a cluster that has not this key, a command that does not exist. The server checks each before it runs a command, or
before the first write of a script; our scripts have one write.
"""


class _Wire(Protocol):
    """What is used of the library's connection, which has no types."""

    def pack_commands(self, commands: Sequence[Command]) -> list[bytes]: ...

    def send_packed_command(self, command: list[bytes]) -> None: ...

    def send_command(self, *command: str) -> None: ...

    def read_response(self) -> object: ...

    def on_connect(self) -> None: ...

    def disconnect(self) -> None: ...


def _greet_server(wire: _Wire) -> None:
    """Have the server say that it is one before anything is sent that could get lost."""
    wire.on_connect()
    wire.send_command("PING")
    try:
        wire.read_response()
    except NoPermissionError:
        return  # it is one; what else is forbidden will show


class _Server:
    """One server (`server.Server`)."""

    def __init__(self, address: Address) -> None:
        self._name = address.server
        says_hello = address.username or address.password or address.db  # on_connect sends AUTH or SELECT
        tls: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True} if address.tls else {}
        self._pool = ConnectionPool(
            connection_class=SSLConnection if address.tls else Connection,
            host=address.host,
            port=address.port,
            db=address.db,
            username=address.username,
            password=address.password,
            socket_timeout=address.timeout_s,
            socket_connect_timeout=address.timeout_s,
            retry=Retry(NoBackoff(), 0),
            lib_name=None,
            lib_version=None,
            valkey_connect_func=None if says_hello else _greet_server,
            **tls,
        )
        # Kept alive by this, the pool is not part of whatever cycle the server is in, and closes its sockets in order.
        weakref.finalize(self, self._pool.disconnect)

    def ask(self, commands: Sequence[Command]) -> list[object]:
        if not commands:
            return []
        wire = self._connected_wire()
        complete = False
        try:
            wire.send_packed_command(wire.pack_commands(commands))
            answers = _read_answers(wire, len(commands))
            complete = True
        except (ValkeyError, ValueError) as error:  # ValueError: bytes that are not the protocol
            raise NoAnswer(f"{self._name}: {error}") from error
        finally:
            if not complete:
                wire.disconnect()  # rule 3
            self._pool.release(cast(Connection, wire))
        return answers

    def run(self, script: Script, key: str, *arguments: bytes | str, then: Sequence[Command] = ()) -> list[object]:
        rest = (1, key, *arguments)
        answers = self.ask([("EVALSHA", script.sha, *rest), *then])
        if isinstance(answers[0], NoScriptError):
            answers = self.ask([("EVAL", script.text, *rest), *then])
        return answers

    def good(self, answer: object) -> object:
        if isinstance(answer, Exception):
            raise self._refusal_error(answer) or Unavailable(f"{self._name} answered: {answer}") from answer
        return answer

    def lost(self, answer: object) -> Lost:
        if isinstance(answer, Exception) and (refusal := self._refusal_error(answer)):
            raise refusal from answer
        return Lost(f"{self._name} answered: {answer}")

    def _connected_wire(self) -> _Wire:
        try:
            return cast(_Wire, self._pool.get_connection("_"))
        except ResponseError as error:
            raise self._refusal_error(error) or UsageError(f"{self._name} refused the connection: {error}") from error
        except (ValkeyError, ValueError) as error:  # ValueError: no name of a host
            raise self._refusal_error(error) or Unavailable(f"no connection to {self._name}: {error}") from error

    def _refusal_error(self, error: Exception) -> VirkeError | None:
        """What an answer means that says that nothing was done; None if it does not say so for certain so."""
        code = str(error).partition(" ")[0]
        if isinstance(error, AuthenticationError | NoPermissionError) or code in _DENIED:
            return Denied(f"{self._name} refused it: {error}")
        if code == "WRONGTYPE":
            return Corrupt(f"{self._name} holds something under this key that Virke did not write: {error}")
        if isinstance(error, BusyLoadingError | ReadOnlyError | OutOfMemoryError) or code in _REFUSED:
            return Unavailable(f"{self._name} refused it: {error}")
        return None


def _read_answers(wire: _Wire, count: int) -> list[object]:
    answers: list[object] = []
    while len(answers) < count:
        try:
            answers.append(wire.read_response())
        except ResponseError as error:
            answers.append(error)
        except (AuthenticationError, BusyLoadingError) as error:  # an answer, at which the library hangs up
            answers += [error] * (count - len(answers))
    return answers


def valkey_store(url: str, *, kv_bytes_max: int = KV_BYTES_MAX) -> Store:
    """The store that `url` names; see `docs/stores/valkey.md` for its options. Nothing is sent yet.

    Its `url` names the place: without the password, and without the options that change no data.

    Raises:
        UsageError: the URL, or an option in it, is not understood.
    """
    address = parse_address(url)
    server, waits = _Server(address), Waits(address)
    return Store(
        address.place,
        ValkeyRegister(server, waits, address.prefix),
        {Tier.KV: ValkeyBlobs(server, waits, address.prefix, kv_bytes_max)},
    )
