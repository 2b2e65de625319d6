"""Many writers on one store that is not at hand: each of them gets its turn."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, TABLE
from tests.promises.places import fresh
from tests.promises.processes import heard, start
from tests.servers.proxy import proxy
from tests.servers.s3 import S3Server
from virke.opening import connect

DELAY_S: Final = 0.025
"""What a round trip to object storage takes at best."""
ANSWERS: Final = 400


@pytest.fixture(params=[pytest.param("moto", marks=pytest.mark.prove), "seaweedfs"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """One whose refusals take as long as its swaps, and one that is slow to refuse."""
    running: S3Server = request.getfixturevalue(request.param)
    return running


@pytest.mark.slow
def test_a_writer_is_not_kept_from_writing_by_another(server: S3Server, client: Path) -> None:
    """Of two processes with four threads each, none is answered five times as often as the other."""
    with proxy(server.endpoint) as way:
        way.delay_s = DELAY_S
        url = S3Server("proxy", way.endpoint).url(fresh())
        with connect(NAME, url, create=True, background=False) as database:
            database.execute(TABLE)
        with heard([start("rows", url, name, 0, 4) for name in range(2)]) as workers:
            for worker in workers:  # a newcomer is let in; and what it needed to start is not counted below
                worker.wait_for(1)
            before = [len(worker.lines) for worker in workers]

            def answered() -> list[int]:
                return [len(worker.lines) - first for worker, first in zip(workers, before, strict=True)]

            workers[0].wait_until(lambda _: max(answered()) >= ANSWERS)
            assert min(answered()) * 5 >= max(answered())
