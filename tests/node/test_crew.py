"""Who does what among workers, and what becomes of a request that is sent on when the other worker misbehaves."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from virke.api.hrana.operations import Cursor, Pipeline
from virke.api.hrana.requests import Batch
from virke.api.operations import (
    CreateDatabase,
    DeleteDatabase,
    Export,
    Flush,
    GetHealth,
    GetSchema,
    GetStatus,
    ListDatabases,
    Operation,
    Run,
)
from virke.errors import OutcomeUnknown, Unavailable, UsageError, VirkeError
from virke.node.leaving import ClientGone
from virke.node.workers.crew import Crew, Elsewhere, worker_of
from virke.node.workers.forwarding import Forwarding
from virke.node.workers.merging import merged_metrics
from virke.node.workers.supervising import Berth

CREW = Crew(0, 2)
MINE, OTHERS = (next(f"d{n}" for n in range(99) if CREW.owner_of(f"d{n}") == owner) for owner in (0, 1))
READ = Run(OTHERS, (("SELECT 1", ()),))


def test_databases_are_spread_over_all_workers() -> None:
    found = Counter(Crew(0, 4).owner_of(f"app-{number}") for number in range(400))
    assert sorted(found) == [0, 1, 2, 3]
    assert min(found.values()) > 50


def test_a_key_of_the_register_belongs_to_who_owns_its_database() -> None:
    assert CREW.owns_key(f"root/{MINE}/main")
    assert not CREW.owns_key(f"root/{OTHERS}/main")
    assert not CREW.owns_key("virke/tokens")


@pytest.mark.parametrize(
    ("operation", "is_elsewhere"),
    [
        (READ, False),
        (Run(OTHERS, (("SELECT 1", ()),), is_batch=True), True),
        (Run(OTHERS, (("SELECT 1", ()),), key="k"), True),
        (Run(MINE, (("SELECT 1", ()),), key="k"), False),
        (GetSchema(OTHERS, None), False),
        (Export(OTHERS, "sql", None), False),
        (GetStatus(OTHERS), True),
        (GetStatus(MINE), False),
        (Flush(OTHERS), True),
        (CreateDatabase(OTHERS, False, None), True),
        (DeleteDatabase(OTHERS), True),
        (ListDatabases(), False),
        (GetHealth(), False),
        (Pipeline(OTHERS, "1.a.b", ()), True),
        (Pipeline(OTHERS, "0.a.b", ()), False),
        (Pipeline(OTHERS, "7.a.b", ()), False),
        (Pipeline(OTHERS, None, ()), False),
        (Cursor(MINE, "1.a.b", Batch(())), True),
    ],
    ids=str,
)
def test_what_another_worker_has_to_do_is_known_by_the_operation(operation: Operation, is_elsewhere: bool) -> None:
    if is_elsewhere:
        with pytest.raises(Elsewhere) as caught:
            CREW.check_here(operation)
        assert caught.value.worker == 1
    else:
        CREW.check_here(operation)
    Crew().check_here(operation)


def test_where_commits_of_others_are_not_seen_at_once_reads_are_elsewhere_too() -> None:
    crew = Crew(0, 2, reads_here=False)
    for operation in (READ, GetSchema(OTHERS, None)):
        with pytest.raises(Elsewhere):
            crew.check_here(operation)


@pytest.mark.parametrize(("baton", "worker"), [("0.a.b", 0), ("12.a.b", 12), ("", None), ("1", None), ("-1.a", None)])
def test_a_baton_names_its_worker(baton: str, worker: int | None) -> None:
    assert worker_of(baton) == worker


def test_a_berth_is_said_and_understood() -> None:
    berth = Berth(Crew(1, 3, Path("/tmp/a:b")), 4, 5, 6)
    assert Berth.of(str(berth)) == berth
    for wrong in ("", "1/2", "a/b:1:2:3:/x", "1:2:3:4:/x"):
        with pytest.raises(UsageError):
            Berth.of(wrong)


# Sent on

SCOPE: dict[str, Any] = {"method": "POST", "path": "/db/x/query", "query_string": b"a=b", "headers": [(b"host", b"h")]}
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nvirke-bookmark: m\r\ndate: today\r\n\r\nhi"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="w") as name:
        yield Path(name)


class Client:
    """Who waits for the answer."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


@asynccontextmanager
async def listening(answer: Answer, path: Path) -> AsyncIterator[None]:
    """Another worker's socket; its connections are closed, and their closing is awaited, before the loop ends."""
    writers: list[asyncio.StreamWriter] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await answer(reader, writer)

    server = await asyncio.start_unix_server(served, path)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def relayed(folder: Path, answer: Answer | None, times: int = 1, **scope: Any) -> list[Any]:
    """What the client gets for each of `times` requests, or the error instead."""

    async def run() -> list[Any]:
        forwarding, found = Forwarding(Crew(0, 2, folder)), list[Any]()
        async with listening(answer, forwarding.crew.socket_of(1)) if answer else nullcontext():
            for _ in range(times):
                client = Client()
                try:
                    await forwarding.relay(1, {**SCOPE, **scope}, b"body", receive=client.receive, send=client.send)
                    found.append(client.sent)
                except VirkeError as error:
                    found.append(error)
            forwarding.close()
        return found

    return asyncio.run(asyncio.wait_for(run(), 30))


def test_a_request_is_sent_on_as_it_came_and_its_connection_kept(folder: Path) -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            heard.append(data)
            writer.write(OK)
        writer.close()

    found = relayed(folder, answer, times=2)
    whole = b"POST /db/x/query?a=b HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody"
    assert b"".join(heard) == whole * 2
    for start, part, end in found:
        assert (start["status"], dict(start["headers"])) == (200, {b"virke-bookmark": b"m", b"content-length": b"2"})
        assert (part["body"], end["body"], end["more_body"]) == (b"hi", b"", False)


def test_an_answer_in_parts_is_sent_on_in_parts(folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        writer.close()

    [[start, *parts]] = relayed(folder, answer)
    assert start["headers"] == []
    assert [part["body"] for part in parts] == [b"abc", b"de", b""]


@pytest.mark.parametrize(("method", "error"), [("POST", OutcomeUnknown), ("GET", Unavailable)])
@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\ncontent", b"nonsense\r\n\r\n"], ids=["none", "half", "none such"]
)
def test_an_answer_that_does_not_come_leaves_a_write_unknown(
    folder: Path, method: str, error: type[VirkeError], said: bytes
) -> None:
    """It is not sent again."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(said)
        writer.close()

    [found] = relayed(folder, answer, method=method)
    assert isinstance(found, error)
    assert len(heard) == 1


def test_an_answer_that_ends_early_is_not_ended_for_the_client(folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(OK[:-1])
        writer.close()

    [sent] = relayed(folder, answer)
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_a_worker_that_is_not_there_got_nothing(folder: Path) -> None:
    [found] = relayed(folder, None)
    assert isinstance(found, Unavailable)
    assert "nothing was changed" in found.message


def test_a_client_that_goes_away_ends_what_is_done_for_it(folder: Path) -> None:
    async def run() -> None:
        ended, client = asyncio.Event(), Client()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"body")
            client.gone.set()
            assert await reader.read() == b""
            writer.close()
            ended.set()

        forwarding = Forwarding(Crew(0, 2, folder))
        async with listening(answer, forwarding.crew.socket_of(1)):
            with pytest.raises(ClientGone):
                await forwarding.relay(1, SCOPE, b"body", receive=client.receive, send=client.send)
            await ended.wait()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_metrics_of_several_workers_are_one_text_that_says_whose_each_is() -> None:
    one = b'# HELP a_total What it is.\n# TYPE a_total counter\na_total{kind="x"} 1.0\n# HELP b Other.\n# TYPE b gauge\nb 2.0\n'
    two = b'# HELP a_total What it is.\n# TYPE a_total counter\na_total{kind="x"} 3.0\n# HELP c New.\n# TYPE c gauge\nc 4.0\n'
    assert merged_metrics({0: one, 1: two}).decode().splitlines() == [
        "# HELP a_total What it is.",
        "# TYPE a_total counter",
        'a_total{worker="0",kind="x"} 1.0',
        'a_total{worker="1",kind="x"} 3.0',
        "# HELP b Other.",
        "# TYPE b gauge",
        'b{worker="0"} 2.0',
        "# HELP c New.",
        "# TYPE c gauge",
        'c{worker="1"} 4.0',
    ]
