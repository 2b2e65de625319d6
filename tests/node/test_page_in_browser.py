"""The page in a real browser, on a real node: what is shown, edited and refused, by mouse and by keyboard alone.

The browser is the system's Chromium; without one these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.node.browsing import EVIL, IN_BROWSER, VALUES, cell, looking, rows_of, save
from tests.servers.node import Node
from virke import connect, tokens
from virke.opening import open_store
from virke.scopes import Scope

pytestmark = IN_BROWSER


def test_every_value_is_shown_as_it_is_and_markup_is_text(browser: Browser, at: Node) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        expect(cell(page, 0, 1)).to_have_text(EVIL)
        expect(cell(page, 0, 2)).to_have_text("1.0")
        expect(cell(page, 0, 3)).to_have_text("9007199254740993")
        expect(cell(page, 0, 4)).to_have_text("X'00ff'")
        expect(cell(page, 0, 5)).to_have_text("bytes ff")
        expect(cell(page, 1, 1)).to_have_text("empty text")
        expect(cell(page, 1, 2)).to_have_text("Infinity")
        expect(cell(page, 1, 3)).to_have_text(str(-(1 << 63)))
        expect(cell(page, 1, 5)).to_have_text("NULL")
        expect(cell(page, 2, 4)).to_contain_text("5.0 KiB")
        expect(page.locator("main script, main img")).to_have_count(0)
        page.goto(f"{at.url}/_/#/shop/schema")
        expect(page.locator("pre").first).to_contain_text("CREATE TABLE item")


def test_a_value_that_is_opened_and_saved_is_the_same(browser: Browser, at: Node, tmp_path: Path) -> None:
    """Of every kind, long ones included, of which the table shows the beginning."""
    before = rows_of(tmp_path, "SELECT *, typeof(raw), hex(raw) FROM item WHERE id < 4")
    with looking(browser, at, "#/shop/table/item") as page:
        for row in range(3):
            for column in range(1, 6):
                if VALUES[row][column] is None:
                    continue
                cell(page, row, column).dblclick()
                save(page)
                expect(page.locator("#said")).to_contain_text("Saved as version")
                expect(page.locator("td.editing")).to_have_count(0)
    assert rows_of(tmp_path, "SELECT *, typeof(raw), hex(raw) FROM item WHERE id < 4") == before


def test_values_are_edited_inserted_and_deleted(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        for column, kind, text in (
            (1, "TEXT", EVIL * 2),
            (3, "INTEGER", "-9223372036854775808"),
            (2, "REAL", "2.50"),
            (4, "BLOB", "00 ff 7f"),
        ):
            cell(page, 0, column).dblclick()
            save(page, text, kind)
            expect(page.locator("td.editing")).to_have_count(0)
        cell(page, 0, 5).dblclick()
        save(page, None, "NULL")
        expect(cell(page, 0, 5)).to_have_text("NULL")
        cell(page, 1, 3).dblclick()
        save(page, "9223372036854775808")
        expect(page.get_by_role("alert")).to_contain_text("does not fit in 64 bits")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Insert").click()
        page.get_by_role("textbox", name="name", exact=True).fill("made here")
        page.get_by_role("textbox", name="big").fill("1152921504606846977")
        page.get_by_role("dialog").get_by_role("button", name="Insert").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name="Delete row 2", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(cell(page, 1, 0)).to_have_text("3")
    made = rows_of(tmp_path, "SELECT * FROM item WHERE id IN (1, 2) OR name = 'made here'")
    assert made == [
        (1, EVIL * 2, 2.5, -(1 << 63), b"\x00\xff\x7f", None),
        (124, "made here", None, 1152921504606846977, None, None),
    ]


def test_a_change_of_another_is_not_overwritten(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        cell(page, 2, 1).dblclick()
        with connect("shop", at.url) as other:
            other.execute("UPDATE item SET name = 'theirs' WHERE id = 3")
        save(page, "mine")
        expect(page.get_by_role("alert")).to_contain_text("was changed by another")
    assert rows_of(tmp_path, "SELECT name FROM item WHERE id = 3") == [("theirs",)]


def test_pages_follow_each_other_in_any_order(browser: Browser, at: Node) -> None:
    with looking(browser, at, "#/shop/table/item") as page:
        shown: list[str] = []
        while True:
            expect(page.locator("main .bar")).to_contain_text(f"Rows {len(shown) + 1} to")
            shown += page.locator("tbody td:first-child").all_inner_texts()
            if page.get_by_role("button", name="Next").is_disabled():
                break
            page.get_by_role("button", name="Next").click()
        assert shown == [str(n) for n in range(1, 124)]
        page.get_by_role("button", name="Previous").click()
        expect(cell(page, 0, 0)).to_have_text("51")
        page.get_by_role("columnheader", name="price").get_by_role("button").click()
        expect(cell(page, 0, 1)).to_have_text("item 0")
        page.get_by_role("columnheader", name="price").get_by_role("button").click()
        expect(cell(page, 0, 2)).to_have_text("Infinity")
        expect(page.get_by_role("columnheader", name="price")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="Next").click()
        expect(page.locator("main .bar")).to_contain_text("Rows 51 to 100")


def test_tables_without_rowid_and_views(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/table/pair") as page:
        cell(page, 1, 2).dblclick()
        save(page, "changed")
        expect(cell(page, 1, 2)).to_have_text("changed")
        expect(page.get_by_role("link", name="item 123")).to_be_visible()
        page.get_by_role("link", name="cheap").click()
        expect(page.get_by_text("A view can't be edited here.")).to_be_visible()
        expect(page.get_by_role("button", name="Insert")).to_have_count(0)
    assert rows_of(tmp_path, "SELECT note FROM pair") == [("one",), ("changed",)]


def test_statements_are_run_with_their_receipt_and_plan(browser: Browser, at: Node, tmp_path: Path) -> None:
    with looking(browser, at, "#/shop/sql") as page:
        box = page.get_by_role("textbox", name="SQL")
        box.fill("SELECT name FROM item\nWHERE id = 1")
        box.press("Control+Enter")
        expect(page.locator("#rows")).to_contain_text("1 row, version")
        expect(page.locator("#receipt")).to_contain_text("round trip")
        page.get_by_text("Plan").click()
        expect(page.locator("#plan li").first).to_have_text("SEARCH item USING INTEGER PRIMARY KEY (rowid=?)")
        box.fill("CREATE TABLE made (x); INSERT INTO made VALUES (';'), (2); SELECT sum(x) AS s FROM made")
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#rows")).to_contain_text("1 row, version")
        expect(page.get_by_role("link", name="made 2")).to_be_visible()
        box.fill("SELECT * FROM missing")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("alert")).to_contain_text("400 sql_error: no such table: missing")
    assert rows_of(tmp_path, "SELECT x FROM made") == [(";",), (2,)]


def test_a_token_is_asked_for_and_what_it_may_not_do_is_not_offered(browser: Browser, at: Node, tmp_path: Path) -> None:
    store = open_store(f"local:{tmp_path}/data")
    reads, _ = tokens.create(store, ("shop",), Scope.READ)
    writes, _ = tokens.create(store, ("*",), Scope.ADMIN)
    with connect("shop", at.url, token=writes) as other:
        version = other.version
    with looking(browser, at, "#/shop/table/item") as page:
        page.get_by_role("textbox", name="Token").fill("vk_wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text("This token is not good.")).to_be_visible()
        page.get_by_role("textbox", name="Token").fill(reads)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text("This token only reads.")).to_be_visible()
        expect(page.get_by_role("button", name="Insert")).to_have_count(0)
        cell(page, 0, 1).dblclick()
        expect(page.locator("td.editing")).to_have_count(0)
        page.get_by_role("link", name="SQL").click()
        page.get_by_role("textbox", name="SQL").fill("DELETE FROM item")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("alert")).to_contain_text("403 denied")
        page.reload()
        expect(page.get_by_role("textbox", name="SQL")).to_have_value("DELETE FROM item")
        page.get_by_role("button", name="Token").click()
        page.get_by_role("textbox", name="Token").fill(writes)
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("link", name="item 123").click()
        expect(page.get_by_role("button", name="Insert")).to_be_visible()
        assert page.evaluate("localStorage.length") == 0
    with connect("shop", at.url, token=writes) as other:
        assert other.version == version, "asking whether one may write writes nothing"


def test_an_earlier_version_is_looked_at_and_restored(browser: Browser, at: Node, tmp_path: Path) -> None:
    with connect("shop", at.url) as other:
        before = other.version
        other.execute("DELETE FROM item")
    with looking(browser, at, "#/shop/versions") as page:
        page.get_by_role("button", name=f"Look at version {before}", exact=True).click()
        page.get_by_role("textbox", name="SQL").fill("SELECT count(*) FROM item")
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#rows")).to_contain_text(f"1 row, version {before}")
        expect(cell(page, 0, 0)).to_have_text("123")
        page.get_by_role("link", name="Versions").click()
        page.get_by_role("button", name=f"Restore version {before}", exact=True).click()
        assert rows_of(tmp_path, "SELECT count(*) FROM item") == [(0,)]
        page.get_by_role("dialog").get_by_role("button", name="Restore").click()
        expect(page.get_by_role("link", name="item 123")).to_be_visible()
        expect(page.get_by_text(f"restore of {before}")).to_be_visible()
    assert rows_of(tmp_path, "SELECT count(*) FROM item") == [(123,)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_works_by_keyboard_in_a_narrow_window(
    browser: Browser, at: Node, tmp_path: Path, scheme: str
) -> None:
    with looking(browser, at, "#/shop/table/item", viewport={"width": 380, "height": 700}, color_scheme=scheme) as page:
        expect(cell(page, 0, 0)).to_have_text("1")
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        grounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 25, 24)"}
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == grounds[scheme]
        for _ in range(40):  # in the order of the page, up to the table
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "TD":
                break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.type("by hand")
        page.keyboard.press("Enter")
        expect(cell(page, 2, 1)).to_have_text("by hand")
        expect(cell(page, 2, 1)).to_be_focused()
        page.keyboard.press("F2")
        page.keyboard.type("not this")
        page.keyboard.press("Escape")
        expect(cell(page, 2, 1)).to_have_text("by hand")
        expect(cell(page, 2, 1)).to_be_focused()
    assert rows_of(tmp_path, "SELECT name FROM item WHERE id = 3") == [("by hand",)]
