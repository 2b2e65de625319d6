"""Every console block of the README and of docs is run, here or by the test that is named for it, and prints what the page says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs_console import ROOT, Block, blocks_of, matches, run, shape

PAGES: Final = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
LINK: Final = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

ELSEWHERE: Final = {
    "README.md: export AWS_ACCESS_KEY_ID=admin AWS_SECRET_ACCESS_KEY=secret": "tests/promises/test_whole_copies.py",
    "README.md: virke init my-app --hono": "tests/clients/test_hono_project.py",
    "README.md: <-- POST /users": "tests/clients/test_hono_project.py",
    'README.md: export VIRKE_STORE="s3://bucket/my-app?endpoint=http://127.0.0.1:8333"': "tests/project/test_deploy.py",
    "README.md: virke init --edge": "tests/project/test_edge.py",
    "README.md: curl -H 'content-type: application/json' -d": "tests/project/test_edge.py",
    "README.md: virke build": "tests/clients/test_edge_hono.py",
    "README.md: virke serve &": "tests/node/test_http.py",
    "README.md: virke token create --scope admin --db '*'": "tests/cli/test_token_command.py",
    'docs/cli.md: virke db query "SELECT count(*) AS users FROM users" --store http': "tests/cli/test_remote.py",
    "docs/cli.md: virke deploy --store http://127.0.0.1:8080": "tests/project/test_deploy.py",
    "docs/cli.md: virke token create": "tests/cli/test_token_command.py",
    "docs/cli.md: virke doctor": "tests/cli/test_doctor_command.py",
    "docs/cli.md: virke db journal": "tests/cli/test_journal_command.py",
    "docs/doctor.md: virke doctor": "tests/test_doctor.py",
    "docs/doctor.md: create only": "tests/test_doctor.py",
    "docs/receipts.md: virke db query --meta": "tests/engine/test_receipts.py",
    "docs/develop.md: virke init my-app": "tests/project/test_dev.py",
    "docs/develop.md: virke dev": "tests/project/test_dev.py",
    "docs/develop.md: virke init --edge": "tests/project/test_edge.py",
}
"""Blocks that need a registry, a compiler or a server, by page and how they begin, and the tests that run their commands."""

USERS: Final = (
    "virke db execute \"CREATE TABLE users (id INTEGER, name TEXT); INSERT INTO users VALUES (1, 'A'), (2, 'B')\""
)
NEW: Final = "rm -rf .virke migrations; virke db create; "
BEFORE: Final = {
    'docs/cli.md: virke db query "SELECT * FROM user"': f"virke init; virke db create; {USERS}",
    "docs/cli.md: virke init": "rm -rf .[!.]* *",
    "docs/cli.md: ls migrations": NEW
    + 'mkdir migrations; echo "CREATE TABLE posts (id);" > migrations/001_posts.sql; '
    + 'echo "ALTER TABLE posts ADD avatar;" > migrations/002_avatar.sql',
    "docs/cli.md: virke db migrate": NEW
    + 'mkdir migrations; echo "CREATE TABLE posts (id);" > migrations/001_posts.sql; '
    + "printf 'SELECT 1;\\nINSERT INTO missing VALUES (1);' > migrations/002_bad.sql",
    "docs/cli.md: virke db import backup.sql": "printf 'CREATE TABLE a (b);\\nINSERT INTO a VALUES (1), (2);' > backup.sql",
    "docs/cli.md: virke db status": NEW
    + 'for i in 1 2 3 4; do virke db execute "CREATE TABLE t$i AS SELECT randomblob(900000) AS b"; done; '
    + "virke db upkeep --all",
    'docs/cli.md: virke db execute "DELETE FROM users"': NEW
    + 'virke db execute "CREATE TABLE users (name)"; virke db execute "INSERT INTO users VALUES (1), (2)"',
    "docs/cli.md: virke db settings": "virke db settings durability=sync max_attempts=8",
    "docs/cli.md: virke db execute \"INSERT INTO users (name) VALUES ('Dave')\"": NEW
    + f"{USERS}; virke db settings durability=deferred",
    "docs/cli.md: virke db promote": "virke db settings durability=sync",
    "docs/cli.md: virke db list": NEW + "virke db create other",
    "docs/configuration.md: virke db status": 'printf "[databse]\\n" > virke.toml',
}
"""What is done in the folder before a block: what the page says in words."""


def is_elsewhere(block: Block) -> str | None:
    """The test that runs the commands of a block which is not run here."""
    return next((test for begin, test in ELSEWHERE.items() if block.name.startswith(begin)), None)


def environment_of(home: Path) -> dict[str, str]:
    """What a reader has: this `virke` on the path, a home, and no setting of the machine."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "VIRKE_CACHE": "off"}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_console_blocks_print_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom in one folder, each where the one before it ended."""
    for name in [name for name in os.environ if name.startswith(("VIRKE_", "AWS_", "XDG_"))]:
        monkeypatch.delenv(name)
    folder, wrong = tmp_path / "my-app", list[str]()
    folder.mkdir()
    environment = environment_of(tmp_path)
    if page not in ("README.md", "docs/cli.md"):
        assert run(Block(page, 0, "virke init --quiet"), folder, environment) == []
    for block in blocks_of(page):
        if is_elsewhere(block) is None:
            if before := BEFORE.get(block.name):
                run(Block(page, block.line, before), folder, environment)
            wrong += run(block, folder, environment)
    assert wrong == []


def test_every_test_that_is_named_for_a_block_is_there_and_so_is_its_block() -> None:
    names = [block.name for page in PAGES for block in blocks_of(page)]
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()] == []
    assert [begin for begin in ELSEWHERE if not any(name.startswith(begin) for name in names)] == []
    assert [name for name in BEFORE if name not in names] == []


def test_links_of_the_documents_lead_to_files() -> None:
    pages = [*PAGES, "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "llms.txt"]
    found = [(page, link) for page in pages for link in LINK.findall((ROOT / page).read_text())]
    lost = [
        f"{page}: {link}"
        for page, link in found
        if not link.startswith(("http:", "https:", "mailto:")) and not (ROOT / page).parent.joinpath(link).exists()
    ]
    assert lost == []


def test_the_index_names_every_page() -> None:
    text = (ROOT / "docs" / "README.md").read_text()
    pages = [page.removeprefix("docs/") for page in PAGES if re.fullmatch(r"docs/[^/]+\.md", page)]
    assert [page for page in pages if page != "README.md" and f"({page}" not in text] == []


def test_the_readme_gets_a_stranger_to_a_query_in_twelve_lines() -> None:
    assert any("virke db query" in line for line in (ROOT / "README.md").read_text().splitlines()[:12])


@pytest.mark.parametrize(
    ("said", "printed", "fits"),
    [
        (["1 row, version 2, 3.1 ms"], ["1 row, version 9, 12 ms"], True),
        (["1 row, version 2"], ["1 rows, version 2"], False),
        (["error: no such table: a"], ["error: no such table: b"], False),
        (["a", "…", "z"], ["a", "b", "c", "z"], True),
        (["a", "…", "z"], ["a", "b"], False),
        (["a"], ["a", "b"], False),
        ([], ["b"], False),
        (["id  name", "--  ----"], ["id        name", "--------  ----"], True),
    ],
)
def test_what_is_printed_is_compared_by_its_shape(said: list[str], printed: list[str], fits: bool) -> None:
    assert matches([shape(line) for line in said], [shape(line) for line in printed]) is fits
