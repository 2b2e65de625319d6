"""The page in the system's Chromium: how tests open it, and what is in the database that they look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.servers.node import Node
from virke import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium on this machine (Debian: apt-get install chromium)"
    ),
]
EVIL = '<script>window.owned = 1</script><img src=x onerror="window.owned = 1">\'; DROP TABLE item; --'
SCHEMA = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, big INTEGER, data BLOB, raw);
CREATE TABLE pair (a TEXT, b INT, note, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE VIEW cheap AS SELECT name FROM item WHERE price < 2;
"""
VALUES: list[tuple[int | float | str | bytes | None, ...]] = [
    (1, EVIL, 1.0, 9007199254740993, b"\x00\xff", "\udcff"),
    (2, "", float("inf"), -(1 << 63), b"", None),
    (3, "two\nlines", 1e-7, 7, bytes(range(256)) * 20, b"x"),
]


@contextmanager
def looking(browser: Browser, at: Node, path: str = "", **options: Any) -> Iterator[Page]:
    """The page; what it wrote to the console, and errors that nothing caught, fail the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{at.url}/_/{path}")
    yield page
    assert said == []
    assert page.evaluate("window.owned") is None
    context.close()


def rows_of(tmp_path: Path, sql: str) -> list[tuple[object, ...]]:
    with connect("shop", f"local:{tmp_path}/data") as database:
        return [tuple(row) for row in database.query(sql).rows]


def cell(page: Page, row: int, column: int) -> Any:
    return page.locator("tbody tr").nth(row).locator("td").nth(column)


def save(page: Page, text: str | None = None, kind: str | None = None) -> None:
    """Fill in the editor that is open, and save it."""
    if kind is not None:
        page.locator("td.editing select").select_option(kind)
    if text is not None:
        page.locator("td.editing textarea").fill(text)
    page.get_by_role("button", name="Save").click()
