"""Answers that come late: they close no editor, take nothing that is being typed, and replace nothing newer."""

from __future__ import annotations

import json
import operator
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from tests.node.browsing import IN_BROWSER, cell, looking, rows_of, save
from tests.servers.node import Node

pytestmark = IN_BROWSER
ROWS = "SELECT rowid"


class Held:
    """Requests of statements that begin in a certain way, kept from the node until they are let go."""

    def __init__(self, page: Page, begins: str) -> None:
        self._page = page
        self._begins = begins
        self._holds = True
        self.kept: list[Route] = []
        page.route("**/query", self._take)

    def _take(self, route: Route) -> None:
        sql = json.loads(route.request.post_data or "{}").get("sql", "")
        if self._holds and sql.startswith(self._begins):
            self.kept.append(route)
        else:
            route.continue_()

    def wait(self, count: int = 1) -> None:
        """Until so many are kept."""
        while len(self.kept) < count:
            self._page.wait_for_timeout(10)

    def let_go(self, *, last_first: bool = False) -> None:
        """Let them be answered one after the other, and hold nothing any more."""
        self._holds = False
        for route in reversed(self.kept) if last_first else self.kept:
            with self._page.expect_event("requestfinished", partial(operator.eq, route.request)):
                route.continue_()


def test_an_editor_that_is_open_when_rows_arrive_stays_open(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        cell(page, 0, 2).dblclick()
        held = Held(page, ROWS)
        save(page, "2.50")
        held.wait()
        expect(cell(page, 0, 2)).to_have_text("2.50")
        cell(page, 0, 3).dblclick()
        page.keyboard.type("12")
        held.let_go()
        page.keyboard.type("34")
        save(page)
        expect(page.locator("td.editing")).to_have_count(0)
        expect(cell(page, 0, 3)).to_have_text("1234")
    assert rows_of(tmp_path, "SELECT price, big FROM item WHERE id = 1") == [(2.5, 1234)]


def test_a_save_that_is_answered_late_takes_no_focus(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        cell(page, 0, 2).dblclick()
        held = Held(page, "UPDATE")
        save(page, "2.50")
        held.wait()
        cell(page, 0, 3).dblclick()
        page.keyboard.type("12")
        held.let_go()
        expect(page.locator("#said")).to_contain_text("Saved as version")
        expect(page.locator("td.editing")).to_have_count(1)
        page.keyboard.type("34")
        page.keyboard.press("Enter")
        expect(page.locator("td.editing")).to_have_count(0)
        expect(cell(page, 0, 3)).to_have_text("1234")
    assert rows_of(tmp_path, "SELECT price, big FROM item WHERE id = 1") == [(2.5, 1234)]


def test_what_waited_for_an_editor_is_shown_when_it_is_closed(browser: Browser, at: Node, tmp_path: Path) -> None:
    """As a row that was deleted, and what a trigger made of a value."""
    with looking(browser, at, "#/shop/table/item") as page:
        cell(page, 0, 3).dblclick()
        page.keyboard.type("12")
        page.get_by_role("button", name="Delete row 2", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(cell(page, 1, 0)).to_have_text("3")
        expect(page.locator("tbody tr")).to_have_count(49)
        expect(page.locator("td.editing textarea")).to_have_value("12")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("tbody tr")).to_have_count(50)
    assert rows_of(tmp_path, "SELECT big FROM item WHERE id < 3") == [(9007199254740993,)]


def test_enter_twice_saves_once(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        cell(page, 0, 3).dblclick()
        held = Held(page, "UPDATE")
        page.keyboard.type("7")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        held.wait()
        assert len(held.kept) == 1
        held.let_go()
        expect(page.locator("td.editing")).to_have_count(0)
        expect(page.get_by_role("alert")).to_have_count(0)


def test_of_two_orders_the_last_one_is_shown(browser: Browser, at: Node) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        expect(cell(page, 0, 0)).to_have_text("1")
        held = Held(page, ROWS)
        page.get_by_role("columnheader", name="price").get_by_role("button").click()
        page.get_by_role("columnheader", name="price").get_by_role("button").click()
        held.wait(2)
        held.let_go(last_first=True)
        expect(page.get_by_role("columnheader", name="price")).to_have_attribute("aria-sort", "descending")
        expect(cell(page, 0, 2)).to_have_text("Infinity")


def test_of_two_views_the_last_one_is_shown(browser: Browser, at: Node) -> None:
    with looking(browser, at, "#/shop/schema") as page:
        expect(page.get_by_role("heading", name="Schema")).to_be_visible()
        held = Held(page, "SELECT type, wr")
        page.get_by_role("link", name="item 123").click()
        held.wait()
        page.get_by_role("link", name="SQL").click()
        page.get_by_role("textbox", name="SQL").press_sequentially("SELECT 1")
        held.let_go()
        expect(page.get_by_role("link", name="SQL")).to_have_attribute("aria-current", "page")
        page.get_by_role("textbox", name="SQL").press("Control+Enter")
        expect(page.locator("#rows")).to_contain_text("1 row, version")
