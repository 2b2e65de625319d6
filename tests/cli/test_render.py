"""Rows as text, in every form."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.cli import render
from virke.cli.render import Value
from virke.cli.state import printable_text
from virke.cli.terminal import cell_width

SEED_COLUMNS = ["id", "name", "email", "active"]
SEED_ROWS: list[tuple[Value, ...]] = [(1, "Alice", "alice@example.com", 1), (3, "Carol", "carol@example.com", 1)]

VALUES = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)


def test_the_table_of_the_seed() -> None:
    assert list(render.table(SEED_COLUMNS, SEED_ROWS)) == [
        "id  name   email              active",
        "--  -----  -----------------  ------",
        "1   Alice  alice@example.com  1",
        "3   Carol  carol@example.com  1",
    ]


def test_a_result_without_rows_is_its_header() -> None:
    assert list(render.table(["a", "bc"], [])) == ["a  bc", "-  --"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "NULL"),
        (9007199254740993, "9007199254740993"),
        (-(1 << 63), "-9223372036854775808"),
        (1.0, "1.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-0.0, "-0.0"),
        (float("inf"), "Inf"),
        (b"\x00\xff", "X'00FF'"),
        (b"", "X''"),
        ("", ""),
    ],
)
def test_a_value_is_shown_faithfully(value: Value, shown: str) -> None:
    assert render.text_of(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ((1 << 53) - 1, 9007199254740991),
        (1 << 53, "9007199254740992"),
        (-(1 << 53), "-9007199254740992"),
        (float("-inf"), "-Infinity"),
        (b"\x00\xff", {"base64": "AP8="}),
        (None, None),
        ("NULL", "NULL"),
    ],
)
def test_json_never_loses_digits_or_types(value: Value, shown: object) -> None:
    assert render.json_of(value) == shown


def test_wide_and_combining_characters_are_aligned() -> None:
    lines = list(render.table(["name", "n"], [("日本", 1), ("e\u0301e\u0301", 2), ("👍🏽", 3), ("abcd", 4)]))
    starts = {cell_width(line[: line.rindex(line.split()[-1])]) for line in lines}
    assert starts == {6}


def test_control_characters_do_not_reach_the_terminal() -> None:
    (_, _, line) = render.table(["t"], [("a\nb\tc\rd\x1b[31m\x00\x9b\u2028\u202e",)])
    assert line == "a\\nb\\tc\\rd\\x1b[31m\\x00\\x9b\\u2028\\u202e"
    assert printable_text("plain ü 日本") == "plain ü 日本"


@given(st.lists(st.tuples(VALUES, VALUES)))
def test_every_row_of_a_table_is_one_line_and_rules_match_widths(rows: list[tuple[Value, ...]]) -> None:
    lines = list(render.table(["a", "b"], rows))
    assert len(lines) == len(rows) + 2
    assert all(len(line.splitlines()) <= 1 for line in lines)
    first, second = lines[1].split("  ")
    assert max(cell_width(line) for line in lines) <= len(first) + 2 + len(second)


@given(st.lists(st.tuples(VALUES, VALUES)))
def test_json_reads_back(rows: list[tuple[Value, ...]]) -> None:
    text = "\n".join(render.json_lines(["a", "b"], rows, {"version": 7}))
    found = json.loads(text)
    assert found == {"columns": ["a", "b"], "rows": [[render.json_of(v) for v in row] for row in rows], "version": 7}


@given(st.lists(st.tuples(VALUES, VALUES)))
def test_csv_reads_back(rows: list[tuple[Value, ...]]) -> None:
    text = "".join(line + "\n" for line in render.csv_lines(["a", "b"], rows))
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[1:] == [["" if v is None else render.text_of(v) for v in row] for row in rows]


def test_csv_tells_null_from_the_empty_text() -> None:
    assert list(render.csv_lines(["a", "b"], [(None, "")])) == ["a,b", ',""']


def test_ndjson_keeps_columns_of_the_same_name() -> None:
    (line,) = render.ndjson_lines(["id", "id", "id_2", "id"], [(1, 2, 3, 4)])
    assert list(json.loads(line).values()) == [1, 2, 3, 4]
    assert render.unique_names(["id", "name", "id"]) == ["id", "name", "id_2"]


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "a_2_2", "b"]), max_size=8))
def test_unique_names_are_unique(columns: list[str]) -> None:
    names = render.unique_names(columns)
    assert len(set(names)) == len(columns) == len(names)


def test_markdown_escapes_what_would_break_the_table() -> None:
    assert list(render.markdown_lines(["a|b"], [("x|y\nz\\",)])) == ["| a\\|b |", "| --- |", "| x\\|y\\nz\\\\ |"]
