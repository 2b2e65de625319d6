"""How an entry of the journal is written, and read back: what was asked and answered as JSON, pages deflated, sealed.

Pure. Knows programs and what belongs to them; knows no file.

1. The seal covers everything that was appended: sequence, id, time, database, text and pages. What does not fit it is
   `DamagedJournal`, never run (P7).
2. Entries of the first release are read for ever: they have no id and no pages, and their seal (CRC-32, in front of the
   text) covers time and text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

from virke.core import codec
from virke.core.ids import PageNo
from virke.core.page import PAGE_SIZES
from virke.engine.answers import Answered, FirstRun
from virke.engine.entry import NO_ENTRY, PATCH_BYTES_MAX, Base, Entry
from virke.engine.layers import Patch
from virke.engine.programs import AllOf, AnyOf, Autocommit, Condition, Failed, Not, Program, Step, Succeeded
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

SEAL_BYTES: Final = 16
_FIRST_SEAL_CHARS: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as the file has it."""

    sequence: int
    time_ms: int
    database_id: bytes
    text: str
    entry_id: bytes | None = None
    pages: bytes | None = None
    seal: bytes | None = None
    is_noted: int = 0
    noted_at: int = 0
    reason: str | None = None
    is_rejected: int = 0


class NotWhatWasWritten(ValueError):
    """The bytes of an entry do not fit its seal."""


def encode_entry(entry: Entry, patch: Patch | None) -> Row:
    """An entry, and its pages unless they are too many, as a sealed row."""
    program = entry.program
    stored: dict[str, object] = {
        "steps": [_packed_step(step) for step in program.steps],
        "key": program.key.hex() if program.key else None,
        "foreign_keys": program.foreign_keys,
        "keeps_going": program.keeps_going,
        "first_run": _packed_run(entry.first_run),
    }
    if program.scope != Scope.ADMIN:
        stored["scope"] = program.scope.word
    pages = None
    if patch is not None and entry.base is not None and len(patch.pages) * patch.page_size <= PATCH_BYTES_MAX:
        numbers = sorted(patch.pages)
        how, pages = codec.encode(b"".join(patch.pages[number] for number in numbers))
        stored["base"] = [entry.base.commit_id.hex(), entry.base.previous.hex()]
        stored["pages"] = [how, patch.page_size, patch.page_count, patch.floor, numbers]
    text = json.dumps(stored, separators=(",", ":"))
    seal = _seal_of_row(entry.sequence, entry.entry_id, program.time_ms, entry.database_id, text=text, pages=pages)
    return Row(entry.sequence, program.time_ms, entry.database_id, text, entry.entry_id, pages, seal)


def decode_entry(row: Row) -> Entry:
    """The entry of a row. Raises `NotWhatWasWritten`."""
    stored = _opened_text(row)
    steps = (
        _steps_of_first_release(stored) if "requests" in stored else [_unpacked_step(one) for one in stored["steps"]]
    )
    program = Program(
        tuple(steps),
        row.time_ms,
        stored.get("foreign_keys", False),
        bytes.fromhex(stored["key"]) if stored["key"] else None,
        keeps_going=stored.get("keeps_going", False),
        scope=Scope.named(stored.get("scope", Scope.ADMIN.word)),
    )
    return Entry(
        row.sequence,
        program,
        row.database_id,
        _unpacked_run(stored.get("first_run")),
        row.entry_id or NO_ENTRY,
        Base(*map(bytes.fromhex, stored["base"])) if "base" in stored else None,
        is_noted=bool(row.is_noted),
        noted_at=row.noted_at,
    )


def _steps_of_first_release(stored: Mapping[str, Any]) -> list[Step]:
    requests = [(sql, _unpacked_value(params)) for sql, params in stored["requests"]]
    if stored["many"]:
        return [Step(requests[0][0], rows=tuple(params for _, params in requests))]
    return [Step(sql, params, is_script=stored["script"]) for sql, params in requests]


def _packed_step(step: Step) -> list[object]:
    rows = None if step.rows is None else [_packed_value(row) for row in step.rows]
    return [step.sql, _packed_value(step.params), rows, step.is_script, _packed_condition(step.condition)]


def _unpacked_step(stored: Sequence[Any]) -> Step:
    sql, params, rows, is_script, condition = stored
    many = None if rows is None else _unpacked_value(rows)
    return Step(sql, _unpacked_value(params), many, is_script, _unpacked_condition(condition))


def _packed_condition(condition: Condition | None) -> list[object] | None:
    match condition:
        case None:
            return None
        case Succeeded(step):
            return ["succeeded", step]
        case Failed(step):
            return ["failed", step]
        case Not(inner):
            return ["not", _packed_condition(inner)]
        case AllOf(conditions):
            return ["all", [_packed_condition(one) for one in conditions]]
        case AnyOf(conditions):
            return ["any", [_packed_condition(one) for one in conditions]]
        case Autocommit():
            raise AssertionError("a program with transactions is never deferred")


def _unpacked_condition(stored: Sequence[Any] | None) -> Condition | None:
    match stored:
        case None:
            return None
        case ["succeeded", int(step)]:
            return Succeeded(step)
        case ["failed", int(step)]:
            return Failed(step)
        case ["not", inner]:
            return Not(_required_condition(inner))
        case ["all", list(conditions)]:
            return AllOf(tuple(_required_condition(one) for one in conditions))
        case ["any", list(conditions)]:
            return AnyOf(tuple(_required_condition(one) for one in conditions))
        case _:
            raise NotWhatWasWritten


def _required_condition(stored: Sequence[Any]) -> Condition:
    condition = _unpacked_condition(stored)
    if condition is None:
        raise NotWhatWasWritten
    return condition


def decode_patch(row: Row) -> Patch:
    """The pages of an entry that has some. Raises `NotWhatWasWritten`."""
    how, page_size, page_count, floor, numbers = _opened_text(row)["pages"]
    packed = row.pages or b""
    if page_size not in PAGE_SIZES or len(numbers) * page_size > PATCH_BYTES_MAX:
        raise NotWhatWasWritten
    raw_bytes = len(numbers) * page_size
    raw = codec.decode(how, packed, crc=codec.crc32(packed), raw_bytes=raw_bytes, what=f"entry {row.sequence}")
    pages = {PageNo(number): raw[at * page_size : (at + 1) * page_size] for at, number in enumerate(numbers)}
    return Patch(pages, page_size, page_count, floor)


def _opened_text(row: Row) -> dict[str, Any]:
    """What the text says, once the seal was found right."""
    if row.entry_id is None:  # of the first release
        text = str(row.text)[_FIRST_SEAL_CHARS:]
        if str(row.text)[:_FIRST_SEAL_CHARS] != f"{crc32(f'{row.time_ms} {text}'.encode()):08x}":
            raise NotWhatWasWritten
    else:
        text = str(row.text)
        fits = _seal_of_row(row.sequence, row.entry_id, row.time_ms, row.database_id, text=text, pages=row.pages)
        if row.seal != fits:
            raise NotWhatWasWritten
    stored: dict[str, Any] = json.loads(text)
    return stored


def _seal_of_row(
    sequence: int, entry_id: bytes, time_ms: int, database_id: bytes, *, text: str, pages: bytes | None
) -> bytes:
    parts = (f"{sequence} {time_ms}".encode(), entry_id, database_id, text.encode(errors="surrogatepass"), pages or b"")
    digest = blake2b(digest_size=SEAL_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _packed_run(run: FirstRun | None) -> dict[str, object] | None:
    if run is None:
        return None
    answers = [
        [None if one.rows is None else _packed_value(one.rows), one.digest.hex(), one.affected, one.rowid]
        for one in run.answers or ()
    ]
    return {"seed": run.seed.hex(), "answers": answers, "counts_only": run.counts_only}


def _unpacked_run(stored: Mapping[str, Any] | None) -> FirstRun | None:
    if stored is None:
        return None
    answers = tuple(
        Answered(
            None if rows is None else _unpacked_value(rows),
            bytes.fromhex(digest),
            affected,
            rowid,
        )
        for rows, digest, affected, rowid in stored["answers"]
    )
    return FirstRun(bytes.fromhex(stored["seed"]), answers, stored["counts_only"])


def _packed_value(params: object) -> object:
    """Parameters as JSON; numbers that JSON does not know and bytes are tagged."""
    match params:
        case Mapping():
            return {"named": {name: _packed_value(value) for name, value in params.items()}}
        case bytes() | bytearray() | memoryview():
            return {"bytes": base64.b64encode(bytes(params)).decode()}
        case bool():
            return int(params)
        case float():
            return {"float": params.hex()}
        case None | int() | str():
            return params
        case Sequence():
            return [_packed_value(value) for value in params]
        case _:
            raise TypeError(f"a parameter of type {type(params).__name__} can't be journalled")


def _unpacked_value(stored: object) -> Any:
    match stored:
        case {"named": dict(values)}:
            return {name: _unpacked_value(value) for name, value in values.items()}
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"float": str(text)}:
            return float.fromhex(text)
        case list():
            return tuple(_unpacked_value(value) for value in stored)
        case _:
            return stored
