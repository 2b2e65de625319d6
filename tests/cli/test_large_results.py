"""Results of any size go out in bounded memory, from a store and from a node."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Virke, start
from tests.cli.test_start import ENVIRON
from tests.servers.node import node

ROWS = 20_000
FILLER = "0" * 4000
LARGE = f"""
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
    SELECT i, hex(zeroblob(2000)) AS filler FROM n
"""
"""80 MB of text: more than `max_result_mb`."""
FAILS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
    SELECT CASE WHEN i < 20000 THEN i ELSE abs(-9223372036854775807 - 1) END AS i FROM n
"""
WITH_PEAK = """
import sys
from tests.transfer.test_memory import peak_mib
from virke.cli.main import main
try:
    main()
finally:
    print(peak_mib(), file=sys.stderr)
"""
SPARE_MIB = 40
"""What a large result may take beyond a small one; it would be more than 100 if it were held."""


@pytest.fixture(scope="module")
def folder_of_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    assert start("db", "create", "big", folder=folder).returncode == 0
    return folder


@pytest.fixture(params=["store", "node"])
def store(request: pytest.FixtureRequest, folder_of_stores: Path) -> Iterator[str]:
    url = f"local:{folder_of_stores / '.virke'}"
    if request.param == "store":
        yield url
        return
    with node(url, folder_of_stores) as running:
        yield running.url


def queried(store: str, folder: Path, sql: str, *form: str) -> tuple[int, str, int]:
    """Run a query in a process of its own: its peak of memory, and lines, bytes and sum of what it printed."""
    command = [sys.executable, "-c", WITH_PEAK, "db", "query", sql, "--db", "big", "--store", store, *form]
    root = str(Path(__file__).parents[2])
    environ = ENVIRON | {"PYTHONPATH": f"{root}:{ENVIRON['PYTHONPATH']}"}
    lines, digest = 0, hashlib.sha1()
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 20
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            lines += 1
            digest.update(line)
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    return int(said), digest.hexdigest(), lines


def test_p11_a_result_larger_than_the_limit_is_printed_in_bounded_memory(store: str, folder_of_stores: Path) -> None:
    small, _, _ = queried(store, folder_of_stores, "SELECT 1", "--csv")
    peak, digest, lines = queried(store, folder_of_stores, LARGE, "--csv")
    expected = "i,filler\n" + "".join(f"{at},{FILLER}\n" for at in range(1, ROWS + 1))
    assert (lines, digest) == (ROWS + 1, hashlib.sha1(expected.encode()).hexdigest())
    assert peak < small + SPARE_MIB


@pytest.mark.parametrize(("form", "lines_besides"), [("ndjson", 0), ("json", 7)])
def test_p11_json_larger_than_the_limit_is_printed_in_bounded_memory(
    folder_of_stores: Path, form: str, lines_besides: int
) -> None:
    store = f"local:{folder_of_stores / '.virke'}"
    small, _, _ = queried(store, folder_of_stores, "SELECT 1", f"--{form}")
    peak, _, lines = queried(store, folder_of_stores, LARGE, f"--{form}")
    assert lines == ROWS + lines_besides
    assert peak < small + SPARE_MIB


def test_json_that_is_printed_row_by_row_is_one_object(users: Path, virke: Virke) -> None:
    found = json.loads(virke("db", "query", "SELECT id FROM users", "--json").stdout)
    assert (found["rows"], found["rows_affected"], found["last_insert_rowid"]) == ([[1], [2], [3]], 0, None)
    assert json.loads(virke("db", "query", "SELECT 1 WHERE 0", "--json").stdout)["rows"] == []


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_error_after_the_first_rows_is_on_stderr_and_in_the_exit_code(
    store: str, folder_of_stores: Path, form: str
) -> None:
    found = start("db", "query", FAILS, "--db", "big", "--store", store, f"--{form}", folder=folder_of_stores)
    assert found.returncode == 1
    assert "19744" in found.stdout
    assert "20000" not in found.stdout
    said = json.loads(found.stderr)["error"]["message"] if form == "json" else found.stderr
    assert "integer overflow" in said


def test_an_error_before_the_first_row_leaves_stdout_empty(users: Path, virke: Virke) -> None:
    found = virke("db", "query", "SELECT abs(-9223372036854775807 - 1) FROM users", "--csv")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "integer overflow" in found.stderr


def test_a_reader_that_goes_away_from_a_large_result_is_not_an_error(store: str, folder_of_stores: Path) -> None:
    command = [sys.executable, "-m", "virke.cli.main", "db", "query", LARGE, "--db", "big", "--store", store, "--csv"]
    with subprocess.Popen(
        command, cwd=folder_of_stores, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"i,filler\n"
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")


def test_a_table_that_is_too_large_says_which_forms_are_not(users: Path, virke: Virke) -> None:
    assert virke("db", "settings", "max_result_mb=1").exit_code == 0
    found = virke("db", "query", LARGE)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.splitlines()[1] == "hint: --csv, --ndjson, --json and --markdown print a result of any size"


def test_a_write_is_printed_in_every_form(users: Path, virke: Virke) -> None:
    sql = "INSERT INTO users (name) VALUES ('Dora'), ('Emil') RETURNING name"
    assert virke("db", "query", sql, "--csv").stdout == "name\nDora\nEmil\n"
    assert virke("db", "query", "SELECT count(*) AS n FROM users", "--ndjson").stdout == '{"n": 5}\n'
