"""Programs that are built in run as they are: WSGI and ASGI, with `virke.runtime`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Final

import pytest

from tests.edge.component import component, why_not
from tests.edge.serving import edge
from virke.edge.building.component import ENTRY
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.project.building import entry_text

pytestmark = [pytest.mark.once, pytest.mark.slow]
ROOT: Final = Path(__file__).resolve().parents[3]
FLASK: Final = ("flask", "werkzeug", "jinja2", "click", "itsdangerous", "blinker", "markupsafe")
TABLE: Final = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT)"
NAME: Final = "my-app-db"
SANDBOXES: Final = 3
WSGI: Final = """
import random
from virke.runtime import virke
fire, middleware, Bindings = virke(db="my-app-db", create=True)

def app(environ, start_response):
    match environ["PATH_INFO"]:
        case "/broken":
            raise ValueError("of the program's own")
        case "/exit":
            raise SystemExit(3)
        case "/half":
            start_response("200 OK", [("content-type", "text/plain")])
            def parts():
                yield b"first"
                raise ValueError("in the middle")
            return parts()
        case "/echo":
            body = environ["wsgi.input"].read()
            start_response("201 Created", [("x-a", "1"), ("x-a", "2"), ("content-length", str(len(body)))])
            return [body]
        case "/random":
            start_response("200 OK", [])
            return [random.randbytes(16).hex().encode()]
        case "/sql":
            rows = Bindings.db.query("SELECT 1 + 1").rows
            start_response("200 OK", [])
            return [repr(rows).encode()]
    said = [environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_X_MANY"), environ.get("HTTP_COOKIE")]
    start_response("200 OK", [("content-type", "text/plain; charset=utf-8")])
    return [repr(said).encode()]

app = middleware(app)
fire(app)
"""
ASGI: Final = """
import asyncio
from virke.runtime import virke
fire, middleware, Bindings = virke(db="my-app-db", create=True)
LATER = []
STARTED = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        STARTED.append(1)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return
    async def say(status, *parts):
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    match scope["path"]:
        case "/broken":
            raise ValueError("of the program's own")
        case "/echo":
            parts = []
            while True:
                message = await receive()
                parts.append(message["body"])
                if not message["more_body"]:
                    break
            await say(201, *parts)
        case "/sql":
            db = scope["state"]["db"]
            rows, others = await asyncio.gather(
                asyncio.to_thread(sum, [1, 1]), db.query("SELECT 40 + 2")
            )
            await asyncio.sleep(0.01)
            await say(200, repr((rows, others.rows)).encode())
        case "/later":
            await say(200, repr(LATER).encode())
            await asyncio.sleep(0)
            LATER.append(1)
        case "/forever":
            await asyncio.Event().wait()
        case _:
            named = [value.decode() for name, value in scope["headers"] if name == b"x-many"]
            await say(200, repr([scope["path"], scope["query_string"].decode(), named, len(STARTED)]).encode())

app = middleware(app)
"""


def _built(files: dict[str, bytes], module: str) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    entry = entry_text(None).replace(
        "from virke.edge.guest.main",
        f"from virke.edge.guest import programs\n\nprograms.use({module!r})\n\nfrom virke.edge.guest.main",
    )
    return component({f"{ENTRY}.py": entry.encode(), **files})


@pytest.fixture(scope="module")
def wsgi() -> Path:
    return _built({"wsgi_program.py": WSGI.encode()}, "wsgi_program")


@pytest.fixture(scope="module")
def asgi() -> Path:
    return _built({"asgi_program.py": ASGI.encode()}, "asgi_program")


@pytest.fixture(scope="module")
def flask() -> Path:
    """The program of examples/flask, and Flask as it is installed here."""
    files = {"app.py": (ROOT / "examples/flask/app.py").read_bytes()}
    for package in FLASK:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            pytest.skip(f"{package} is not installed here")
        folder = Path(found.origin).parent
        for path in folder.rglob("*.py"):
            files[f"{package}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return _built(files, "app")


def test_a_wsgi_program_sees_requests_as_they_were_sent(wsgi: Path) -> None:
    with edge(wsgi, reuse=100) as app:
        headers = (("x-many", "1"), ("x-many", "2"), ("cookie", "a=1"), ("cookie", "b=2"))
        said = app.host.request("GET", "/a%20b/%C3%A4?x=%2F&y", headers=headers)
        path = "/a b/ä".encode().decode("latin-1")
        assert said.body.decode() == repr([path, "x=%2F&y", "1, 2", "a=1; b=2"])
        body = b"x" * 3_000_000
        echo = app.host.request("POST", "/echo", body=body)
        assert (echo.status, echo.body == body) == (201, True)
        assert [value for name, value in echo.headers if name == "x-a"] == ["1", "2"]
        assert app.host.request("GET", "/sql").body == b"[(2,)]"


def test_no_two_new_sandboxes_draw_the_same_from_python(wsgi: Path) -> None:
    """The module `random` was seeded while the component was built; what runs components seeds it again."""
    with edge(wsgi, reuse=100) as app:
        drawn = []
        for _ in range(SANDBOXES):
            app.host.end_sandboxes()
            for is_fresh in (True, False):
                said = app.host.request("GET", "/random")
                assert (said.status, said.is_fresh) == (200, is_fresh)
                drawn.append(said.body)
                app.host.settle()
    assert len(set(drawn)) == 2 * SANDBOXES


def test_no_error_of_a_program_ends_the_sandbox(wsgi: Path) -> None:
    with edge(wsgi, reuse=100) as app:
        app.host.request("GET", "/")
        for path in ("/broken", "/exit"):
            app.host.settle()
            said = app.host.request("GET", path)
            assert (said.status, said.trap, said.is_fresh) == (500, None, False)
            assert b"own" not in said.body.replace(b"fault of its own", b"")
        half = app.host.request("GET", "/half")
        assert (half.body, half.is_whole) == (b"first", False)
        app.host.settle()
        assert not app.host.request("GET", "/sql").is_fresh


def test_the_database_s_routes_are_off_beside_a_program_unless_the_service_says_so(wsgi: Path) -> None:
    for config, status in (({}, 200), ({"api": "true"}, 404)):
        with edge(wsgi, config={**config, "open": "yes"}) as app:
            said = app.host.request("POST", "/db/nope/query", body=b'{"sql": "SELECT 1"}')
            assert said.status == status
            assert (b'"not_found"' in said.body) == (status == 404)


def test_an_asgi_program_runs_on_a_loop_of_its_own(asgi: Path) -> None:
    with edge(asgi, reuse=100) as app:
        said = app.host.request("GET", "/a%20b/%C3%A4?x=%2F", headers=(("x-many", "1"), ("x-many", "2")))
        assert said.body.decode() == repr(["/a b/ä", "x=%2F", ["1", "2"], 1])
        body = b"x" * 3_000_000
        echo = app.host.request("POST", "/echo", body=body)
        assert (echo.status, echo.body == body) == (201, True)
        assert [value for name, value in echo.headers if name == "x-a"] == ["1", "2"]
        app.host.settle()
        assert app.host.request("GET", "/sql").body == b"(2, [(42,)])"


def test_what_an_asgi_program_does_after_its_answer_is_done_and_errors_end_nothing(asgi: Path) -> None:
    with edge(asgi, reuse=100) as app:
        assert app.host.request("GET", "/later").body == b"[]"
        app.host.settle()
        for path in ("/broken", "/forever"):
            said = app.host.request("GET", path)
            assert (said.status, said.trap, said.is_fresh) == (500, None, False)
            app.host.settle()
        assert app.host.request("GET", "/later").body == b"[1]"


def test_the_flask_program_of_the_examples_runs_unchanged(flask: Path) -> None:
    with edge(flask, reuse=100) as app:
        make_database(app.store, NAME, Environment(), if_not_exists=False, page_size=4096)
        app.host.config = {}
        user = json.dumps({"name": "Ada", "email": "ada@example.com"}).encode()
        assert app.host.request("GET", "/users").status == 500  # there is no table yet
        from virke.engine.database import Database

        with Database(app.store, NAME) as database:
            database.execute(TABLE)
        headers = (("content-type", "application/json"),)
        app.host.end_sandboxes()
        created = app.host.request("POST", "/users", headers=headers, body=user)
        assert (created.status, json.loads(created.body)) == (200, {"created": 1})
        cookie = created.header("set-cookie")
        assert cookie is not None
        for fresh in (True, False):
            if fresh:
                app.host.end_sandboxes()
            listed = app.host.request("GET", "/users", headers=(("cookie", cookie.split(";")[0]),))
            assert json.loads(listed.body) == [[1, "Ada", "ada@example.com"]]
        assert app.host.request("GET", "/nix").status == 404
        assert app.host.traps == []
