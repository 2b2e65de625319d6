"""Reads that a node answers where it read them: without a task, in order, and with nothing less asked of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conftest import CODEC
from tests.node.test_http import CLOSING, POST, statuses
from tests.servers.http_client import Server, each_loop, run
from virke import tokens
from virke.engine.database import Database
from virke.errors import Invalid, SqlError
from virke.node.app import App
from virke.node.cors import Cors
from virke.node.databases import Databases
from virke.node.http.exchange import Answer, Application, Later, Message, Reply
from virke.node.workers.crew import Crew
from virke.opening import connect, create
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

__all__ = ["each_loop"]
READ = {"type": "execute", "stmt": {"sql": "SELECT v FROM t WHERE v >= ?", "args": [{"type": "integer", "value": "1"}]}}
CLOSE = {"type": "close"}
PATIENT = {"max_staleness_ms": 600_000}
"""What is known stays new enough on a machine that is busy with something else."""
STALE = PATIENT | {"read_consistency": "bounded"}


@pytest.fixture
def store() -> Store:
    found = memory_store()
    with create("d", found) as database:
        database.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1), (2)")
        database.change_settings(PATIENT)
    return found


At = Callable[..., Answer | Application | Later]


def posted(path: str, headers: dict[str, str], kept: dict[str, Any]) -> Message:
    """The scope of a request of this machine; `kept` is what the node keeps of its head."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "extensions": {"virke.kept": kept},
    }


@pytest.fixture
def at_once(store: Store) -> Iterator[At]:
    """`at_once(path, body, headers, kept=…)`: what a node says to a request that is there whole."""
    app = App(Databases(store), CODEC, default="d", cors=Cors(["https://app.example.com"]))
    app._access._table.refresh()
    app.databases.database("d").query("SELECT v FROM t WHERE v >= ?", (1,))
    kept_always: dict[str, dict[str, Any]] = {}

    def ask(
        path: str, body: object, kept: dict[str, Any] | None = None, **headers: str
    ) -> Answer | Application | Later:
        named = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        known = kept
        if known is None:
            known = {} if headers else kept_always.setdefault(path, {})
        scope = posted(path, named, known)
        return app.at_once(scope, json.dumps(body).encode(), lambda found: ask.replies(found))  # type: ignore[attr-defined]

    ask.app = app  # type: ignore[attr-defined]
    yield ask
    app.close()


def pipeline(*requests: object) -> dict[str, object]:
    return {"requests": list(requests)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/pipeline", pipeline(READ)),
        ("/v3/pipeline", pipeline(READ, CLOSE)),
        ("/db/d/v2/pipeline", pipeline(READ, CLOSE)),
        ("/db/d/query", {"sql": "SELECT v FROM t WHERE v >= ?", "params": [1]}),
        ("/db/d/execute", {"sql": "SELECT v FROM t WHERE v >= ?", "params": [1]}),
    ],
)
def test_a_warm_read_needs_no_task(at_once: At, path: str, body: object) -> None:
    for _ in range(2):  # the second time its head is known
        found = at_once(path, body)
        assert isinstance(found, Answer)
        assert found.status == 200
        assert found.body.count(b'"1"') or found.body.count(b"[1]")
        assert [name for name, _ in found.headers].count(b"server-timing") == 1


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v2/pipeline", pipeline({"type": "execute", "stmt": {"sql": "BEGIN"}}), {}),
        ("/v2/pipeline", pipeline(READ, READ), {}),
        ("/v2/pipeline", pipeline({"type": "execute", "stmt": {"sql": "SELEC"}}), {}),
        ("/v2/pipeline", {"baton": "0.a.b", **pipeline(READ)}, {}),
        ("/v2/pipeline", {"requests": 1}, {}),
        ("/db/none/v2/pipeline", pipeline(READ), {}),
        ("/v2/pipeline", pipeline(READ), {"x_forwarded_for": "10.0.0.1"}),
        ("/v2/pipeline", pipeline(READ), {"host": "evil.example.com"}),
        ("/v2/pipeline", pipeline(READ), {"origin": "https://evil.example.com"}),
        ("/v2/pipeline", pipeline(READ), {"origin": "https://app.example.com"}),
        ("/db/d/query", {"sql": "SELECT 1", "meta": True}, {}),
        ("/db/d/query", {"sql": "SELECT 1"}, {"virke_consistency": "strong"}),
        ("/db/d/batch", {"statements": [{"sql": "SELECT 1"}]}, {}),
        ("/db/d/import", {}, {}),
        ("/db/d/status", {}, {}),
    ],
)
def test_all_else_is_for_the_longer_way(at_once: At, path: str, body: object, headers: dict[str, str]) -> None:
    assert not isinstance(at_once(path, body, **headers), Answer | Later)


def test_what_a_connection_was_granted_ends_with_the_first_token(at_once: At, store: Store) -> None:
    kept: dict[str, Any] = {}
    assert isinstance(at_once("/v2/pipeline", pipeline(READ), kept), Answer)
    text, _ = tokens.create(store, ("d",), Scope.READ)
    at_once.app._access._table.renew()  # type: ignore[attr-defined]
    assert not isinstance(at_once("/v2/pipeline", pipeline(READ), kept), Answer)
    assert isinstance(at_once("/v2/pipeline", pipeline(READ), authorization=f"Bearer {text}"), Answer)
    assert not isinstance(at_once("/v2/pipeline", pipeline(READ), authorization=f"Bearer {text[:-1]}x"), Answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/db/d/v2/pipeline", pipeline(READ, CLOSE)),
        ("/v2/pipeline", pipeline(READ)),
        ("/db/d/query", {"sql": "SELECT v FROM t"}),
    ],
)
def test_a_token_of_another_database_is_not_answered(at_once: At, store: Store, path: str, body: object) -> None:
    own, other = (tokens.create(store, (name,), Scope.READ)[0] for name in ("d", "other"))
    at_once.app._access._table.renew()  # type: ignore[attr-defined]
    assert isinstance(at_once(path, body, authorization=f"Bearer {own}"), Answer)
    assert not isinstance(at_once(path, body, authorization=f"Bearer {other}"), Answer)


@pytest.mark.parametrize("path", ["/db/d/query", "/db/d/v2/pipeline"])
def test_while_the_tokens_are_not_known_as_new_nothing_is_answered(at_once: At, path: str) -> None:
    """A token that was revoked on another node must be found out: that asks the store, so it is not done here."""
    table = at_once.app._access._table  # type: ignore[attr-defined]
    body = {"sql": "SELECT v FROM t"} if path.endswith("query") else pipeline(READ)
    assert isinstance(at_once(path, body), Answer)
    table._asked_s = None
    assert not isinstance(at_once(path, body), Answer)


def test_a_bookmark_that_is_not_shown_is_for_the_longer_way(at_once: At, store: Store) -> None:
    body = {"sql": "SELECT v FROM t"}
    shown = at_once.app.databases.database("d").bookmark  # type: ignore[attr-defined]
    at_once.app.databases.database("d").change_settings(STALE)  # type: ignore[attr-defined]
    with connect("d", store) as elsewhere:
        newer = elsewhere.run("INSERT INTO t VALUES (3)").bookmark
    at_once.app.databases.database("d").query("SELECT 1")  # type: ignore[attr-defined]
    assert isinstance(at_once("/db/d/query", body, virke_bookmark=shown), Answer)
    assert not isinstance(at_once("/db/d/query", body, virke_bookmark=newer), Answer)


def test_a_page_of_another_site_that_may_ask_is_answered_with_its_headers(at_once: At, store: Store) -> None:
    """They are added on the longer way; without them the browser would keep the answer from the page."""
    text, _ = tokens.create(store, ("d",), Scope.READ)
    at_once.app._access._table.renew()  # type: ignore[attr-defined]
    token = f"Bearer {text}"
    assert isinstance(at_once("/v2/pipeline", pipeline(READ), authorization=token), Answer)
    origin = "https://app.example.com"
    assert not isinstance(at_once("/v2/pipeline", pipeline(READ), authorization=token, origin=origin), Answer)


def test_a_read_that_takes_long_is_not_begun_twice(at_once: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop gave up, the thread does; the loop does not try it again."""
    long = "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 100000) SELECT count(*) FROM n"
    tried, query_here = list[str](), Database.query_here

    def noted(self: Database, sql: str, *args: Any, **terms: Any) -> Any:
        tried.append(sql)
        return query_here(self, sql, *args, **terms)

    monkeypatch.setattr(Database, "query_here", noted)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    for path, body in (
        ("/v2/pipeline", pipeline({"type": "execute", "stmt": {"sql": long}})),
        ("/db/d/query", {"sql": long}),
    ):
        going_on = at_once(path, body)
        assert not isinstance(going_on, Answer | Later)
        with asyncio.Runner() as runner:
            runner.run(_run(going_on, receive, send))
        assert b"100000" in sent[-1]["body"]
    assert tried == [long, long]


async def _run(application: Application, receive: Any, send: Any) -> None:
    await application({"type": "http", "extensions": {}}, receive, send)


def test_a_parameter_that_does_not_fit_is_named(at_once: At) -> None:
    database = at_once.app.databases.database("d")  # type: ignore[attr-defined]
    with pytest.raises(SqlError, match="no such table"):
        database.query_here("SELECT * FROM missing")
    for wrong in ((), (1, 2), {"a": 1}, (1 << 63,)):
        with pytest.raises(Invalid, match=r"parameter|64 bits"):
            database.query_here("SELECT v FROM t WHERE v >= ?", wrong)


WRITE = {"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (3) RETURNING v"}}
BROKEN = {"type": "execute", "stmt": {"sql": "INSERT INTO missing VALUES (3)"}}
BIG = {"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (hex(zeroblob(100000))) RETURNING v"}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v2/pipeline", pipeline(WRITE, CLOSE), b'"rows":[[{"type":"integer","value":"3"}]]'),
        ("/v2/pipeline", pipeline(BROKEN), b"no such table: missing"),
        ("/v2/pipeline", pipeline(BIG), b"00000000"),
        ("/db/d/execute", {"sql": "INSERT INTO t VALUES (3) RETURNING v"}, b'"rows":[[3]]'),
        ("/db/d/query", {"sql": "INSERT INTO missing VALUES (3)"}, b"no such table: missing"),
    ],
)
def test_a_write_is_answered_when_it_is_done(at_once: At, path: str, body: object, words: bytes) -> None:
    """It needs no task, and holds nothing when it is answered; a long answer goes the longer way, and is not run again."""
    app = at_once.app  # type: ignore[attr-defined]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def play() -> bytes:
        app._writing = None
        told: asyncio.Future[Answer | Application] = asyncio.get_running_loop().create_future()
        at_once.replies = told.set_result  # type: ignore[attr-defined]
        assert isinstance(at_once(path, body), Later)
        found = await told
        app._writing.close()
        if isinstance(found, Answer):
            return found.body
        await found({"type": "http", "extensions": {}}, asyncio.Event().wait, send)  # type: ignore[arg-type]
        return b"".join(message.get("body", b"") for message in sent)

    before = app.databases.database("d").query("SELECT count(*) FROM t").rows[0][0]
    with asyncio.Runner() as runner:
        assert words in runner.run(play())
    after = app.databases.database("d").query("SELECT count(*) FROM t").rows[0][0]
    assert after - before == (0 if b"missing" in words else 1)
    assert not app.databases._in_use
    assert app._rooms.bodies.used == app._rooms.answers.used == 0


def test_a_write_whose_client_goes_is_not_begun(at_once: At) -> None:
    app = at_once.app  # type: ignore[attr-defined]
    database = app.databases.database("d")

    async def play() -> None:
        app._writing = None
        writing = app._writer()
        writing._leaders.submit = lambda lead: leads.append(lead)
        told = list[object]()
        at_once.replies = told.append  # type: ignore[attr-defined]
        found = at_once("/v2/pipeline", pipeline(WRITE))
        assert isinstance(found, Later)
        found.gone()
        [lead] = leads
        lead()
        await asyncio.sleep(0)
        assert told == []
        assert not writing.in_line
        assert not app.databases._in_use

    leads: list[Callable[[], None]] = []
    with asyncio.Runner() as runner:
        runner.run(play())
    assert database.query("SELECT count(*) FROM t").rows == [(2,)]


class Echo:
    """`echo`, which answers some paths at once."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        await self._send(self._words(scope, body), send)

    def at_once(self, scope: Message, body: bytes, reply: Reply) -> Answer | Application | Later:
        """`/at-once` is answered so; anything else a moment later."""
        kept = scope["extensions"]["virke.kept"]
        kept["seen"] = kept.get("seen", 0) + 1
        self.kept.append(kept["seen"])
        if scope["path"] == "/at-once":
            return Answer(200, [], self._words(scope, body))

        async def later(scope: Message, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)
            await self._send(self._words(scope, body), send)

        return later

    def _words(self, scope: Message, body: bytes) -> bytes:
        path: str = scope["path"]
        return b"<" + path[1:].encode() + b" " + body + b">"

    async def _send(self, words: bytes, send: Any) -> None:
        length = b"%d" % len(words)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": words})


def asked(data: bytes, piece: int = 1 << 20) -> tuple[bytes, Echo]:
    found, application = b"", Echo()

    async def scenario(server: Server) -> None:
        nonlocal found
        found = await server.ask(data, piece=piece)

    run(application, scenario, linger_s=0.1)
    return found, application


AT_ONCE = b"POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
LATER = b"POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("piece", [1 << 20, 20, 1])
def test_answers_come_in_order_whichever_way_they_take(piece: int) -> None:
    data = LATER + AT_ONCE % (1, b"1") + AT_ONCE % (2, b"22") + LATER + AT_ONCE % (3, b"333")
    found, _ = asked(data + CLOSING, piece)
    assert re.findall(rb"<(.*?)>", found) == [
        b"later a",
        b"at-once 1",
        b"at-once 22",
        b"later a",
        b"at-once 333",
        b"last ",
    ]
    assert statuses(found) == [200] * 6


@pytest.mark.usefixtures("each_loop")
def test_an_answer_at_once_goes_out_before_the_refusal_of_what_is_behind_it() -> None:
    found, _ = asked(AT_ONCE % (1, b"1") + b"garbage\r\n\r\n")
    assert statuses(found) == [200, 400]
    assert found.index(b"<at-once 1>") < found.index(b" 400 ")


@pytest.mark.usefixtures("each_loop")
def test_an_answer_at_once_goes_out_before_the_connection_closes() -> None:
    found, _ = asked((AT_ONCE % (1, b"1")).replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert found.endswith(b"<at-once 1>")
    assert b"connection: close" in found


@pytest.mark.usefixtures("each_loop")
def test_a_head_is_known_again_only_if_it_is_the_same_but_for_the_length() -> None:
    other = (AT_ONCE % (1, b"1")).replace(b"Host: x", b"Host: x\r\nX-Other: y")

    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        for data in (AT_ONCE % (1, b"1"), AT_ONCE % (2, b"22"), other, AT_ONCE % (1, b"1")):
            writer.write(data)
            await reader.readuntil(b">")
        writer.write(AT_ONCE.replace(b"Host: x", b"Host: x/y") % (1, b"1"))
        assert statuses(await reader.read()) == [400]
        writer.close()

    application = Echo()
    run(application, scenario, linger_s=0.1)
    assert application.kept == [1, 2, 1, 1]


@pytest.mark.usefixtures("each_loop")
def test_a_body_that_is_not_there_whole_is_received(each_loop: None) -> None:
    head, _, body = (POST + b"Content-Length: 4\r\n\r\nabcd").partition(b"\r\n\r\n")
    found = b""

    async def scenario(server: Server) -> None:
        nonlocal found
        reader, writer = await server.connect()
        writer.write(head + b"\r\n\r\nab")
        await asyncio.sleep(0.05)
        writer.write(body[2:])
        found = await reader.readuntil(b"<a abcd>")
        writer.close()

    application = Echo()
    run(application, scenario)
    assert application.kept == []


WRITES = [
    ("/db/d/execute", {"sql": "INSERT INTO t VALUES (9)"}),
    ("/db/d/v2/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (9)"}}]}),
]
READS = [("/db/d/query", {"sql": "SELECT v FROM t"}), ("/db/d/v2/pipeline", {"requests": [READ]})]


def asked_of(app: App, path: str, body: object) -> Answer | Application | Later:
    """What a node says at once to a request of this machine, once its statements and tokens are known."""
    app._access._table.refresh()
    app.databases.database("d").query("SELECT v FROM t")
    app.databases.database("d").query("SELECT v FROM t WHERE v >= ?", (1,))
    scope = posted(path, {"host": "localhost"}, {})
    return app.at_once(scope, json.dumps(body).encode(), lambda found: None)


def of_another(*, reads_here: bool) -> Crew:
    """The worker of two that does not write `d`."""
    return Crew(index=1 - Crew(count=2).owner_of("d"), count=2, reads_here=reads_here)


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_a_worker_puts_no_write_of_another_s_database_in_line(store: Store, path: str, body: object) -> None:
    """Two that write one database race each other: it is sent on."""
    app = App(Databases(store, crew=of_another(reads_here=True)), CODEC, default="d")
    assert not isinstance(asked_of(app, path, body), Answer | Later)
    assert app.databases.database("d").query("SELECT count(*) FROM t").rows == [(2,)]
    app.close()


@pytest.mark.parametrize("reads_here", [True, False])
@pytest.mark.parametrize(("path", "body"), READS)
def test_a_worker_reads_another_s_database_where_it_sees_what_was_committed(
    store: Store, path: str, body: object, reads_here: bool
) -> None:
    app = App(Databases(store, crew=of_another(reads_here=reads_here)), CODEC, default="d")
    assert isinstance(asked_of(app, path, body), Answer) == reads_here
    app.close()


@pytest.mark.parametrize("slow_ms", [None, 0])
def test_where_every_statement_is_logged_a_read_goes_where_that_is_done(store: Store, slow_ms: int | None) -> None:
    app = App(Databases(store), CODEC, default="d", slow_ms=slow_ms)
    assert isinstance(asked_of(app, *READS[0]), Answer) == (slow_ms is None)
    app.close()


@pytest.mark.usefixtures("each_loop")
def test_a_head_with_a_body_in_chunks_is_judged_each_time() -> None:
    """With a length beside it, it is refused: two servers would see different requests in the same bytes."""
    chunked = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n1\r\na\r\n0\r\n\r\n"

    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(chunked % b"")
            await reader.readuntil(b">")
        writer.write(chunked % b"Content-Length: 1\r\n")
        assert statuses(await reader.read()) == [400]
        writer.close()

    run(Echo(), scenario, linger_s=0.1)
