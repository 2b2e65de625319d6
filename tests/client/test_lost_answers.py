"""What a client concludes when an answer is lost, or the node goes away: never a write lost, and none done twice (P1, P2)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import virke
from tests.client.conftest import TABLE
from tests.servers.node import Node, node
from tests.servers.running import HOST
from tests.servers.tcp_proxy import Proxy

COUNT = "SELECT count(*) FROM item"


@pytest.fixture
def proxy(served: Node) -> Iterator[Proxy]:
    """A way to the node on which answers get lost."""
    way = Proxy(served.address[1])
    try:
        yield way
    finally:
        way.close()


@pytest.fixture
def far(proxy: Proxy, name: str) -> Iterator[virke.Database]:
    """A database behind it; the first exchange of its connection is over."""
    with virke.connect(name, f"http://{HOST}:{proxy.port}", create=True) as database:
        database.execute(TABLE)
        yield database


def test_a_write_whose_answer_was_lost_is_answered_and_done_once(far: virke.Database, proxy: Proxy) -> None:
    writes: list[Callable[[], int]] = [
        lambda: far.execute("INSERT INTO item (price) VALUES (1)"),
        lambda: far.query("INSERT INTO item (price) VALUES (1) RETURNING price").rows_affected,
        lambda: far.run("INSERT INTO item (price) VALUES (1)").rows_affected,
        lambda: far.run_script("INSERT INTO item (price) VALUES (1); SELECT 1").rows_affected,
        lambda: far.batch(["INSERT INTO item (price) VALUES (1)"])[0].rows_affected,
        lambda: far.executemany("INSERT INTO item (price) VALUES (?)", [[1]]),
    ]
    for number, write in enumerate(writes):
        far.query("SELECT 1")
        proxy.to_lose = 1
        assert write() == 1
        assert proxy.to_lose == 0
        assert far.query(COUNT).rows == [(number + 1,)]


def test_a_read_whose_answer_was_lost_is_read_again(far: virke.Database, proxy: Proxy) -> None:
    reads: list[Callable[[], object]] = [
        lambda: far.query(COUNT).rows,
        lambda: [*far.query_rows(COUNT)],
        far.status,
        far.schema,
        far.settings,
    ]
    for read in reads:
        far.query("SELECT 1")
        proxy.to_lose = 1
        assert read()
        assert proxy.to_lose == 0


def test_a_change_without_a_key_is_not_repeated(far: virke.Database, proxy: Proxy) -> None:
    """It may have been done: here it was."""
    far.query("SELECT 1")
    proxy.to_lose = 1
    with pytest.raises(virke.OutcomeUnknown, match="may have been done"):
        far.change_settings({"history_days": 3})
    assert far.settings().history_days == 3


def test_a_transaction_is_over_when_an_answer_is_lost(far: virke.Database, proxy: Proxy) -> None:
    """And nothing of it is in history."""
    tx = far.transaction()
    tx.query("SELECT 1")
    proxy.to_lose = 1
    with pytest.raises(virke.Unavailable, match="nothing of it is in history"):
        tx.execute("INSERT INTO item (price) VALUES (1)")
    assert (tx.is_over, far.query(COUNT).rows) == (True, [(0,)])


def test_whether_a_commit_was_heard_only_the_data_says(far: virke.Database, proxy: Proxy) -> None:
    tx = far.transaction()
    tx.execute("INSERT INTO item (price) VALUES (1)")
    proxy.to_lose = 1
    with pytest.raises(virke.OutcomeUnknown):
        tx.commit()
    assert (tx.is_over, far.query(COUNT).rows) == (True, [(1,)])


def test_a_transaction_that_is_interrupted_is_over(remote: virke.Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    tx = remote.transaction()
    tx.execute("INSERT INTO item (price) VALUES (1)")
    threading.Timer(0.3, tx.interrupt).start()
    with pytest.raises(virke.TimedOut, match="interrupted"):
        tx.query(endless)
    assert tx.is_over
    tx.rollback()
    assert remote.query(COUNT).rows == [(0,)]
    assert remote.execute("INSERT INTO item (price) VALUES (1)") == 1, "the gate is free"


def test_a_node_that_was_restarted_has_no_transaction_and_all_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "vk_not-a-token-of-this-store"
    with node("local:.virke", tmp_path) as first:
        way = Proxy(first.address[1])
        db = virke.connect("app", f"http://{HOST}:{way.port}", create=True, token=token)
        db.execute(TABLE)
        tx = db.transaction(immediate=True)
        tx.execute("INSERT INTO item (price) VALUES (1)")
        assert first.stop() == 0
    try:
        with node("local:.virke", tmp_path) as second:
            way.target = second.address[1]
            way.hang_up()
            with pytest.raises((virke.Conflict, virke.Unavailable), match="nothing of it is in history"):
                tx.execute("INSERT INTO item (price) VALUES (2)")
            assert (tx.is_over, db.query(COUNT).rows) == (True, [(0,)])
            tx = db.transaction()
            tx.query(COUNT)
            stream = db.run_transaction(lambda one: one.execute("INSERT INTO item (price) VALUES (3)"))
            assert (stream, db.query(COUNT).rows) == (1, [(1,)])
            tx.rollback()
        with pytest.raises(virke.Unavailable) as raised:
            db.query(COUNT)
        with pytest.raises((virke.OutcomeUnknown, virke.Unavailable)):
            db.execute("INSERT INTO item (price) VALUES (4)")
        assert token not in str(raised.value) + repr(db) + caplog.text
    finally:
        db.close()
        way.close()
