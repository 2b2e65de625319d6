"""`virke deploy --target fastly`: what it prints.

1. In a dry run each call that would change something is a line; otherwise each line says what was done.
2. A token that was made is printed once; with `--json` it is a field, also next to an error that came after it.
"""

from __future__ import annotations

from virke.cli.group import error_body
from virke.cli.state import State
from virke.cli.target import close_after_output
from virke.config import database_name, load_config, memory_mb_of
from virke.edge.deploying.account import Call
from virke.errors import VirkeError
from virke.project.fastly import Done, Job, account_of, cron_line, deploy_to_fastly, job_of


def deploy_fastly(state: State, *, dry_run: bool) -> None:
    """Deploy the project. Raises as `deploy_to_fastly`."""
    config = load_config()
    name = database_name(config, state.db)
    done = Done("")

    def report(verb: str, what: str) -> None:
        if not state.json:
            state.result(f"{verb} {what}")

    def hear(call: Call) -> None:
        done.calls.append(call)
        if not state.json:
            state.result(f"would call {call}" if dry_run else call.does)

    job = job_of(config, name, state.store, token=state.token, memory_mb=memory_mb_of(config))
    try:
        deploy_to_fastly(job, account_of(config, hear, is_rehearsal=dry_run), done, report=report, say=state.note)
    except VirkeError as error:
        if state.json and done.calls:
            state.data(_json_of_deploy(name, job, done, dry_run=dry_run) | {"error": error_body(error)})
        raise
    if state.json:
        state.data(_json_of_deploy(name, job, done, dry_run=dry_run))
    else:
        _say_outcome(state, name, job, done, dry_run=dry_run)
    if done.deployed is not None and done.deployed.database is not None:
        close_after_output(state, done.deployed.database)


def _say_outcome(state: State, name: str, job: Job, done: Done, *, dry_run: bool) -> None:
    if dry_run:
        if not done.is_change:
            state.result(f"nothing to do: {name} and its service are up to date")
        return
    if not done.is_change:
        state.result("nothing to do: everything is as it should be")
    for service in done.services:
        state.result(f"{service.name} is at https://{service.domain}, version {service.version}")
    state.result(f"{name} is at {done.url}")
    state.note("keep it in shape with a line in a crontab, where FASTLY_API_TOKEN is set:")
    state.result(cron_line(job, done.url))


def _json_of_deploy(name: str, job: Job, done: Done, *, dry_run: bool) -> dict[str, object]:
    would = "would_" if dry_run else ""
    deployed = done.deployed
    found: dict[str, object] = {
        "database": name,
        "target": "fastly",
        "url": done.url,
        "services": [
            {
                "name": one.name,
                "id": one.service_id,
                "version": one.version,
                "url": f"https://{one.domain}",
                "activated": one.is_new,
            }
            for one in done.services
        ],
        f"{would}call" if dry_run else "calls": [
            {"method": call.method, "path": call.path, "does": call.does} for call in done.calls
        ],
        f"{would}create" if dry_run else "created": deployed is not None and deployed.is_new,
        f"{would}apply" if dry_run else "applied": []
        if deployed is None
        else [file.file_name for file in deployed.files],
        f"{would}import" if dry_run else "imported": None if deployed is None else deployed.seed,
        "version": None if deployed is None else deployed.version,
        "cron": cron_line(job, done.url) if done.url else None,
    }
    return found | ({"token": done.token} if done.token else {})
