"""The middleware in one process, without a server: what it lets through, when it answers, and where a request ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

import virke
from tests.runtime.asgi_client import Heard, asked, nothing, run, scope_of
from virke.errors import Conflict, UsageError
from virke.runtime import Runtime
from virke.runtime import place as places
from virke.runtime import virke as runtime
from virke.runtime.place import Place, Source
from virke.stores.base import Store
from virke.stores.memory import memory_store

WSGI_HEADERS: list[tuple[str, str]] = [("Content-Type", "text/plain")]


@pytest.fixture
def store() -> Store:
    """A store with the program's database."""
    found = memory_store()
    with virke.connect("app", found, create=True) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    return found


@pytest.fixture
def program(store: Store) -> Runtime:
    """A program on that database."""
    return runtime("app", store=store)


# WSGI


class _Started:
    """What a server heard of the head of an answer."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], None]:
        self.status, self.headers = status, headers
        return self.written.append


def _environ(**more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "", **more}


def _is_over(program: Runtime) -> bool:
    try:
        return program.Bindings.db is None
    except UsageError:
        return True


def test_a_wsgi_request_is_the_current_one_until_its_body_has_been_made(program: Runtime) -> None:
    """Not between its parts: a server's thread may do anything else meanwhile."""
    closed: list[int] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", WSGI_HEADERS)
        try:
            for number in range(3):
                yield str(program.Bindings.db.query("SELECT ?", [number]).rows[0][0]).encode()
        finally:
            closed.append(program.Bindings.db.query("SELECT 7").rows[0][0])  # type: ignore[arg-type]

    body: Any = program.middleware(app)(_environ(), _Started())
    for number in range(2):
        assert next(body) == str(number).encode()
        assert _is_over(program)
    body.close()
    assert (closed, _is_over(program)) == ([7], True)


def test_an_error_before_a_generators_first_part_is_answered(program: Runtime) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        program.Bindings.db.execute("INSERT INTO item (name) VALUES (NULL)")
        start_response("200 OK", WSGI_HEADERS)
        yield b"never"

    started = _Started()
    body = b"".join(program.middleware(app)(_environ(), started))
    assert (started.status, b"NOT NULL constraint failed" in body) == ("400 Bad Request", True)


def test_an_error_after_the_head_is_the_servers_to_see(program: Runtime) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", WSGI_HEADERS)
        yield b"begun"
        raise Conflict("too late")

    body = iter(program.middleware(app)(_environ(), _Started()))
    assert next(body) == b"begun"
    with pytest.raises(Conflict, match="too late"):
        next(body)
    assert _is_over(program)


def test_a_wsgi_app_may_write_and_may_hand_a_file_to_its_server(program: Runtime) -> None:
    class Wrapper:
        def __init__(self, name: str) -> None:
            self.name = name

        def __iter__(self) -> Iterator[bytes]:
            return iter(())

    def writes(environ: Any, start_response: Any) -> Any:
        program.Bindings.db.execute("INSERT INTO item (name) VALUES ('a')")
        start_response("200 OK", WSGI_HEADERS)(b"written")
        return environ["wsgi.file_wrapper"]("a file")

    started = _Started()
    body: Any = program.middleware(writes)(_environ(**{"wsgi.file_wrapper": Wrapper}), started)
    assert (type(body), started.written) == (Wrapper, [b"written"])
    assert [name for name, _ in started.headers] == ["Content-Type", "Set-Cookie"]


def test_a_bookmark_in_a_header_goes_both_ways(store: Store) -> None:
    program = runtime("app", store=store, bookmark="header")
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(program.Bindings.db.query("SELECT count(*) FROM item").rows[0][0])
        program.Bindings.db.execute("INSERT INTO item (name) VALUES ('a')")
        start_response("200 OK", WSGI_HEADERS)
        return []

    wrapped, started = program.middleware(app), _Started()
    wrapped(_environ(), started)
    (bookmark,) = [value for name, value in started.headers if name == "Virke-Bookmark"]
    wrapped(_environ(HTTP_VIRKE_BOOKMARK=bookmark), started)
    assert seen == [0, 1]


def test_without_bookmarks_no_header_is_added(store: Store) -> None:
    program = runtime("app", store=store, bookmark=False)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        program.Bindings.db.execute("INSERT INTO item (name) VALUES ('a')")
        start_response("200 OK", WSGI_HEADERS)
        return [b"x"]

    started = _Started()
    assert program.middleware(app)(_environ(HTTP_COOKIE="virke_bookmark=x"), started) == [b"x"]
    assert started.headers == WSGI_HEADERS


# ASGI


def _answers(program: Runtime, sql: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        result = await program.Bindings.db.query(sql)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(result.rows).encode()})

    return app


def test_an_answer_without_headers_gets_the_cookie_too(program: Runtime) -> None:
    heard = run(asked(program.middleware(_answers(program, "INSERT INTO item (name) VALUES ('a') RETURNING name"))))
    assert (heard.status, heard.body, [*heard.headers]) == (200, b"[('a',)]", ["set-cookie"])


def test_two_databases_of_one_program_have_requests_of_their_own(store: Store) -> None:
    virke.connect("other", store, create=True).close()
    one, other = runtime("app", store=store), runtime("other", store=store)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        names = [[entry.name for entry in await each.Bindings.db.schema()] for each in (one, other)]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(names).encode()})

    assert run(asked(one.middleware(other.middleware(app)))).body == b"[['item'], []]"


def test_an_asgi_request_ends_with_its_app(program: Runtime) -> None:
    async def both() -> tuple[int, bool]:
        heard = await asked(program.middleware(_answers(program, "SELECT 1")))
        return heard.status, _is_over(program)

    assert run(both()) == (200, True)


def test_requests_at_the_same_time_never_see_each_others_session(store: Store) -> None:
    """Each is held between its write and its answer until all have written."""
    program, visitors = runtime("app", store=store), 16
    made: dict[str, str] = {}

    async def visits() -> list[Heard]:
        all_wrote = asyncio.Barrier(visitors)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            name = scope["path"]
            if name.endswith("writes"):
                made[name] = (await program.Bindings.db.run("INSERT INTO item (name) VALUES (?)", [name])).bookmark
            else:
                await program.Bindings.db.query("SELECT count(*) FROM item")
            await all_wrote.wait()
            assert program.Bindings.db is scope["state"]["db"]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

        wrapped = program.middleware(app)
        paths = [f"/{number}/{'writes' if number % 2 else 'reads'}" for number in range(visitors)]
        return await asyncio.gather(*(asked(wrapped, path) for path in paths))

    for heard in run(visits()):
        name = heard.body.decode()
        given = heard.headers.get("set-cookie", "").partition(";")[0].partition("=")[2]
        assert (name, given) == (name, made.get(name, ""))
    assert len(made) == visitors // 2


def test_an_error_after_the_head_of_an_asgi_answer_is_the_servers_to_see(program: Runtime) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Conflict("too late")

    async def ask() -> list[str]:
        heard = Heard()
        with pytest.raises(Conflict, match="too late"):
            await program.middleware(app)(scope_of(), nothing, heard)
        return [message["type"] for message in heard.messages]

    assert run(ask()) == ["http.response.start"]


def test_what_is_not_http_passes_through(program: Runtime) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], "state" in scope, send))
        if scope["type"] == "websocket":
            raise Conflict("a socket has no status")

    async def three() -> None:
        heard, wrapped = Heard(), program.middleware(app)
        await wrapped(scope_of(kind="something new"), nothing, heard)
        with pytest.raises(Conflict):
            await wrapped(scope_of(kind="websocket"), nothing, heard)
        assert heard.messages == []

    run(three())
    assert [(kind, has_state) for kind, has_state, _ in seen] == [("something new", False), ("websocket", True)]


def test_databases_close_when_the_last_app_shuts_down_and_open_again(store: Store) -> None:
    program = runtime("app", store=store)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        else:
            await _answers(program, "SELECT 1")(scope, receive, send)

    wrapped = program.middleware(app)

    async def life(ends: asyncio.Event, heard: Heard) -> None:
        steps = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            if (step := next(steps)) == "lifespan.shutdown":
                await ends.wait()
            return {"type": step}

        await wrapped({"type": "lifespan"}, receive, heard)

    async def play() -> None:
        ends, heard = [asyncio.Event(), asyncio.Event()], [Heard(), Heard()]
        lives = [asyncio.ensure_future(life(*each)) for each in zip(ends, heard, strict=True)]
        await asked(wrapped)
        opened = program.middleware._visits.opened
        for number in range(2):
            assert opened.is_open("app")
            ends[number].set()
            await lives[number]
        assert not opened.is_open("app")
        assert [message["type"] for message in heard[1].messages] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        assert (await asked(wrapped)).status == 200
        opened.close()

    run(play())


def test_another_event_loop_than_asyncios_is_an_error_that_says_so(program: Runtime) -> None:
    """A coroutine that is driven by hand runs on none."""
    call = program.middleware(_answers(program, "SELECT 1"))(scope_of(), nothing, Heard())
    with pytest.raises(UsageError, match="runs on asyncio"):
        call.send(None)


# Places


def test_a_program_of_another_place_opens_nothing_by_itself(store: Store) -> None:
    """No module that opens stores or serves sockets is even loaded until the native place is needed."""
    text = """
    import sys
    from virke.runtime import virke
    fire, middleware, Bindings = virke("app")
    middleware.wsgi(lambda environ, start_response: [])
    print([name for name in ("virke.opening", "virke.client", "uvicorn", "a2wsgi", "django", "litestar") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_place_brings_its_own_way_to_open_and_to_serve_and_may_have_no_threads(store: Store) -> None:
    class Inline(Executor):
        """Does at once what is submitted, as a place without threads does."""

        def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result(fn(*arguments, **options))
            except Exception as error:
                future.set_exception(error)
            return future

    asked_for: list[tuple[str | None, Source]] = []
    served: list[tuple[object, str]] = []

    def opens(name: str | None, source: Source) -> virke.Database:
        asked_for.append((name, source))
        return virke.connect(name or "app", store)

    places.use_place(Place(opens, Inline, lambda app, module: served.append((app, module))))
    try:
        program = runtime(None, create=True)
        app = _answers(program, "INSERT INTO item (name) VALUES ('a') RETURNING name")
        program.fire(app)
        assert run(asked(program.middleware(app))).body == b"[('a',)]"
    finally:
        places.use_place(None)
    assert asked_for == [(None, Source(create=True))]
    assert served == [(app, "")]


# Forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_a_child_process_opens_its_own_databases_and_leaves_its_parents_alone(tmp_path: Path) -> None:
    """The parent has used the database, threads and all, before it forks; then both write at the same time."""
    text = """
    import asyncio, os, signal, sys
    import virke
    from virke.runtime import virke as runtime
    store = sys.argv[1]
    virke.connect("app", store, create=True).execute("CREATE TABLE item (who TEXT)")
    program = runtime("app", store=store)

    async def app(scope, receive, send):
        async with program.Bindings.db.transaction() as transaction:
            await transaction.execute("INSERT INTO item VALUES (?)", [scope["path"]])
        rows = (await program.Bindings.db.query("SELECT count(*) FROM item WHERE who = ?", [scope["path"]])).rows
        await send({"type": "http.response.start", "status": rows[0][0], "headers": []})

    async def visit(path, times):
        async def send(message):
            statuses.append(message["status"])
        statuses = []
        for _ in range(times):
            await program.middleware(app)({"type": "http", "path": path, "headers": []}, None, send)
        return statuses

    assert asyncio.run(visit("before", 2)) == [1, 2]
    children = []
    for number in range(2):
        if not (child := os.fork()):
            signal.alarm(60)  # it ends even if it hangs
            os._exit(0 if asyncio.run(visit(f"child {number}", 10)) == [*range(1, 11)] else 1)
        children.append(child)
    assert asyncio.run(visit("parent", 10)) == [*range(1, 11)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    print(virke.connect("app", store).query("SELECT who, count(*) FROM item GROUP BY who ORDER BY who").rows)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), f"local:{tmp_path}"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "[('before', 2), ('child 0', 10), ('child 1', 10), ('parent', 10)]\n", done.stderr


# fire


def test_fire_at_the_top_of_a_module_that_a_server_imports_does_nothing(tmp_path: Path) -> None:
    """In a function of it, it serves; what it can't serve for want of a package says how to get it."""
    (tmp_path / "web.py").write_text(
        "from virke.runtime import virke\n"
        "fire, middleware, Bindings = virke('app')\n"
        "def app(environ, start_response): return []\n"
        "fire(app)\n"
        "def main(): fire(app)\n"
    )
    text = "import sys; sys.modules['a2wsgi'] = None; import web; print('imported'); web.main()"
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "imported\n")
    assert "fire needs a2wsgi, which is not installed" in done.stderr
