"""An app while it is written: run with a node next to it, again at each change, migrations applied as they appear.

Knows the order in which things start, what a change means, and the end. How processes, files and nodes work is said elsewhere.

1. What can't work is an error before anything is started: no entry, no Node, a port that is taken, a token that is missing.
2. The database is on this machine, whatever `virke.toml` and the environment say, unless `--store` names another place.
3. A broken migration, an app that crashes: both are reported, and the next change is waited for. Only without reload does an
   app that ends end this, too; so does a node that ends.
4. However it ends, nothing that it started is left (`children`).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from virke.config import (
    DB_VARIABLE,
    MIGRATIONS,
    NODE_VARIABLE,
    STORE_FOLDER,
    STORE_VARIABLE,
    TOKEN_VARIABLE,
    Config,
    is_node,
    local_path,
    store_urls,
)
from virke.errors import UsageError, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.opening import connect, open_store
from virke.project import javascript
from virke.project.children import Child, Children, ending_words
from virke.project.entry import Entry, entry_of
from virke.project.running_node import RunningNode
from virke.project.seed import Seed, bring_up_to_date, is_among, seed_of
from virke.project.watching import watch_changes
from virke.tokens import listing

HOST: Final = "127.0.0.1"
TICK_MS: Final = 200
READY_S: Final = 10.0
"""After so long the URLs are shown, whether the app listens or not."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Project:
    """What is run: an app on a port, with a database of a store."""

    folder: Path
    entry: Entry
    database: str
    store: str
    port: int
    reloads: bool = True
    seed: Seed | None = None


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the app and its database answer."""

    app: str
    node: str


def store_for(config: Config, option: str | None, environ: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """The store to work on (invariant 2), and the one that was left alone, if there is one.

    Raises:
        UsageError: the option names a node.
    """
    if option:
        if is_node(option):
            raise UsageError(f"virke dev starts a node of its own, and {option} is one", hint="--store names a store")
        return option, None
    known = environ.get(STORE_VARIABLE) or config.store
    if known and all(local_path(url) is not None for url in store_urls(known)):
        return known, None
    return (config.folder / STORE_FOLDER).absolute().as_uri(), known


def prepare_project(config: Config, database: str, store: str, *, port: int, reloads: bool) -> Project:
    """Everything that can be found out before anything is started (invariant 1).

    Raises:
        UsageError: it can't work.
    """
    project = Project(
        config.folder, entry_of(config.folder, config.entry), database, store, free_port(port), reloads, seed_of(config)
    )
    if not os.environ.get(TOKEN_VARIABLE) and listing(open_store(store, create=True)):
        raise UsageError(
            f"the store has tokens, so the app needs one: set {TOKEN_VARIABLE}",
            hint="virke token create --scope admin --db '*' makes one that may create the database, too",
        )
    if not project.entry.is_python:
        javascript.check_node()
    return project


def free_port(port: int) -> int:
    """The port, or one that is free for 0. Raises `UsageError`: it is taken, or may not be had."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "it is taken by another program" if taken else error.strerror or str(error)
            raise UsageError(f"can't use port {port}: {reason}", hint="virke dev --port N takes another") from error
        return int(trial.getsockname()[1])


def develop_project(project: Project, say: Say, show: Callable[[Urls], None]) -> None:
    """Run it until a signal comes (`KeyboardInterrupt`); `show` is called once, when there is something to look at.

    Raises:
        UsageError: packages of npm are missing. VirkeError: they can't be had, the node ended, or, without reload, the app did.
    """
    with Children() as children, ExitStack() as ending_in_order:
        if not project.entry.is_python:
            javascript.install_packages(project.folder, children, say)
        node = RunningNode(project.store, project.database, project.folder, children=children, say=say)
        ending_in_order.callback(node.stop)
        running = _Running(project, node, children, say=say, show=show)
        ending_in_order.callback(running.stop)
        running.migrate(creates=True)
        running.start()
        for changed in watch_changes(project.folder, TICK_MS):
            running.look(changed)


class _Running:
    """The app that runs, or waits for a change."""

    def __init__(
        self, project: Project, node: RunningNode, children: Children, *, say: Say, show: Callable[[Urls], None]
    ) -> None:
        self._project = project
        self._children = children
        self._node = node
        self._say = say
        self._show: Callable[[Urls], None] | None = show
        self._app: Child | None = None
        self._began_s = 0.0

    def start(self) -> None:
        """Start the app."""
        project = self._project
        own = {
            NODE_VARIABLE: self._node.url,
            DB_VARIABLE: project.database,
            "PORT": str(project.port),
            "PYTHONUNBUFFERED": "1",
        }
        self._began_s = time.monotonic()
        self._app = self._children.start(command_of(project), project.folder, {**os.environ, **own})

    def stop(self) -> None:
        """End the app, if it runs."""
        if self._app is not None:
            self._app.stop()
            self._app = None

    def migrate(self, *, creates: bool = False) -> None:
        """Apply what waits; a broken file is reported. Raises `VirkeError`: the database can't be created."""
        folder = self._project.folder / MIGRATIONS
        database = connect(self._project.database, self._node.url, create=creates)
        try:
            bring_up_to_date(database, folder, self._project.seed, lambda verb, what: self._say(f"{verb} {what}"))
        except VirkeError as error:
            self._say(f"error: {error.message}")
            if hint := error.context.get("hint"):
                self._say(f"hint: {hint}")
        finally:
            database.close()

    def look(self, changed: frozenset[Path]) -> None:
        """See to what changed, and whether all is running still."""
        is_migration = any(
            path.parts[0] == MIGRATIONS and (path.suffix == ".sql" or len(path.parts) == 1) for path in changed
        )
        if is_migration or is_among(self._project.seed, self._project.folder, changed):
            self.migrate()
        if Path("virke.toml") in changed:
            self._say("virke.toml changed: start virke dev again to use it")
        if (code := self._node.child.code) is not None:
            raise VirkeError(f"the node next to the app {ending_words(code)}")
        sources = sorted(str(path) for path in changed if path.suffix in self._suffixes)
        if sources and self._restarts:
            self._say(f"{', '.join(sources)} changed: starting the app again")
            self.stop()
            self.start()
        if self._app is not None and (code := self._app.code) is not None:
            self._stop_after_crash(code)
        self._show_once()

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return (".py",) if self._project.entry.is_python else (".ts", ".tsx", ".mts", ".js", ".mjs", ".jsx", ".json")

    @property
    def _restarts(self) -> bool:
        """Whether a change of a source starts the app: tsx does that by itself while it runs."""
        return self._project.reloads and (self._project.entry.is_python or self._app is None)

    def _stop_after_crash(self, code: int) -> None:
        self.stop()
        if not self._project.reloads:
            raise VirkeError(f"the app {ending_words(code)}")
        self._say(f"the app {ending_words(code)}: it is started again at the next change")

    def _show_once(self) -> None:
        """Show the URLs when the app listens, or does not."""
        if self._show is None:
            return
        with socket.socket() as trial:
            trial.settimeout(TICK_MS / 1000)
            listens = trial.connect_ex((HOST, self._project.port)) == 0
        if listens or self._app is None or time.monotonic() - self._began_s > READY_S:
            self._show(Urls(f"http://{HOST}:{self._project.port}", self._node.url))
            self._show = None


def command_of(project: Project) -> list[str]:
    """The command that runs the app."""
    if project.entry.is_python:
        return [sys.executable, "-P", "-m", "virke.project.program", project.entry.name, str(project.port)]
    watches = ["watch", "--clear-screen=false"] if project.reloads else []
    return [str(project.folder / javascript.TSX), *watches, project.entry.name]
