"""The table of answers to keyed requests, call by call: what is found, for how long, and what a restore takes along (P2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, cast

import pytest

from tests.core.actors import empty
from virke.core.ids import CommitId
from virke.core.ring import Answer, RingEntry
from virke.engine import keyed
from virke.engine.keyed import ANSWER_BYTES_MAX, KEPT_MS, TABLE, TRIMMED_AT_ONCE
from virke.engine.results import QueryResult
from virke.engine.sqlite import Column
from virke.errors import Corrupt, Invalid

if TYPE_CHECKING:
    from virke.core.root import Root
    from virke.engine.connection import Connection
    from virke.engine.sqlite import Parameters, Row

KEY: Final = b"k" * 16
REQUEST: Final = b"r" * 32
NOW: Final = 1_700_000_000_000
ROOT: Final = empty()
VERSION: Final = ROOT.head.version


class Plain:
    """Python's own SQLite in memory, in the place of a connection that is in a transaction."""

    opened: ClassVar[list[Plain]] = []

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:")
        self.opened.append(self)

    def close(self) -> None:
        self._connection.close()

    def internal(self, sql: str, params: Parameters = ()) -> list[Row]:
        return self._connection.execute(sql, cast("tuple[object, ...]", params)).fetchall()

    def keys(self) -> list[object]:
        """The keys that are remembered, in the order of their rows."""
        return [row[0] for row in self.internal(f"SELECT key FROM {TABLE} ORDER BY id")]


@pytest.fixture(autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    while Plain.opened:
        Plain.opened.pop().close()


def connection(answers: int = 0, *, at_ms: int = NOW) -> Plain:
    """One with so many answers."""
    made = Plain()
    for number in range(answers):
        keep(made, number.to_bytes(16, "big"), at_ms=at_ms)
    return made


def of(plain: Plain) -> Connection:
    return cast("Connection", plain)


def result(*rows: Row, affected: int = 1, rowid: int | None = 7) -> QueryResult:
    columns = [Column("a", "TEXT")] if rows else []
    return QueryResult(
        ["a"] if rows else [], list(rows), ROOT, columns, rows_affected=affected, last_insert_rowid=rowid
    )


def keep(plain: Plain, key: bytes = KEY, *results: QueryResult, at_ms: int = NOW, request: bytes = REQUEST) -> None:
    keyed.keep_answer(of(plain), key, request, now_ms=at_ms, results=list(results or [result()]))


def find(plain: Plain, key: bytes = KEY, *, now_ms: int = NOW, root: Root = ROOT) -> list[QueryResult] | None:
    return keyed.find_answer(of(plain), key, REQUEST, now_ms=now_ms, root=root)


def said(results: list[QueryResult] | None) -> list[tuple[object, ...]]:
    assert results is not None
    return [
        (one.columns, one.decltypes, one.rows, one.rows_affected, one.last_insert_rowid, one.version) for one in results
    ]


def test_a_request_is_answered_with_all_that_it_was_answered() -> None:
    plain = connection()
    first = [result(("x",), (None,)), result(affected=0, rowid=None)]
    assert find(plain) is None
    keep(plain, KEY, *first)
    assert said(find(plain)) == said(first)
    assert find(plain, b"o" * 16) is None


@pytest.mark.parametrize(("later_ms", "is_known"), [(0, True), (KEPT_MS - 1, True), (KEPT_MS, False)])
def test_a_request_is_known_for_a_day_to_the_millisecond(later_ms: int, is_known: bool) -> None:
    plain = connection()
    keep(plain)
    assert (find(plain, now_ms=NOW + later_ms) is not None) == is_known


def test_another_request_with_a_known_key_is_refused_and_with_one_that_is_over_it_is_not() -> None:
    plain = connection()
    keep(plain, request=b"another")
    with pytest.raises(Invalid, match="used for another request"):
        find(plain)
    assert find(plain, now_ms=NOW + KEPT_MS) is None


def test_an_answer_that_is_kept_again_takes_the_place_of_the_first() -> None:
    plain = connection()
    keep(plain)
    keep(plain, KEY, result(affected=5), at_ms=NOW + KEPT_MS)
    assert plain.keys() == [KEY]
    assert said(find(plain, now_ms=NOW + KEPT_MS)) == said([result(affected=5)])


@pytest.mark.parametrize(("later_ms", "gone"), [(KEPT_MS - 1, 0), (KEPT_MS, TRIMMED_AT_ONCE)])
def test_each_answer_that_is_kept_removes_a_few_that_are_over(later_ms: int, gone: int) -> None:
    plain = connection(9)
    keep(plain, at_ms=NOW + later_ms)
    assert plain.keys() == [*(number.to_bytes(16, "big") for number in range(gone, 9)), KEY]


def test_of_a_large_answer_the_facts_are_kept() -> None:
    plain = connection()
    keep(plain, KEY, result(("x" * ANSWER_BYTES_MAX,), affected=3), result(affected=4, rowid=9))
    assert said(find(plain)) == [([], [], [], 3, 7, VERSION), ([], [], [], 4, 9, VERSION)]


def test_of_very_many_answers_the_sum_of_rows_is_kept() -> None:
    plain = connection()
    keep(plain, KEY, *(result(affected=2) for _ in range(1000)))
    assert said(find(plain)) == [([], [], [], 2000, None, VERSION)]
    assert len(str(plain.internal(f"SELECT answer FROM {TABLE}")[0][0])) < 100


@pytest.mark.parametrize(
    "answer", ["", "{", "7", "[7]", '[{"rows": []}]', '[{"rows_affected": 1, "rows": [[{"blob": 7}]]}]']
)
def test_an_answer_that_was_damaged_is_not_given_and_not_taken_for_none(answer: str) -> None:
    plain = connection()
    keep(plain)
    plain.internal(f"UPDATE {TABLE} SET answer = ?", (answer,))
    with pytest.raises(Corrupt, match="not as it was written"):
        find(plain)


@pytest.mark.parametrize("has_table", [False, True])
def test_what_a_database_of_the_first_format_remembers_is_answered(has_table: bool) -> None:
    """Also where a request with another key has made the table by now."""
    root = replace(ROOT, ring=(RingEntry(CommitId(bytes(16)), (Answer(KEY, 3),)),))
    plain = connection(int(has_table))
    assert said(find(plain, root=root)) == [([], [], [], 3, None, VERSION)]
    assert find(plain, b"o" * 16, root=root) is None


# What a restore takes along


def copied(now: Plain, then: Plain, *, now_ms: int = NOW) -> int:
    return keyed.copy_answers(of(now), of(then), now_ms=now_ms)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 513])
def test_a_restored_state_gets_every_answer_once(count: int) -> None:
    now, then = connection(count), connection()
    assert copied(now, then) == count
    assert copied(now, then) == 0
    assert count == 0 or then.keys() == now.keys()
    assert count == 0 or said(find(then, bytes(16))) == said([result()])


def test_a_restored_state_keeps_what_it_has_and_gets_what_came_later() -> None:
    now, then = connection(3), connection(2)
    assert copied(now, then) == 1
    assert then.keys() == now.keys()


@pytest.mark.parametrize(("request_then", "at_ms"), [(b"another", NOW), (REQUEST, NOW - KEPT_MS)])
def test_of_a_key_that_was_used_again_the_last_answer_is_kept(request_then: bytes, at_ms: int) -> None:
    now, then = connection(), connection()
    keep(then, KEY, result(affected=1), request=request_then, at_ms=at_ms)
    keep(now, KEY, result(affected=2))
    assert copied(now, then) == 1
    assert said(find(then)) == said([result(affected=2)])


@pytest.mark.parametrize(("later_ms", "count"), [(KEPT_MS - 1, 1), (KEPT_MS, 0)])
def test_answers_that_are_over_are_not_taken_along(later_ms: int, count: int) -> None:
    now, then = connection(1), connection()
    assert copied(now, then, now_ms=NOW + later_ms) == count
