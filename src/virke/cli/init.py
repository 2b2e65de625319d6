"""`virke init`: a new project."""

from __future__ import annotations

from pathlib import Path

import click

from virke.cli.state import State, global_options, pass_state
from virke.errors import UsageError


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--hono", is_flag=True, help="A TypeScript program with Hono, for Node.")
@click.option("--python", is_flag=True, help="A Python program that needs nothing else. [default]")
@click.option("--fastapi", is_flag=True, help="A Python program with FastAPI.")
@click.option("--edge", is_flag=True, help="A database with its HTTP API at the edge, and no program.")
@click.option("--name", metavar="NAME", help="The project; its database is NAME-db. [default: the folder's name]")
@global_options
@pass_state
def init(
    state: State, *, folder: Path | None, hono: bool, python: bool, fastapi: bool, edge: bool, name: str | None
) -> None:
    """Write a new project into FOLDER, or into the current folder.

    It is a program that runs, with a database and its first migration. In a folder that has files already, only virke.toml
    is written, unless an option names a program. A file that is there is never touched.
    """
    kinds = {"hono": hono, "python": python, "fastapi": fastapi, "edge": edge}
    asked = [kind for kind, is_asked in kinds.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(f"--{' and --'.join(asked)} exclude each other")
    from virke.project.init import BARE, database_of, kind_for, project_name, write_project

    place = Path.cwd() / (folder or "")
    kind = asked[0] if asked else kind_for(place)
    project = project_name(place, name)
    written = write_project(place, kind, project)
    database = database_of(project)
    if state.json:
        names = {"path": str(place / "virke.toml"), "project": project, "database": database}
        state.data(names | {"kind": kind, "files": written})
        return
    shown = "" if folder is None else f"{folder}/"
    state.result(f"wrote {shown}virke.toml: project {project}, database {database}")
    if kind == BARE:
        return
    state.result(f"wrote {', '.join(shown + path for path in written[1:])}")
    state.note(f"next: {f'cd {folder} && ' if folder else ''}virke dev{' --edge' if kind == 'edge' else ''}")
