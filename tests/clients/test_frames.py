"""pandas, Polars and DuckDB on a database of Virke, embedded and on a node; `python/frames_program.py` is the program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.install import HERE, VENV
from tests.clients.running import a_node

pytestmark = [pytest.mark.slow, pytest.mark.clients]
TYPES = ["int64", "string", "double", "timestamp[us]", "decimal128(12, 2)"]
EXPECTED = {
    "pandas: the same frame": True,
    "pandas: a whole table": 2000,
    "pandas: chunks": [300] * 6 + [200],
    "pandas: PEP 249": 11.25,
    "arrow: types": [*TYPES, "string"],
    "polars": [70_000, 6, "2026-01-01 19:26:39", "105000.00", 70_000],
    "arrow: batches": [32_768, 32_768, 4_464],
    "duckdb": [[69_995, 1_224_982_495.0]],
    "arrow: pandas": ["n0", "n1"],
    "arrow: no rows": [0, ["int64", "string", "double", "string", "string", "string"]],
    "arrow: closed early": 10,
    "refused: kinds": "invalid",
    "refused: later": "invalid",
    "refused: precise": "invalid",
    "refused: names": "invalid",
    "refused: column": "invalid",
    "refused: type": "invalid",
    "refused: writes": "denied",
    "refused: left": 70_000,
    "arrow: mixed as text": ["1", "x"],
    "values": [
        7,
        0.5,
        1,
        "2026-01-02 03:04:05.123456",
        "2026-01-02",
        None,
        "x",
        "2026-01-02 03:04:00",
        None,
        "00000000-0000-0000-0000-000000000001",
        "2026-01-02",
    ],
    "refused: ndarray": "use array.tobytes(), or executemany with a row for each item",
    "refused: timedelta64": "use value.total_seconds()",
    "refused: NAType": "use None",
    "values: rows of a frame": 2,
}


@pytest.fixture(params=["embedded", "node"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A store or a node, and the URL of its database `app` for SQLAlchemy."""
    if not (VENV / "bin" / "python").exists():
        pytest.skip("the clients are not installed: python -m tests.clients.install")
    if request.param == "embedded":
        store = f"local:{tmp_path / 'store'}"
        yield store, f"sqlite+virke:///app?store={store}"
    else:
        with a_node(tmp_path / "node") as url:
            yield url, f"sqlite+virke://{url.removeprefix('http://')}/app?tls=0"


def test_frames_go_in_and_come_out(where: tuple[str, str], tmp_path: Path) -> None:
    command = [str(VENV / "bin" / "python"), str(HERE / "python" / "frames_program.py"), *where]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == EXPECTED
