"""The pytest plugin gives each test a fresh database: programs as a user writes them, run by a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest


def run(folder: Path, files: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """What pytest says of a folder with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def passed(folder: Path, files: dict[str, str], *options: str, count: int) -> None:
    done = run(folder, files, *options)
    assert f"{count} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


MIGRATIONS = {
    "migrations/001_item.sql": "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL);",
    "migrations/002_first.sql": "INSERT INTO item (name) VALUES ('tea');",
}
ITEMS = """
    import pytest

    @pytest.mark.parametrize("word", ["jam", "salt", "oil"])
    def test_adds(virke_db, word):
        virke_db.execute("INSERT INTO item (name) VALUES (?)", (word,))
        virke_db.change_settings({"max_attempts": 3})
        assert [name for (name,) in virke_db.query("SELECT name FROM item ORDER BY id")] == ["tea", word]

    def test_sees_only_the_migrations(virke_db):
        assert virke_db.query("SELECT name FROM item").one() == ("tea",)
        assert virke_db.settings().max_attempts == 8
    """


def test_each_test_has_an_empty_database_of_its_own(tmp_path: Path) -> None:
    program = """
        import os, virke

        def test_one(virke_db):
            virke_db.execute("CREATE TABLE t (v)")
            assert virke.connect("test", os.environ["VIRKE_STORE"]).version == virke_db.version

        def test_two(virke_db, virke_store):
            virke_db.execute("CREATE TABLE t (v)")
            assert virke.list_databases() == ["test"]
            with virke.connect("test") as by_its_name:
                assert by_its_name.query("SELECT * FROM t").rows == []

        def test_three():
            assert "VIRKE_STORE" not in os.environ
        """
    passed(tmp_path, {"test_it.py": program}, count=3)


def test_each_test_begins_with_what_the_migrations_made(tmp_path: Path) -> None:
    settings = {"pytest.ini": "[pytest]\nvirke_migrations = migrations\n"}
    passed(tmp_path, {**MIGRATIONS, **settings, "tests/test_it.py": ITEMS}, count=4)


def test_the_folder_can_be_an_option_and_a_fixture(tmp_path: Path) -> None:
    passed(tmp_path / "a", {**MIGRATIONS, "test_it.py": ITEMS}, "--virke-migrations=migrations", count=4)
    conftest = """
        from pathlib import Path
        import pytest

        @pytest.fixture(scope="session")
        def virke_migrations():
            return Path(__file__).parent / "migrations"
        """
    passed(tmp_path / "b", {**MIGRATIONS, "conftest.py": conftest, "test_it.py": ITEMS}, count=4)


def test_migrations_run_once(tmp_path: Path) -> None:
    """A statement of a migration that ran for each test would leave another mark in each of them."""
    migrations = {"migrations/001_mark.sql": "CREATE TABLE mark AS SELECT hex(randomblob(8)) AS it;"}
    program = """
        import pytest
        seen = set()

        @pytest.mark.parametrize("n", range(5))
        def test_it(virke_db, n):
            seen.add(virke_db.query("SELECT it FROM mark").one())
            assert len(seen) == 1
        """
    passed(tmp_path, {**migrations, "test_it.py": program}, "--virke-migrations=migrations", count=5)


@pytest.mark.parametrize(
    ("files", "words"),
    [({}, "migrations"), ({"migrations/001_bad.sql": "CREATE TABL t (v);"}, "001_bad.sql")],
)
def test_wrong_migrations_are_named(tmp_path: Path, files: dict[str, str], words: str) -> None:
    done = run(tmp_path, {**files, "test_it.py": "def test_it(virke_db): pass"}, "--virke-migrations=migrations")
    assert done.returncode == 1
    assert words in done.stdout


def test_a_test_without_a_database_imports_no_engine(tmp_path: Path) -> None:
    program = (
        "import sys\ndef test_it(): assert 'virke.engine' not in sys.modules and 'virke.opening' not in sys.modules"
    )
    passed(tmp_path, {"test_it.py": program}, count=1)


def test_async_programs_use_the_same_database(tmp_path: Path) -> None:
    program = """
        import asyncio
        from virke import aio

        def test_it(virke_db, virke_store):
            async def work():
                async with await aio.connect(virke_db.name, virke_store) as db:
                    await db.execute("CREATE TABLE t (v)")
            asyncio.run(work())
            assert len(virke_db.query("SELECT * FROM t")) == 0
        """
    passed(tmp_path, {"test_it.py": program}, count=1)
