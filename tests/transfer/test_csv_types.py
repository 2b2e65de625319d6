"""The types of columns whose values are looked at together are those of their values one by one."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from virke.transfer.csv_file import Rows
from virke.transfer.csv_records import TOGETHER_MAX
from virke.transfer.csv_types import Type, type_of
from virke.transfer.source import open_source

ODD = (
    "0 1 -1 -0 007 1.5 1.50 1.0 0.0 0. -0.25 1e5 12345678901234567890 9007199254740993 123456789012345 1234567890123456 "
    "0.12345678901234567 0.123456789012345678 0.0012345678901234567 1234567.12345678901 x +1 1.90 0.000 5e-324 1e999 .5 - "
    "12.3456789012345678"
).split()
VALUES = (*ODD, "", "1\n2", "1\r", "1 ")


def one_by_one(values: list[str]) -> Type:
    """The type of a column (rule 1 of `csv_types`)."""
    kinds = {type_of(value) for value in values if value}
    if Type.TEXT in kinds or {Type.BIG, Type.REAL} <= kinds:
        return Type.TEXT
    decimals = [value.split(".")[1].split("e")[0] for value in values if "." in value]
    loses = any(found.endswith("0") and found != "0" for found in decimals) and len(set(map(len, decimals))) > 1
    return Type.TEXT if Type.REAL in kinds and loses else max(kinds, default=Type.EMPTY)


@pytest.mark.parametrize("seed", range(8))
def test_values_together_have_the_type_of_each(tmp_path: Path, seed: int) -> None:
    """Columns of a few odd values each, among many plain ones or alone, and more than are looked at together."""
    chance = Random(seed)
    columns = []
    for _ in range(200):
        some = chance.sample(VALUES, chance.randint(1, 3))
        plain = chance.choice([[], ["17", "4", "-3"], ["2.25", "0.5"]])
        columns.append([chance.choice(chance.choice([some, plain or some])) for _ in range(TOGETHER_MAX + 40)])
    path, text = tmp_path / "x.csv", io.StringIO()
    csv.writer(text).writerows([[f"c{n}" for n in range(len(columns))], *zip(*columns, strict=True)])
    path.write_bytes(text.getvalue().encode())
    with closing(open_source(path, tmp_path)) as source:
        found = Rows(source, "utf-8").finish().types
    assert list(found) == [one_by_one(column) for column in columns]
    assert {Type.INTEGER, Type.REAL, Type.TEXT} <= set(found)
