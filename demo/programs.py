"""The second half of the demo: a node, then a web program in Python and one in TypeScript, deployed to the node.

Needs no network, except that npm fetches the packages of the TypeScript one; where there is no Node, or npm can't, that is
said in one line, and the demo goes on.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from demo.stage import Background, Stage, curl

NPM_S: Final = 120
NPM: Final = {"npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "20000", "npm_config_loglevel": "error"}
DAVE: Final = {"name": "Dave", "email": "dave@example.com"}


def play_programs(stage: Stage) -> None:
    """The whole second half. Raises `DemoFailed`."""
    print("\n# A node: the databases of this folder over HTTP\n$ virke serve &", flush=True)
    with Background([stage.virke, "serve", "--port", "0"], stage.folder, stage.environ) as node:
        url = node.wait_for("virke serves ").split()[-1]
        asked = {"sql": "SELECT name FROM users WHERE active = ?", "params": [1]}
        curl(f"{url}/db/users-db/query", asked, expected=200)
        count = "SELECT count(*) AS users FROM users"
        stage.run("db", "query", count, "--db", "users-db", "--store", url)
        play_python(stage, url)
        play_hono(stage, url)


def play_python(stage: Stage, node: str) -> None:
    """A new Python program: run, asked, changed, deployed to the node, again, and with a broken migration. Raises `DemoFailed`."""
    print("\n# A web program in Python, from an empty folder")
    stage.run("init", "py-app", "--python")
    app = stage.folder / "py-app"
    develop(stage, app, changed="app.py", starts="Uvicorn running on")
    print("\n# Its database, taken to the node; the second time there is nothing to do")
    for _ in range(2):
        stage.run("deploy", "--store", node, inside=app)
    print("\n# A broken migration is met in the rehearsal, and changes nothing")
    write(app, "migrations/003_broken.sql", "ALTER TABLE nowhere ADD COLUMN x;")
    stage.run("deploy", "--store", node, inside=app, expected=1)


def play_hono(stage: Stage, node: str) -> None:
    """The same with Hono, where there is Node. Raises `DemoFailed`."""
    print("\n# The same in TypeScript, with Hono")
    npm = shutil.which("npm")
    if npm is None or not shutil.which("node"):
        print("(Node.js is not on this machine: left out)", flush=True)
        return
    stage.run("init", "ts-app", "--hono")
    app = stage.folder / "ts-app"
    if not install(npm, app, stage.environ):
        print("(npm can't fetch the packages here: left out)", flush=True)
        return
    develop(stage, app, changed="src/index.ts", starts="listening on")
    stage.run("deploy", "--store", node, inside=app)


def install(npm: str, app: Path, environ: Mapping[str, str]) -> bool:
    """Let npm fetch the packages; whether it could."""
    print(f"$ cd {app.name} && npm install", flush=True)
    command = [npm, "install", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=app, env={**environ, **NPM}, capture_output=True, text=True, timeout=NPM_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode == 0:
        print(f"  {done.stdout.strip()}", flush=True)
    return done.returncode == 0


def develop(stage: Stage, app: Path, *, changed: str, starts: str) -> None:
    """Run the app, ask it, add a migration, change the program. Raises `DemoFailed`."""
    print(f"$ cd {app.name} && virke dev &", flush=True)
    with Background([stage.virke, "dev", "--port", "0"], app, stage.environ) as dev:
        dev.wait_for("applied 001_create_users.sql")
        url = dev.wait_for("app   ").split()[-1]
        dev.wait_for("database  ")
        curl(f"{url}/users", DAVE, expected=201)
        dev.wait_for("INSERT INTO users")
        curl(f"{url}/users", DAVE, expected=400)
        curl(f"{url}/users", expected=200)
        dev.wait_for("SELECT id, name, email FROM users")
        write(app, "migrations/002_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT);")
        dev.wait_for("applied 002_posts.sql")
        print(f"$ sed -i 's/ORDER BY id/ORDER BY name/' {changed}", flush=True)
        program = app / changed
        program.write_text(program.read_text().replace("ORDER BY id", "ORDER BY name"))
        dev.wait_for(starts)
        curl(f"{url}/users", expected=200)
        dev.wait_for("ORDER BY name")
        print("^C", flush=True)


def write(app: Path, name: str, sql: str) -> None:
    """Put a migration into a project."""
    print(f"$ echo '{sql}' > {name}", flush=True)
    (app / name).write_text(f"{sql}\n")
