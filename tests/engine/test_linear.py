"""The linear functions answer as SQLite's own do."""

from __future__ import annotations

from typing import Final

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.engine.sqlite import install_linear

_LETTERS: Final = st.text("aAbé0\N{GRINNING FACE} -", max_size=8)
VALUES: Final = st.one_of(
    st.none(), st.integers(-120, 120), st.floats(allow_nan=False, width=32), _LETTERS, _LETTERS.map(str.encode)
)
OWN: Final = apsw.Connection(":memory:")
LINEAR: Final = apsw.Connection(":memory:")
install_linear(LINEAR)


@pytest.mark.parametrize(
    "sql",
    [
        "instr(?1, ?2)",
        "replace(?1, ?2, ?3)",
        "trim(?1, ?2)",
        "ltrim(?1, ?2)",
        "rtrim(?1, ?2)",
        "unhex(?1, ?2)",
        "unhex(hex(?1) || ?2, ?2)",
        "trim(?1 || ?2, ?2 || 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789éèáàóòúù')",
    ],
)
@given(first=VALUES, second=VALUES, third=VALUES)
def test_an_answer_is_sqlite_s(sql: str, first: object, second: object, third: object) -> None:
    text = f"SELECT v, typeof(v) FROM (SELECT {sql} AS v)"
    params = (first, second, third)[: 3 if "?3" in sql else 2]
    assert LINEAR.execute(text, params).fetchall() == OWN.execute(text, params).fetchall()
