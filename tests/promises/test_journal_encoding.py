"""An entry of the journal as bytes: the same for ever, and whatever was in it comes back (P7, P10)."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

import pytest

from virke.core.ids import PageNo
from virke.engine.answers import Answered, FirstRun
from virke.engine.entry import PATCH_BYTES_MAX, Base, Entry
from virke.engine.layers import Patch
from virke.engine.programs import Program, Step
from virke.journal.encoding import NotWhatWasWritten, decode_entry, decode_patch, encode_entry

PAGE: Final = 4096
DATABASE: Final = b"d" * 16
TEXT: Final = (
    '{"steps":[["INSERT INTO t VALUES (?)",[1,"\\u00e9",{"float":"0x1.0000000000000p-1"},{"bytes":"eA=="}],null,false,null]],'
    '"key":null,"foreign_keys":false,"keeps_going":false,"first_run":{"seed":"7373737373737373","answers":[[[[1]],"67676767676767676767676767676767",1,5]],"counts_only":true}}'
)
SEAL: Final = "bb02cadda6a950992887c9b75a9c1c32"
BASE: Final = Base(b"c" * 16, b"p" * 16)


def entry(*params: object, base: Base | None = None, run: FirstRun | None = None) -> Entry:
    step = Step("INSERT INTO t VALUES (?)", params)  # type: ignore[arg-type]
    return Entry(7, Program((step,), 1_700_000_000_000), DATABASE, run, b"e" * 16, base)


def pages(count: int) -> Patch:
    """So many, not in their order."""
    numbers = [PageNo(number) for number in range(count, 0, -1)]
    return Patch({number: bytes([number % 256]) * PAGE for number in numbers}, PAGE, count, 1)


def test_p10_an_entry_has_the_bytes_that_it_always_had() -> None:
    """Else a newer release would take the journals of this one for damaged."""
    run = FirstRun(b"s" * 8, (Answered(((1,),), b"g" * 16, 1, 5),), counts_only=True)
    row = encode_entry(entry(1, "é", 0.5, b"x", run=run), None)
    assert row.text == TEXT
    assert row.seal is not None
    assert row.seal.hex() == SEAL


def test_p7_the_seal_says_where_each_part_ends() -> None:
    """Text that is moved among the pages is not what was written."""
    row = encode_entry(entry(1, base=BASE), pages(1))
    assert row.pages
    with pytest.raises(NotWhatWasWritten):
        decode_entry(replace(row, text=row.text[:-1], pages=row.text[-1:].encode() + row.pages))


@pytest.mark.parametrize(
    "value", [0.1 + 0.2, 1 / 3, 5e-324, sys.float_info.max, -0.0, float("inf"), 2**63 - 1, -(2**63), "\ud800", b"\0"]
)
def test_p1_each_value_comes_back_to_its_last_bit(value: object) -> None:
    [step] = decode_entry(encode_entry(entry(value), None)).program.steps
    assert repr(step.params) == repr((value,))


@pytest.mark.parametrize("more", [0, 1])
def test_pages_are_kept_up_to_their_bound(more: int) -> None:
    """More than that, and the statements are run again."""
    patch = pages(PATCH_BYTES_MAX // PAGE + more)
    row = encode_entry(entry(1, base=BASE), patch)
    found = decode_entry(row)
    assert found.base == (None if more else BASE)
    assert (row.pages is None) == bool(more)
    if not more:
        assert decode_patch(row) == patch
