"""What is kept in a Valkey server, and the commands that read and change it.

    <prefix>:r:<key>   a record: a hash of `g`, its generation, and `d`, its data
    <prefix>:b:<key>   an object: when it was written (8 bytes, big-endian, Unix milliseconds), then its data
    <prefix>:f         written to, so that an acknowledgement covers what was only read

Knows commands and their answers. A `Server` says how they travel and what errors mean.

1. Each change of a record is one script with one writing command, so it is applied whole or not at all.
2. A generation is 128 random bits drawn here, so it never repeats, whatever was deleted, restored or failed over.
3. A call is one round trip, with these exceptions: a script that the server has forgotten is sent whole; an object
   that is there already is read and compared; a listing goes through the keys of the whole server in steps; and, with
   a wait option, a record that is not the known one is read again.
4. Records are read from a primary: a server that is a replica at that moment answers with an error.
"""

from __future__ import annotations

import re
import secrets
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final, cast

from virke.core.effects import (
    Absent,
    Generation,
    Lost,
    Mismatch,
    PutOutcome,
    ReadOutcome,
    Record,
    Stored,
    SwapOutcome,
    Swapped,
    Unchanged,
)
from virke.errors import Corrupt, Exists, Unavailable
from virke.stores.base import Consistency, Listed, Range, byte_bounds, check_key, check_size
from virke.stores.valkey.server import Command, NoAnswer, Script, Server, Waits, read_all

_HEADER: Final = struct.Struct(">Q")
assert struct.calcsize(">Q") == 8
"""when an object was written"""
_BEYOND: Final = 1 << 40  # no string of a server is as long
_PAGE: Final = 1000
_GLOB: Final = re.compile(r"[*?\[\]\\^-]")

_READ: Final = Script("""
local now = redis.call('HGET', KEYS[1], 'g')
if now and now == ARGV[1] then return 1 end
return redis.call('HMGET', KEYS[1], 'g', 'd')
""")
_SWAP: Final = Script("""
local now = redis.call('HGET', KEYS[1], 'g')
if (now and '=' .. now or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'd', ARGV[3])
return 1
""")
_REMOVE: Final = Script("""
if redis.call('HGET', KEYS[1], 'g') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
""")
_PRIMARY: Final[Command] = ("WAIT", 0, 0)
"""Waits for no replica, but a replica answers it with an error (rule 4)."""


class ValkeyRegister:
    """A register in hashes (R1–R11)."""

    def __init__(self, server: Server, waits: Waits, prefix: str) -> None:
        self._server = server
        self._waits = waits
        self._space = f"{prefix}:r:"

    @property
    def consistency(self) -> Consistency:
        """Linearizable: one primary, one command after another."""
        return Consistency.LINEARIZABLE

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while its generation is `known`.

        Raises:
            Unavailable: no answer, the server is a replica, or too few servers have the record yet (see `Waits`).
            Denied: the server does not let us. Corrupt: what is there is not a record.
        """
        name = self._space + check_key(key)
        if not self._waits.commands:
            return _outcome_of_read(key, self._ask_for_record(name, known or ""))
        if known is not None and read_all(self._server, [("HGET", name, "g"), _PRIMARY])[0] == known.encode():
            return Unchanged()
        found, _, *acknowledged = read_all(
            self._server, [("HMGET", name, "g", "d"), *self._waits.fence], self._waits.commands
        )
        if missing := self._waits.missing(acknowledged):
            raise Unavailable(f"register {key!r} may still change back: {missing}", key=key)
        return _outcome_of_read(key, found)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it).

        Raises:
            Unavailable: no connection, or the server refused it (memory full, read-only, loading, too few replicas).
            Denied: the server does not let us. Corrupt: what is there is not a record. Nothing was changed by any.
        """
        generation = Generation(secrets.token_hex(16))
        wanted = "" if base is None else f"={base}"
        return self._change_record(_SWAP, check_key(key), wanted, generation, bytes(data), applied=Swapped(generation))

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`. Raises as `swap` does."""
        return self._change_record(_REMOVE, check_key(key), base, applied=Swapped(None))

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted. Raises `Unavailable`, `Denied`."""
        return iter(_scan_keys(self._server, self._space, prefix))

    def _ask_for_record(self, name: str, known: str) -> object:
        try:
            found, _ = map(self._server.good, self._server.run(_READ, name, known, then=[_PRIMARY]))
        except NoAnswer as error:
            raise Unavailable(f"no answer from {error}; repeat it") from error
        return found

    def _change_record(self, script: Script, key: str, *arguments: bytes | str, applied: Swapped) -> SwapOutcome:
        try:
            done, *acknowledged = self._server.run(script, self._space + key, *arguments, then=self._waits.commands)
        except NoAnswer as error:
            return Lost(str(error))
        match done:
            case 1:
                missing = self._waits.missing(acknowledged)
                return Lost(missing) if missing else applied
            case 0:
                return Mismatch()
            case _:
                return self._server.lost(done)


def _outcome_of_read(key: str, found: object) -> ReadOutcome:
    match found:
        case 1:
            return Unchanged()
        case [None, None]:
            return Absent()
        case [bytes(generation), bytes(data)]:
            return Record(data, Generation(generation.decode("ascii", "backslashreplace")))
        case _:
            raise Corrupt(f"register {key!r} is not a record", key=key)


class ValkeyBlobs:
    """Objects of the kv tier in strings (B1–B10)."""

    def __init__(self, server: Server, waits: Waits, prefix: str, part_bytes_max: int) -> None:
        self._server = server
        self._waits = waits
        self._space = f"{prefix}:b:"
        self._part_bytes_max = part_bytes_max

    @property
    def consistency(self) -> Consistency:
        """Linearizable, as the register."""
        return Consistency.LINEARIZABLE

    @property
    def has_ranges(self) -> bool:
        """The server's GETRANGE."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object.

        Raises:
            Unavailable, Denied, Corrupt: see `ValkeyRegister.swap`.
            Exists, TooLarge, Invalid: see B2, B8, B7.
        """
        return self.put_all([(key, data)])

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects in one round trip, two if some are there. Raises as `put_new`; then some may be there."""
        for key, data in objects:
            check_size(check_key(key), len(data), self._part_bytes_max)
        left: Sequence[tuple[str, bytes]] = [(key, bytes(data)) for key, data in objects]
        while left:
            there = self._create_objects(left)
            if isinstance(there, Lost):
                return there
            if not there:
                break
            missing, left = self._compare_objects(there)
            if missing:
                return Lost(missing)
        return Stored()

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked, in one round trip. Raises `Unavailable`, `Denied`, `Corrupt`, `Invalid`."""
        parts: list[Command] = [
            ("GETRANGE", self._space + check_key(asked.key), *_ends_of_range(asked)) for asked in ranges
        ]
        keys = dict.fromkeys(asked.key for asked in ranges)
        sizes: list[Command] = [("STRLEN", self._space + key) for key in keys]
        answers = read_all(self._server, [*parts, *sizes])
        size_of = dict(zip(keys, cast(list[int], answers[len(parts) :]), strict=True))
        found = zip(ranges, cast(list[bytes], answers), strict=False)
        return [_cut_range(asked, data, size_of[asked.key]) for asked, data in found]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`, `Denied`: some may be gone, repeat the call."""
        names = [self._space + check_key(key) for key in keys]
        read_all(self._server, [("UNLINK", *names[start : start + _PAGE]) for start in range(0, len(names), _PAGE)])

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`, sorted. Raises `Unavailable`, `Denied`, `Corrupt`."""
        keys = _scan_keys(self._server, self._space, prefix)
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            sizes: list[Command] = [("STRLEN", self._space + key) for key in page]
            headers: list[Command] = [("GETRANGE", self._space + key, 0, _HEADER.size - 1) for key in page]
            answers = read_all(self._server, [*sizes, *headers])
            for key, size, header in zip(page, answers, answers[len(page) :], strict=False):
                if cast(int, size) and header:  # else it was deleted after its key was found
                    yield Listed(key, _size_of_object(key, cast(int, size)), *_HEADER.unpack(cast(bytes, header)))

    def _create_objects(self, objects: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, bytes]] | Lost:
        """Write those that are not there; answers the others."""
        header = _HEADER.pack(time.time_ns() // 1_000_000)
        puts: list[Command] = [("SET", self._space + key, header + data, "NX") for key, data in objects]
        try:
            answers = self._server.ask([*puts, *self._waits.commands])
        except NoAnswer as error:
            return Lost(str(error))
        there = []
        for each, answer in zip(objects, answers, strict=False):
            if answer is None:
                there.append(each)
            elif answer != b"OK":
                return self._server.lost(answer)
        missing = self._waits.missing(answers[len(puts) :]) if len(there) < len(puts) else ""
        return Lost(missing) if missing else there

    def _compare_objects(self, objects: Sequence[tuple[str, bytes]]) -> tuple[str, Sequence[tuple[str, bytes]]]:
        """Of `objects`, which are there: who is missing (see `Waits`), and which are gone again. Raises `Exists`."""
        gets: list[Command] = [("GET", self._space + key) for key, _ in objects]
        answers = read_all(self._server, [*gets, *self._waits.fence], self._waits.commands)
        gone = []
        for (key, data), there in zip(objects, cast(list[bytes | None], answers), strict=False):
            if there is None:
                gone.append((key, data))
            elif there[_HEADER.size :] != data:
                raise Exists(f"object {key!r} exists with other bytes", key=key)
        return self._waits.missing(answers[len(gets) + len(self._waits.fence) :]), gone


def _ends_of_range(asked: Range) -> tuple[int, int]:
    """The first and the last byte of a range, the header included, as GETRANGE wants them; `Invalid` if negative."""
    length = None if asked.length is None else min(asked.length, _BEYOND)
    start, end = byte_bounds(Range(asked.key, min(asked.offset, _BEYOND), length), 2 * _BEYOND)
    return start + _HEADER.size, end + _HEADER.size - 1


def _size_of_object(key: str, size_bytes: int) -> int:
    if size_bytes < _HEADER.size:
        raise Corrupt(f"object {key!r} was not written by Virke", key=key)
    return size_bytes - _HEADER.size


def _cut_range(asked: Range, data: bytes, size_bytes: int) -> bytes | Absent:
    """What a range is, by what GETRANGE answered and, after it, STRLEN."""
    if size_bytes == 0:
        return Absent()
    start, end = byte_bounds(asked, _size_of_object(asked.key, size_bytes))
    if len(data) == end - start:
        return data
    if not data:
        return Absent()  # it was put between the two
    raise Corrupt(f"object {asked.key!r} gave {len(data)} bytes of {end - start}", key=asked.key)


def _scan_keys(server: Server, space: str, prefix: str) -> list[str]:
    """The keys in `space` that begin with `prefix`, sorted. Raises as `read_all`."""
    pattern = space + _GLOB.sub(r"\\\g<0>", prefix) + "*"
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        [answer] = read_all(server, [("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)])
        cursor, names = cast(tuple[bytes, list[bytes]], answer)
        found.update(names)
        if cursor == b"0":
            return sorted(name.decode("ascii", "backslashreplace").removeprefix(space) for name in found)
