"""Who looks for PEP 249 where it is not is told where it is (and pandas, where it is installed, reads and writes)."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

import virke
from virke import dbapi


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas", reason="pandas is not installed here")


@pytest.mark.parametrize(
    "name", ["cursor", "commit", "executescript", "create_function", "iterdump", "total_changes", "row_factory"]
)
def test_what_a_database_does_not_have_names_the_module_that_has_it(name: str) -> None:
    with (
        virke.connect("case", "memory://case-names", create=True) as db,
        pytest.raises(AttributeError, match=r"has no attribute .*virke\.dbapi\.connect\(\)"),
    ):
        getattr(db, name)
    assert hasattr(dbapi.Connection, name) or name == "row_factory"


def test_another_name_is_a_plain_attribute_error_and_the_module_s_names_are_hinted_at() -> None:
    with (
        virke.connect("case", "memory://case-names", create=True) as db,
        pytest.raises(AttributeError, match=r"'Database' object has no attribute 'nonsense'$"),
    ):
        _ = db.nonsense  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"has no attribute 'paramstyle': PEP 249 is virke\.dbapi"):
        _ = virke.paramstyle


@pytest.mark.parametrize(("name", "hint"), [(":memory:", "memory://"), ("./x.db", "virke db import FILE")])
def test_what_is_not_a_name_says_what_to_do(name: str, hint: str) -> None:
    with pytest.raises(virke.Invalid, match="invalid database name") as caught:
        virke.connect(name)
    assert hint in str(caught.value.context["hint"])


def test_an_error_of_the_interface_carries_the_hint(con: dbapi.Connection) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="type list is not supported") as caught:
        con.execute("SELECT ?", ([1, 2],))
    cause = caught.value.__cause__
    assert isinstance(cause, virke.Invalid)
    assert "json.dumps" in str(cause.context["hint"])


@pytest.mark.parametrize("module", ["virke.dbapi", "virke.dbapi.aio"])
def test_the_modules_are_imported_by_themselves(module: str) -> None:
    assert importlib.import_module(module).connect


def test_pandas_reads_and_writes(pandas: Any, con: dbapi.Connection) -> None:
    """By a connection of PEP 249; pandas says of each that is not `sqlite3`'s that it was not tested with it."""
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None], "at": pandas.date_range("2026-01-01", periods=3)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert frame.to_sql("frame", con, index=False) == 3
        found = pandas.read_sql("SELECT * FROM frame WHERE a > ?", con, params=(1,), parse_dates=["at"])
        assert frame.to_sql("frame", con, index=False, if_exists="append", chunksize=2) == 3
        assert [len(part) for part in pandas.read_sql("SELECT a FROM frame", con, chunksize=4)] == [4, 2]
        assert frame.to_sql("frame", con, if_exists="replace") == 3
    assert found["a"].tolist() == [2, 3]
    assert found["at"].tolist() == frame["at"].tolist()[1:]
