"""`@virke/runtime` as `js/` packs it now: the seed's program on Node, and libraries that are written for Cloudflare's D1."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.clients.install import PACKED, RUNTIME
from tests.clients.running import Answers
from tests.javascript.packed import PACKED as TRACKED
from tests.javascript.packed import contents
from tests.javascript.test_units import lacking
from tests.servers.node import Node, node

pytestmark = [pytest.mark.slow, pytest.mark.clients]
SEED: Final = (Path(__file__).parents[1] / "data" / "seed-sdk.txt").read_text()
DOCS: Final = (Path(__file__).parents[2] / "docs" / "javascript.md").read_text()
PROGRAMS: Final = re.findall(r"^```ts\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
ALONE, OTHERS = RUNTIME / "alone", RUNTIME / "others"
TSC: Final = RUNTIME / "build" / "node_modules" / ".bin" / "tsc"
TIMEOUT_S: Final = 120
USERS: Final = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE)"
RESOLUTIONS: Final = {
    "nodenext": {"module": "nodenext", "moduleResolution": "nodenext"},
    "bundler": {"module": "esnext", "moduleResolution": "bundler"},
}
DIFFERENT: Final[Mapping[str, Mapping[str, str]]] = {
    "d1.mjs": {
        "infinity": "D1 makes NULL of it on the way",
        "type of a whole number": "D1 binds each number as a REAL",
        "beyond 2^53": "D1 answers another number",
        "a BigInt": "D1 takes none",
        "a Date": "D1 takes none",
        "refused: too few parameters": "the words: ours say how many",
        "refused: too many parameters": "the words: ours say how many",
        "refused: begin": "the words: those of D1 name what it runs on",
    },
    "drizzle.mjs": {},
    "kysely.mjs": {},
    "prisma.mjs": {},
}
"""What a program is answered otherwise than by Cloudflare's own D1, and why (docs/javascript.md)."""


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    if why := lacking():
        pytest.skip(why)
    if not all((folder / "node_modules" / "@virke" / "runtime").exists() for folder in (ALONE, OTHERS)):
        pytest.skip("the packed runtime is not installed: python -m tests.clients.install")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Node]:
    """A node with the databases `app` and `my-app-db`, which has a table `users`."""
    store = f"local:{tmp_path / 'store'}"
    for words in (("create", "app"), ("create", "my-app-db"), ("execute", USERS, "--db", "my-app-db")):
        command = [sys.executable, "-m", "virke", "db", *words, "--store", store]
        subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    with node(store, tmp_path) as found:
        yield found


def seed(first: str, last: str) -> str:
    """What the seed's text has from one line to another, word for word."""
    start = SEED.index(first)
    return SEED[start : SEED.index(last, start) + len(last)] + "\n"


def the_seeds_program() -> str:
    return seed('import { Hono } from "hono";', "fire(app);")


def project(folder: Path, packages: Path, files: Mapping[str, str]) -> Path:
    """A folder with a program's files and these packages."""
    folder.mkdir()
    (folder / "node_modules").symlink_to(packages / "node_modules")
    for name, text in ({"package.json": '{"type": "module"}'} | dict(files)).items():
        (folder / name).write_text(text)
    return folder


def compile_(folder: Path, resolution: str, source: str, **more: object) -> None:
    """Compile as a strict program does; fails with what the compiler says."""
    options = {"strict": True, "target": "es2022", "outDir": "out", **RESOLUTIONS[resolution], **more}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": [source]}))
    done = subprocess.run([TSC, "--project", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@contextmanager
def serving(folder: Path, program: str, url: str) -> Iterator[str]:
    """The URL of a program that `fire`s, as long as the block; it ends when it is asked to."""
    environ = {**os.environ, "VIRKE_URL": url, "PORT": "0"}
    process = subprocess.Popen(["node", folder / program], cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("listening on http://localhost:"), line + process.stderr.read()
        yield line.split()[-1]
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def asked(url: str, body: Mapping[str, object] | None = None) -> tuple[int, Any, Message]:
    """Status, body and headers of an answer; a GET, or a POST of a body."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=TIMEOUT_S) as found:
            return found.status, json.loads(found.read()), found.headers
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers


def test_the_tracked_package_is_what_js_packs() -> None:
    packed, tracked = contents(PACKED), contents(TRACKED)
    assert packed.keys() == tracked.keys(), "make runtime"
    assert {name for name in packed if packed[name] != tracked[name]} == set(), "make runtime"


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_seeds_program_compiles_and_answers(resolution: str, running: Node, tmp_path: Path) -> None:
    folder = project(tmp_path / "app", ALONE, {"app.ts": the_seeds_program()})
    compile_(folder, resolution, "app.ts")
    ann = {"name": "ann", "email": "a@x"}
    with serving(folder, "out/app.js", running.url) as url:
        assert asked(f"{url}/users")[:2] == (200, [])
        status, body, headers = asked(f"{url}/users", ann)
        assert (status, body) == (200, {"created": 1})
        assert headers["set-cookie"].startswith("virke_bookmark=main.")
        assert {"HttpOnly", "SameSite=Lax", "Max-Age=60"} <= set(headers["set-cookie"].split("; "))
        status, body, headers = asked(f"{url}/users")
        assert (status, body, headers.get("set-cookie")) == (200, [[1, "ann", "a@x"]], None)
        status, body, headers = asked(f"{url}/users", ann)
        assert (status, body["error"]["sqlite_code"], headers.get("set-cookie")) == (
            400,
            "SQLITE_CONSTRAINT_UNIQUE",
            None,
        )
        assert asked(f"{url}/users", {"email": "b@x"})[0] == 400
        assert asked(f"{url}/users")[1] == [[1, "ann", "a@x"]]
        running.stop()
        assert asked(f"{url}/users")[0] == 503


@pytest.mark.parametrize(("status", "code"), [(409, "conflict"), (503, "unavailable"), (504, "timed_out")])
def test_the_seeds_program_says_what_the_node_says(status: int, code: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "app", ALONE, {"app.ts": the_seeds_program()})
    compile_(folder, "nodenext", "app.ts")
    with refusing(status, code) as url, serving(folder, "out/app.js", url) as app:
        found, body, _ = asked(f"{app}/users", {"name": "ann", "email": "a@x"})
        assert (found, body["error"]["code"]) == (status, code)


@contextmanager
def refusing(status: int, code: str) -> Iterator[str]:
    """The URL of something that answers like a node that refuses all requests."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_program_without_a_framework_answers(running: Node, tmp_path: Path) -> None:
    program = (Path(__file__).parent / "runtime" / "alone.mjs").read_text()
    folder = project(tmp_path / "app", ALONE, {"alone.mjs": program})
    ann = {"name": "ann", "email": "a@x"}
    with serving(folder, "alone.mjs", running.url) as url:
        assert asked(url, ann)[:2] == (200, {"created": 1})
        assert asked(url)[:2] == (200, [["ann", "a@x"]])
        assert asked(url, ann)[0] == 400


def test_the_seeds_program_answers_on_workerd(running: Node, tmp_path: Path) -> None:
    folder = project(tmp_path / "app", OTHERS, {"app.ts": the_seeds_program()})
    found = answers(OTHERS / "workerd.mjs", running.url, folder)
    again = found["the same again"]
    assert (again[0], again[1]["error"]["sqlite_code"]) == (400, "SQLITE_CONSTRAINT_UNIQUE")
    assert found["write"] == [200, {"created": 1}, "virke_bookmark"]
    assert found["read"] == [200, [[1, "ann", "a@x"]], {"undefined": True}]
    assert found["modules of other places"] == []


def test_the_middleware_in_a_hono_program(running: Node, tmp_path: Path) -> None:
    program = (Path(__file__).parent / "runtime" / "hono.mjs").read_text()
    folder = project(tmp_path / "app", ALONE, {"hono.mjs": program})
    found = dict(answers(folder / "hono.mjs", running.url, folder))
    outside = found.pop("outside")
    cookies = {name: one["cookie"] for name, one in found.items()}
    assert {name for name in cookies if cookies[name]} == {"write", "middleware twice", "written, then failed"}
    assert "," not in cookies["middleware twice"].split(";")[0], "one cookie"
    assert {name: (one["status"], one["body"]) for name, one in found.items()} == {
        "bindings": (200, '["db","DB"]'),
        "beside others": (200, '["incoming","db","DB"]'),
        "write": (200, '{"created":1}'),
        "middleware twice": (200, '{"created":1}'),
        "read": (200, "[2]"),
        "written, then failed": (500, "mine: after it was written"),
        "a test's own database": (200, '["fake"]'),
        "another database for each request": (
            500,
            "mine: database 'nowhere' does not exist (create it with: virke db create nowhere)",
        ),
    }
    assert outside == [[3]]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize(
    "more", [{}, {"lib": ["es2022"], "types": ["@cloudflare/workers-types"]}], ids=["plain", "workers"]
)
def test_the_types_are_the_seeds_and_those_that_libraries_take(
    resolution: str, more: Mapping[str, object], tmp_path: Path
) -> None:
    program = (Path(__file__).parent / "runtime" / "types.ts").read_text()
    interfaces = seed("interface VirkeDB {", "}") + seed("interface QueryResult {", "}")
    folder = project(tmp_path / "app", OTHERS, {"types.ts": interfaces + program})
    compile_(folder, resolution, "types.ts", skipLibCheck=True, **more)  # drizzle-orm's own declarations need it


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_docs_compiles(number: int, tmp_path: Path) -> None:
    folder = project(tmp_path / "app", OTHERS, {"program.ts": PROGRAMS[number]})
    compile_(folder, "nodenext", "program.ts", skipLibCheck=True)


def answers(program: Path, where: str, folder: Path) -> Answers:
    """What a program prints, run in a folder of its own."""
    done = subprocess.run(
        ["node", "--no-warnings", program, where],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: Answers = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("program", DIFFERENT)
def test_the_d1_binding_answers_as_cloudflares_own(program: str, running: Node, tmp_path: Path) -> None:
    found = []
    for place, where in (("here", running.url), ("cloudflare", "d1")):
        (tmp_path / place).mkdir()
        found.append(answers(OTHERS / program, where, tmp_path / place))
    here, d1 = found
    assert here.keys() == d1.keys()
    differing = {name: {"here": here[name], "d1": d1[name]} for name in here if here[name] != d1[name]}
    shown = {name: one for name, one in differing.items() if name not in DIFFERENT[program]}
    assert not shown, json.dumps(shown, indent=1)
    assert differing.keys() == DIFFERENT[program].keys(), "what is listed is no difference any more"
    wrong = {name for name, one in d1.items() if _is_error(one) != name.startswith("refused: ")}
    assert wrong <= {"a BigInt", "a Date"}, "a check is an error exactly if its name says so"


def _is_error(answer: object) -> bool:
    return isinstance(answer, dict) and "error" in answer
