"""Other people's clients are answered by a node as by a real sqld, field by field, but for what docs/hrana.md lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.clients.differences import DIFFERENCES
from tests.clients.install import SDIST, VENV
from tests.clients.running import Answers, a_node, a_sqld, answers, missing

pytestmark = [pytest.mark.slow, pytest.mark.clients]
PROGRAMS = (
    ("libsql.mjs", "http"),
    ("libsql.mjs", "ws"),
    ("serverless.mjs", "http"),
    ("drizzle.mjs", "http"),
    ("drizzle_kit.mjs", "http"),
    ("kysely.mjs", "http"),
    ("prisma.mjs", "http"),
    ("libsql_program.py", "http"),
    ("libsql_client_program.py", "http"),
    ("libsql_client_program.py", "ws"),
    ("sqlalchemy_program.py", "http"),
    ("raw_program.py", "http"),
)


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    if why := missing():
        pytest.skip(why)


def of_both(program: str, scheme: str, folder: Path) -> Iterator[Answers]:
    """The answers of a node, then those of sqld."""
    with a_node(folder / "node") as url:
        yield answers(program, url.replace("http", scheme), folder / "here")
    with a_sqld() as url:
        yield answers(program, url.replace("http", scheme), folder / "sqld")


@pytest.mark.parametrize(("program", "scheme"), PROGRAMS)
def test_a_client_is_answered_as_by_sqld(program: str, scheme: str, tmp_path: Path) -> None:
    here, sqld = of_both(program, scheme, tmp_path)
    assert here.keys() == sqld.keys()
    differing = {name for name in here if here[name] != sqld[name]}
    listed = DIFFERENCES.get(program, {}).keys()
    shown = {name: {"here": here[name], "sqld": sqld[name]} for name in differing - listed}
    assert not shown, json.dumps(shown, indent=1)
    assert differing == set(listed), "what is listed is no difference any more"
    wrong = {name: one for name, one in here.items() if _is_error(one) != name.startswith("refused: ")}
    assert not wrong, "a check is an error exactly if its name says so"


def _is_error(answer: object) -> bool:
    return isinstance(answer, dict) and "error" in answer


def test_below_the_path_of_a_database_a_client_is_answered_the_same(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as url:
        found = [
            answers("drizzle.mjs", f"{url}{path}", tmp_path / name) for path, name in (("", "a"), ("/db/other/", "b"))
        ]
    assert found[0] == {**found[1], "refused: foreign key": found[0]["refused: foreign key"]}


def test_drizzle_kit_leaves_virkes_own_tables_alone(tmp_path: Path) -> None:
    """With the filter that docs/hrana.md names; without it they are not dropped either, and the push fails."""
    with a_node(tmp_path / "node") as url:
        for path, body in (
            ("execute", {"sql": "CREATE TABLE posts (id INTEGER PRIMARY KEY)"}),
            ("migrate", {"files": [{"name": "001_tags.sql", "sql": "CREATE TABLE tags (id INTEGER PRIMARY KEY)"}]}),
        ):
            headers = {"content-type": "application/json", "idempotency-key": path}
            urlopen(Request(f"{url}/db/app/{path}", json.dumps(body).encode(), headers)).close()
        found = answers("drizzle_kit.mjs", url, tmp_path / "kit", "own tables")
    own = ["virke_migrations", "virke_requests"]
    assert found["tables of Virke's own are left alone"] == own
    assert "virke_" not in found["pull"]
    assert "is Virke's own" in found["refused: push without the filter"]["error"]["message"]
    assert found["they are there"] == own


def test_the_suite_of_turso_serverless_passes(tmp_path: Path) -> None:
    [tests] = SDIST.glob("turso_serverless-*/tests")
    with a_node(tmp_path / "node") as url:
        done = subprocess.run(
            [str(VENV / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
            env={**os.environ, "TURSO_DATABASE_URL": url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    assert counted == {"passed": 64}, done.stdout[-3000:]
