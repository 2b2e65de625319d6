"""B13 on a real server, behind a proxy that takes one PUT of the root a second, as R2 and Google Cloud Storage do."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.promises.ledger import NAME
from tests.promises.places import fresh
from tests.servers.proxy import Answer, Fault, Request, proxy
from tests.servers.s3 import S3Server
from virke.core.pins import root_key
from virke.opening import connect

TOO_MANY = b"<?xml version='1.0'?><Error><Code>TooManyRequests</Code><Message>Reduce your rate.</Message></Error>"
THREADS, ROWS = 8, 6


class OneASecond:
    """Refuses a PUT of a root that comes less than a second after the last one that was let through."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_s = float("-inf")
        self.through = self.refused = 0

    def __call__(self, request: Request) -> Fault | None:
        if request.method != "PUT" or f"/{root_key(NAME)}" not in request.path:
            return None
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._last_s < 1.0:
                self.refused += 1
                return Answer(429, TOO_MANY)
            self._last_s = now_s
            self.through += 1
            return None


@pytest.mark.slow
def test_what_waits_shares_a_commit_a_second_and_hardly_any_is_refused(moto: S3Server, client: Path) -> None:
    """Every row is there once; a database that exists is opened without a PUT."""
    with proxy(moto.endpoint) as way:
        way.fault = pace = OneASecond()
        url = S3Server("proxy", way.endpoint).url(fresh())
        with connect(NAME, url, create=True, background=False) as database:
            database.execute("CREATE TABLE t (a)")
            before = pace.through + pace.refused
            connect(NAME, url, create=True, background=False).close()
            assert pace.through + pace.refused == before

            def insert(worker: int) -> None:
                for number in range(ROWS):
                    database.execute("INSERT INTO t VALUES (?)", (worker * 100 + number,))

            threads = [threading.Thread(target=insert, args=(worker,)) for worker in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert database.query("SELECT count(*), count(DISTINCT a) FROM t").rows == [(THREADS * ROWS,) * 2]
            assert pace.through <= 2 + 2 * ROWS
            assert pace.refused <= 3
