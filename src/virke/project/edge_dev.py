"""A project as a service of the edge on this machine, while it is written: built again, and served again, at each change.

Knows the order in which things happen, and what a change means. How a component is built is said in `building`, how it is
served in `edge_server`.

1. What can't work is an error before anything is built: a missing tool, a port that is taken.
2. The database is of the local store, as with `virke dev`: made if it is missing, with its migrations, by the command line's own
   engine, so that both see the same data and they last.
3. A build that fails is reported, and what was served goes on; it is tried again at the next change.
4. The new component is compiled before the old one ends, so nothing is away for longer than a second.
5. An app of JavaScript is a service of its own, as at Fastly, and the database another, which it reaches as the backend `virke`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Final

from virke.config import MIGRATIONS, NODE_VARIABLE
from virke.edge.building import javascript
from virke.errors import Invalid, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.opening import connect
from virke.project.building import Built, Plan, build_changed
from virke.project.children import Child, Children, ending_words
from virke.project.dev import free_port
from virke.project.edge_server import READY, Served
from virke.project.seed import Seed, bring_up_to_date, is_among
from virke.project.viceroy import Simulation, write_configuration
from virke.project.watching import watch_changes

TICK_MS: Final = 200
SOURCES: Final = frozenset({".py", ".toml", ".txt", ".html", ".json", ".ts", ".tsx", ".mts", ".js", ".mjs", ".jsx"})
BACKEND: Final = "virke"
"""By which name an app of JavaScript reaches its database."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EdgeProject:
    """What is served: a plan's component on a port, over a store; `config` is the service's Config Store."""

    plan: Plan
    database: str
    store: str
    port: int
    reloads: bool = True
    config: Mapping[str, str] = field(default_factory=dict)
    is_simulated: bool = False
    """Whether Fastly's own simulator serves it, and not our host."""
    seed: Seed | None = None


def develop_edge(project: EdgeProject, say: Say, show: Callable[[str, str | None], None]) -> None:
    """Build and serve it until a signal comes (`KeyboardInterrupt`).

    `show` is called once, when it answers: with its URL, and with its database's where that is another service.

    Raises:
        UsageError: something is missing here. Invalid: the app can't run there. Unavailable: a tool failed, or the service ended.
    """
    with Children() as children, TemporaryDirectory(prefix="virke-dev-") as scratch:
        running = _Running(project, children, Path(scratch), say)
        try:
            running.migrate(creates=True)
            running.serve(build_changed(project.plan, say))
            show(*running.urls)
            for changed in watch_changes(project.plan.folder, TICK_MS):
                running.look(changed)
        finally:
            running.stop()


class _Running:
    """The services that are up."""

    def __init__(self, project: EdgeProject, children: Children, scratch: Path, say: Say) -> None:
        self._project = project
        self._children = children
        self._scratch = scratch
        self._say = say
        self._own: Service | Simulation | None = None
        self._app: Service | Simulation | None = None

    @property
    def urls(self) -> tuple[str, str | None]:
        """Where it answers, and its database where that is another service."""
        assert self._own is not None, "it is served"
        return (self._own.url, None) if self._app is None else (self._app.url, self._own.url)

    @property
    def _up(self) -> list[Service | Simulation]:
        return [service for service in (self._app, self._own) if service is not None]

    def migrate(self, *, creates: bool = False) -> None:
        """Apply what waits; a broken file is reported. Raises `VirkeError`: the database can't be created."""
        folder = self._project.plan.folder / MIGRATIONS
        database = connect(self._project.database, self._project.store, create=creates)
        try:
            bring_up_to_date(database, folder, self._project.seed, lambda verb, what: self._say(f"{verb} {what}"))
        except VirkeError as error:
            tell_error(error, self._say)
        finally:
            database.close()

    def serve(self, built: Built) -> None:
        """Serve what is new of a build, in place of what is served. Raises `Unavailable`: it does not start."""
        project, own_port = self._project, self._project.port if built.app is None else 0
        if built.is_new or self._own is None:
            own = Served(str(built.program), project.store, own_port, project.config)
            self._own = self._replace_service(self._own, own)
        if built.app is not None and (built.is_new or built.app.is_new or self._app is None):
            program = built.app.program if project.is_simulated else self._as_component(built.app.program)
            app = Served(str(program), project.store, project.port, project.config, {BACKEND: self._own.url})
            self._app = self._replace_service(self._app, app)

    def _as_component(self, program: Path) -> Path:
        component = self._scratch / "app.wasm"
        javascript.adapt_program(program, component, javascript.tools_for(self._say))
        return component

    def _replace_service(self, old: Service | Simulation | None, served: Served) -> Service | Simulation:
        """A service in place of another one, which goes on until the new one is compiled (invariant 4)."""
        if self._project.is_simulated:
            return self._start_simulation(old, served)
        self._say("starting the component (after a build it is compiled for this machine: half a minute)")
        compile_ahead(served, self._project.plan.folder, self._children)
        if old is not None:
            old.stop()
        return Service(served, self._project.plan.folder, children=self._children, say=self._say)

    def _start_simulation(self, old: Service | Simulation | None, served: Served) -> Simulation:
        if old is not None:
            old.stop()
        folder = Path(mkdtemp(dir=self._scratch))
        manifest = write_configuration(folder, served.store, served.config, served.backends)
        self._say("viceroy serves a copy of the data, which is forgotten at the end")
        return Simulation(Path(served.component), manifest, served.port or free_port(0), children=self._children)

    def stop(self) -> None:
        """End the services that are up."""
        for service in self._up:
            service.stop()
        self._app = self._own = None

    def look(self, changed: frozenset[Path]) -> None:
        """See to what changed, and whether the service is up."""
        seed, folder = self._project.seed, self._project.plan.folder
        if any(path.parts[0] == MIGRATIONS for path in changed) or is_among(seed, folder, changed):
            self.migrate()
        sources = {
            path for path in changed if path.suffix in SOURCES and path.parts[0] not in (MIGRATIONS, "bin", "pkg")
        }
        if sources and self._project.reloads:
            self._build_again()
        for service in self._up:
            if (code := service.child.code) is not None:
                raise Unavailable(f"the service {ending_words(code)}")

    def _build_again(self) -> None:
        try:
            built = build_changed(self._project.plan, self._say)
            if built.is_new or (built.app is not None and built.app.is_new):
                self.serve(built)
                self._say("serves the new build")
        except VirkeError as error:
            tell_error(error, self._say)


class Service:
    """A component that answers, in a process of its own."""

    def __init__(self, served: Served, folder: Path, *, children: Children, say: Say) -> None:
        """Start it and wait until it answers. Raises `Unavailable` with what it said: it did not."""
        self.child = _start_server(served, folder, children)
        self._say = say
        try:
            line = self.child.said.readline()
            if not line.startswith(READY):
                said = (line + self.child.said.read()).strip().removeprefix("error: ")
                raise Unavailable(f"the service {ending_words(self.child.wait())}: {said}")
        except BaseException:
            self.child.stop()
            raise
        self.url = line.removeprefix(READY).strip()
        self._listening = threading.Thread(target=self._pass_output_on, daemon=True)
        self._listening.start()

    def _pass_output_on(self) -> None:
        for line in self.child.said:
            self._say(line.rstrip())

    def stop(self) -> None:
        """End it, and hear what it says last."""
        self.child.stop()
        self._listening.join()
        self.child.said.close()


def compile_ahead(served: Served, folder: Path, children: Children) -> None:
    """Let the component be compiled into the cache. Raises `Invalid` with what was said: it can't be."""
    child = _start_server(
        Served(served.component, served.store, None, served.config, served.backends), folder, children
    )
    try:
        said, code = child.said.read(), child.wait()
        child.said.close()
    finally:
        child.stop()
    if code:
        raise Invalid(f"the component can't be served: {said.strip().removeprefix('error: ') or ending_words(code)}")


def _start_server(served: Served, folder: Path, children: Children) -> Child:
    command = [sys.executable, "-P", "-m", "virke.project.edge_server", served.text]
    environ = {name: value for name, value in os.environ.items() if name != NODE_VARIABLE}
    return children.start(command, folder, environ, heard=True)


def tell_error(error: VirkeError, say: Say) -> None:
    """Say an error, with what it knows besides."""
    if traceback := error.context.get("traceback"):
        say(str(traceback))
    say(f"error: {error.message}")
    if hint := error.context.get("hint"):
        say(f"hint: {hint}")
