"""`virke build`: the app as a component for Fastly Compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virke.cli.state import State, global_options, pass_state, size_text
from virke.config import MIGRATIONS, load_config

if TYPE_CHECKING:
    from virke.project.building import Built


@click.command()
@global_options
@pass_state
def build(state: State) -> None:
    """Build the app, or the HTTP API, for Fastly Compute.

    Writes bin/main.wasm, and pkg/NAME.tar.gz, which Fastly takes. The app is [app] entry in virke.toml, else one of the usual
    files; without one, the component is the database's HTTP API. An app of JavaScript is a program of its own, bin/app.wasm, and
    the component is the database that it asks. The seed, [edge] seed, is tried on the migrations. What did not change is not built again.
    """
    from virke.project.building import build_changed as run
    from virke.project.building import plan_of
    from virke.project.seed import rehearse_new, seed_of

    config = load_config()
    plan, seed = plan_of(config), seed_of(config)
    if seed is not None:
        folder = config.folder / MIGRATIONS
        rehearse_new(seed, folder if folder.is_dir() else ())
    built = run(plan, state.note)
    every = [built] if built.app is None else [built, built.app]
    if state.json:
        own = {"entry": plan.entry.name if plan.entry else None, "seed": seed.name if seed else None}
        state.data(own | _json_of_build(built) | ({} if built.app is None else {"app": _json_of_build(built.app)}))
        return
    for one in every:
        word = "wrote" if one.is_new else "up to date:"
        for path in (one.program, one.package):
            state.result(f"{word} {path.relative_to(plan.folder)} ({size_text(path.stat().st_size)})")
    if seed is not None:
        state.note(f"{seed.name} fits the migrations; a new database gets it by virke dev --edge and virke deploy")
    if checked := next((one.checked for one in every if one.checked), ""):
        state.note(checked)


def _json_of_build(built: Built) -> dict[str, object]:
    return {
        "program": str(built.program),
        "program_bytes": built.program.stat().st_size,
        "package": str(built.package),
        "package_bytes": built.package.stat().st_size,
        "built": built.is_new,
    }
