"""`virke dev`: the app and its database, at each change; what is wrong is told; nothing is left at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import start
from tests.project.developing import alive, developing
from virke.config import parse_config
from virke.errors import UsageError, VirkeError
from virke.project.children import Children, ending_words
from virke.project.dev import free_port, store_for
from virke.project.entry import USUAL, entry_of
from virke.project.init import write_project
from virke.project.receipts import readable_line
from virke.project.watching import watch_changes

PLAIN = '''"""An app without a database."""


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'"hello"'})
'''
LISTENS = "Uvicorn running on"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder with an app that needs nothing."""
    (tmp_path / "app.py").write_text(PLAIN)
    (tmp_path / "virke.toml").write_text('[database]\nname = "plain-db"\n')
    return tmp_path


@pytest.mark.parametrize("kind", ["python", "fastapi"])
def test_a_new_project_runs_and_follows_its_files(tmp_path: Path, kind: str) -> None:
    """From an empty folder: requests, statements with their receipts, migrations, an edit, a crash, and the end."""
    write_project(tmp_path, kind, "my-app")
    with developing(tmp_path) as dev:
        dev.wait_for("applied 001_create_users.sql")
        assert dev.wait_for("app       ").split()[1] == dev.url
        assert "(my-app-db)" in dev.wait_for("database  http://127.0.0.1:")

        dev.wait_until_it_listens()
        assert dev.ask("/users") == (200, [])
        assert dev.ask("/users", {"name": "Dave", "email": "dave@example.com"}) == (201, {"created": 1})
        assert "store request" in dev.wait_for("db: ") or "from memory" in dev.said[-1]
        insert = dev.wait_for("INSERT INTO users (name, email) VALUES (?, ?)")
        assert insert.startswith("db: ")
        assert insert.rstrip().endswith(" bytes up)")
        status, said = dev.ask("/users", {"name": "Dave", "email": "dave@example.com"})
        assert (status, "UNIQUE constraint failed: users.email" in json.dumps(said)) == (400, True)
        assert dev.ask("/users") == (200, [[1, "Dave", "dave@example.com"]])

        (tmp_path / "migrations" / "002_posts.sql").write_text("CREATE TABLE posts (id INTEGER PRIMARY KEY);\n")
        dev.wait_for("applied 002_posts.sql")
        (tmp_path / "migrations" / "003_tags.sql").write_text("CREATE TABLE tags (id INTEGER;\n")
        dev.wait_for("error: 003_tags.sql: ")
        (tmp_path / "migrations" / "003_tags.sql").write_text("CREATE TABLE tags (id INTEGER);\n")
        dev.wait_for("applied 003_tags.sql")

        program = (tmp_path / "app.py").read_text()
        (tmp_path / "app.py").write_text(program.replace("ORDER BY id", "ORDER BY id DESC"))
        dev.wait_for("app.py changed: starting the app again")
        dev.wait_for(LISTENS)
        dev.ask("/users", {"name": "Eve", "email": None})
        assert dev.ask("/users")[1][0] == [2, "Eve", None]

        (tmp_path / "app.py").write_text("1 / 0\n" + program)
        dev.wait_for("ZeroDivisionError")
        dev.wait_for("the app ended with exit code 1: it is started again at the next change")
        (tmp_path / "app.py").write_text(program)
        dev.wait_for(LISTENS)
        assert dev.ask("/users")[1][0] == [1, "Dave", "dave@example.com"]

        family = dev.family()
        assert len(family) >= 3
        assert dev.end() == 0
        assert alive(family) == set()
    found = start("db", "query", "SELECT name FROM users", "--csv", folder=tmp_path)
    assert found.stdout == "name\nDave\nEve\n"


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(plain: Path, number: int) -> None:
    """Of an app, too, that started others and does not want to go."""
    (plain / "app.py").write_text(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('settled', flush=True)\n"
        "subprocess.run(['sleep', '600'])\n"
    )
    with developing(plain) as dev:
        dev.wait_for("settled")
        family = dev.family()
        assert len(family) >= 4
        assert dev.end(number) == (-number if number == signal.SIGKILL else 0)  # and heard until the last is silent
        assert alive(family) == set()


STARTING = """
import os, signal, subprocess, sys
from pathlib import Path
from virke.interrupts import Ended, end_by_signals
from virke.project.children import Children

end_by_signals()
begin = subprocess.Popen.__init__

def begin_and_hear(process, *arguments, **options):
    begin(process, *arguments, **options)
    os.kill(os.getpid(), signal.SIGHUP)

try:
    with Children() as children:
        subprocess.Popen.__init__ = begin_and_hear
        children.start([sys.executable, "-c", "import time; time.sleep(600)"], Path.cwd(), os.environ)
except Ended:
    print("ended", flush=True)
"""


def test_a_signal_that_falls_where_a_process_has_just_begun_leaves_nothing() -> None:
    command = [sys.executable, "-c", STARTING]
    heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731  # ignored under nohup
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=heard)
    assert (done.returncode, done.stdout) == (0, "ended\n"), "and heard until the last is silent"


@pytest.mark.once
def test_a_second_signal_ends_it_at_once_and_leaves_nothing(plain: Path) -> None:
    (plain / "app.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('will not', flush=True))\n"
        "print('settled', flush=True)\n"
        "while True:\n    time.sleep(1)\n"
    )
    with developing(plain) as dev:
        dev.wait_for("settled")
        family = dev.family()
        dev.process.send_signal(signal.SIGINT)
        dev.wait_for("will not")
        assert dev.end() == 130
        assert alive(family) == set()


def test_without_reload_an_app_that_ends_ends_it(plain: Path) -> None:
    (plain / "app.py").write_text("raise SystemExit(3)\n")
    found = start("dev", "--no-reload", "--port", "0", folder=plain)
    assert found.returncode == 1
    assert found.stderr.endswith("error: the app ended with exit code 3\n")


def test_both_urls_are_one_object_in_json(plain: Path) -> None:
    with developing(plain, "--json", "--store", "memory://") as dev:
        dev.wait_for("{")
        lines = ["{", *(dev.wait_for("") for _ in range(5))]
        said = json.loads("".join(lines))
        assert (said["app"], said["database"], said["store"]) == (dev.url, "plain-db", "memory://")
        dev.wait_until_it_listens()
        assert dev.ask("/") == (200, "hello")


def test_a_port_that_is_taken_is_an_error_at_once(plain: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = start("dev", "--port", str(port), folder=plain)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == (
        f"error: can't use port {port}: it is taken by another program\nhint: virke dev --port N takes another\n"
    )
    assert not (plain / ".virke").exists()


def test_without_node_a_typescript_app_is_an_error(plain: Path) -> None:
    (plain / "index.ts").write_text("")
    found = start("dev", "--port", "0", folder=plain, PATH="/nowhere")
    assert (found.returncode, found.stdout) == (2, "")
    assert "this app needs Node.js 20 or newer, and there is no `node` on the PATH" in found.stderr
    old = plain / "old"
    old.mkdir()
    (old / "node").write_text("#!/bin/sh\necho v18.20.0\n")
    (old / "node").chmod(0o755)
    found = start("dev", "--port", "0", folder=plain, PATH=str(old))
    assert f"{old}/node is v18.20.0" in found.stderr


def test_packages_that_npm_can_not_install_are_an_error(plain: Path) -> None:
    tools = plain / "tools"
    tools.mkdir()
    for name, script in (("node", "echo v22.1.0"), ("npm", "echo no network >&2; exit 1")):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    (plain / "index.ts").write_text("")
    found = start("dev", "--port", "0", folder=plain, PATH=path)
    assert (found.returncode, "there is no package.json" in found.stderr) == (2, True)
    (plain / "package.json").write_text("{}")
    found = start("dev", "--port", "0", folder=plain, PATH=path)
    assert found.returncode == 1
    assert "no network\n" in found.stderr
    assert "error: npm install ended with exit code 1\n" in found.stderr
    (plain / "node_modules").mkdir()
    found = start("dev", "--port", "0", folder=plain, PATH=path)
    assert (found.returncode, "hint: npm install --save-dev tsx" in found.stderr) == (2, True)


def test_a_store_with_tokens_needs_one_for_the_app(plain: Path) -> None:
    made = start("token", "create", "--scope", "admin", "--db", "*", folder=plain)
    found = start("dev", "--port", "0", folder=plain)
    assert (found.returncode, "so the app needs one: set VIRKE_TOKEN" in found.stderr) == (2, True)
    with developing(plain, VIRKE_TOKEN=made.stdout.strip()) as dev:
        dev.wait_for("database  ")
        dev.wait_until_it_listens()
        assert dev.ask("/") == (200, "hello")


def test_an_app_that_has_no_such_object_says_what_to_do(plain: Path) -> None:
    (plain / "virke.toml").write_text('[database]\nname = "x"\n[app]\nentry = "app:application"\n')
    found = start("dev", "--no-reload", "--port", "0", folder=plain)
    assert found.returncode == 1
    assert (
        "error: app has no 'application'\nhint: name the app in virke.toml: [app] entry = \"app:NAME\"" in found.stderr
    )


def test_what_is_run_where_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to run in") as caught:
        entry_of(tmp_path, None)
    assert "virke init" in str(caught.value.context["hint"])
    for name in reversed(USUAL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
        found = entry_of(tmp_path, None)
        assert found.name == (f"{Path(name).stem}:app" if name.endswith(".py") else name)
        assert found.is_python is name.endswith(".py")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with files of several kinds."""
    for name in ("site/web.py", "src/server.mts", "site/app.rb", "my-site/app.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("site.web:make.app", "site.web:make.app"),
        ("site/web.py", "site.web:app"),
        ("src/server.mts", "src/server.mts"),
    ],
)
def test_what_is_run_where_it_is_said(site: Path, entry: str, found: str) -> None:
    assert entry_of(site, entry).name == found


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("nothing.py", "there is no nothing.py in"),
        ("nothing:app", "there is no module nothing in"),
        ("site/app.rb", "neither a file of Python, TypeScript or JavaScript"),
        ("my-site/app.py", "can't be imported"),
    ],
)
def test_an_entry_that_can_not_be_run_is_an_error(site: Path, entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        entry_of(site, entry)


def test_a_store_elsewhere_is_left_alone_unless_it_is_asked_for(tmp_path: Path) -> None:
    """The local folder beside virke.toml is what is worked on; a local store that is named is taken."""
    bare = parse_config("", tmp_path / "virke.toml")
    bucket = parse_config('[store]\nurl = "s3://live"\n', tmp_path / "virke.toml")
    data = parse_config('[store]\nurl = "local:data"\n', tmp_path / "virke.toml")
    here = (tmp_path / ".virke").as_uri()
    assert store_for(bare, None, {}) == (here, None)
    assert store_for(bucket, None, {}) == (here, "s3://live")
    assert store_for(bare, None, {"VIRKE_STORE": "valkey://live"}) == (here, "valkey://live")
    assert store_for(data, None, {}) == ((tmp_path / "data").as_uri(), None)
    assert store_for(bucket, "s3://live", {}) == ("s3://live", None)
    with pytest.raises(UsageError, match="starts a node of its own"):
        store_for(bare, "https://node", {})


def test_a_folder_that_can_not_be_watched_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **options: object) -> Iterator[object]:
        yield from ()
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("virke.project.watching.watch", refused)
    with pytest.raises(VirkeError, match=r"can't watch .* for changes: OS file watch limit reached") as caught:
        next(watch_changes(tmp_path, 100))
    assert "WATCHFILES_FORCE_POLLING" in str(caught.value.context["hint"])


def test_changes_are_those_of_sources(tmp_path: Path) -> None:
    """Not of packages, hidden folders, caches; the folder may hold one that this user may not enter."""
    for name in ("node_modules", ".virke", "site/__pycache__", "site/pages"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "closed").mkdir(mode=0)
    told = watch_changes(tmp_path, 100)
    assert next(told) == frozenset()
    for name in ("node_modules/a.py", ".virke/b.py", "site/__pycache__/c.py", "site/pages/d.py"):
        (tmp_path / name).write_text("")
    found = next(told)
    while not found:
        found = next(told)
    assert {path.as_posix() for path in found} == {"site/pages/d.py"}
    (tmp_path / "closed").chmod(0o700)


def test_a_port_that_may_not_be_had_says_why() -> None:
    assert free_port(0) > 0
    if os.geteuid():
        with pytest.raises(UsageError, match="can't use port 1: "):
            free_port(1)


COST = {"round_trips": 1, "store_requests": 2, "bytes_up": 1200, "bytes_down": 0, "shared_by": 3}
RECORD = {"logger": "virke.slow", "message": "", "database": "a", "sql": "DELETE FROM t", "ms": 1.5, **COST}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain words\n", "plain words"),
        ('{"logger": "virke.node", "message": "lost"}', "node: lost"),
        ('{"logger": "virke.node", "message": "lost", "traceback": "Trace"}', "node: lost\nTrace"),
        (
            json.dumps(RECORD),
            "db: 1.5 ms: DELETE FROM t (1 round trip, 2 store requests, 1,200 bytes up, shared by 3)",
        ),
        (json.dumps(RECORD | {"store_requests": 0}), "db: 1.5 ms: DELETE FROM t (from memory)"),
        (
            json.dumps(RECORD | {"database": "b", "store_requests": 0}),
            "db: 1.5 ms on b: DELETE FROM t (from memory)",
        ),
        (json.dumps(RECORD | {"sql": "SELECT 1"}), None),
    ],
)
def test_the_nodes_log_is_readable(line: str, shown: str | None) -> None:
    assert readable_line(line, "a") == shown


def test_a_child_that_does_not_want_to_is_ended(tmp_path: Path) -> None:
    """With what it started; and how a process ended is said in words."""
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    with Children() as children:
        child = children.start([sys.executable, "-c", program], tmp_path, os.environ)
        child.stop()
        assert child.code in (-signal.SIGKILL, -signal.SIGTERM)  # the second if it was not awake yet
    assert (ending_words(2), ending_words(-9), ending_words(-99)) == (
        "ended with exit code 2",
        "was ended by SIGKILL",
        "was ended by signal 99",
    )


def test_the_sweeper_ends_what_is_left(tmp_path: Path) -> None:
    assert shutil.which("sleep"), "a program that does nothing"
    left = subprocess.Popen(["sleep", "600"], process_group=0)
    gone = subprocess.Popen(["sleep", "600"], process_group=0)
    said = f"+{left.pid}\n+{gone.pid}\n-{gone.pid}\n"
    subprocess.run([sys.executable, "-m", "virke.project.sweeper"], input=said, text=True, check=True)
    assert left.wait(5) == -signal.SIGTERM
    assert gone.poll() is None
    gone.kill()
    gone.wait()
