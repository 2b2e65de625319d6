"""One client on several nodes of one store: no read goes back, whichever of them answers (P5)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import virke
from tests.client.conftest import TABLE
from tests.servers import s3
from tests.servers.node import node
from tests.servers.running import HOST
from tests.servers.tcp_proxy import Proxy


class Balanced:
    """A URL behind which is now one node, now the other."""

    def __init__(self, proxy: Proxy, ports: list[int]) -> None:
        self._proxy, self._ports = proxy, ports
        self.url = f"http://{HOST}:{proxy.port}"

    def move(self) -> None:
        """From now on the next node answers."""
        self._ports.append(self._ports.pop(0))
        self._proxy.target = self._ports[0]
        self._proxy.hang_up()


@pytest.fixture
def balanced(moto: s3.S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Balanced]:
    """Two nodes on one bucket, where a node does not see what another one wrote for a while."""
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VIRKE_CACHE", "off")
    url = moto.url(uuid.uuid4().hex)
    with ExitStack() as running:
        ports = [running.enter_context(node(url, tmp_path)).address[1] for _ in range(2)]
        proxy = Proxy(ports[0])
        running.callback(proxy.close)
        yield Balanced(proxy, ports)


def test_reads_see_what_was_written_and_read_before_on_any_node(balanced: Balanced) -> None:
    with virke.connect("app", balanced.url, create=True) as db:
        db.change_settings({"max_staleness_ms": 60_000})
        db.execute(TABLE)
        balanced.move()
        assert db.query("SELECT count(*) FROM item").rows == [(0,)]
        for number in range(1, 4):
            db.execute("INSERT INTO item (price) VALUES (1)")
            balanced.move()
            assert db.query("SELECT count(*) FROM item").rows == [(number,)]
            assert [*db.query_rows("SELECT count(*) FROM item")] == [(number,)]
            with db.transaction() as tx:
                assert tx.query("SELECT count(*) FROM item").rows == [(number,)]
        with db.transaction() as tx:
            tx.execute("INSERT INTO item (price) VALUES (1)")
        balanced.move()
        with db.transaction(read_only=True) as tx:
            assert tx.query("SELECT count(*) FROM item").rows == [(4,)]
        other = virke.connect("app", balanced.url)
        balanced.move()
        with other:
            seen = other.query("SELECT count(*) FROM item", bookmark=db.bookmark).rows
        assert seen == [(4,)]
