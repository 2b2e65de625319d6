"""`virke build`: the app as a component for Fastly Compute."""

from __future__ import annotations

import click

from virke.cli.state import State, global_options, pass_state, size
from virke.config import load


@click.command()
@global_options
@pass_state
def build(state: State) -> None:
    """Build the app, or the HTTP API, for Fastly Compute.

    Writes bin/main.wasm, and pkg/NAME.tar.gz, which Fastly takes. The app is [app] entry in virke.toml, else one of the usual
    files; without one, the component is the database's HTTP API. What did not change is not built again.
    """
    from virke.project.building import build as run
    from virke.project.building import plan_of

    plan = plan_of(load())
    built = run(plan, state.note)
    if state.json:
        state.data(
            {
                "program": str(built.program),
                "program_bytes": built.program.stat().st_size,
                "package": str(built.package),
                "package_bytes": built.package.stat().st_size,
                "entry": plan.app.name if plan.app else None,
                "built": built.is_new,
            }
        )
        return
    word = "wrote" if built.is_new else "up to date:"
    for path in (built.program, built.package):
        state.result(f"{word} {path.relative_to(plan.folder)} ({size(path.stat().st_size)})")
    if built.checked:
        state.note(built.checked)
