"""`virke doctor`: proves or refuses a store.

Knows how verdicts are printed; `virke.doctor` knows what is tried, and what it means.

1. The exit code is 0 for a store that is fit, 1 for one that is refused, 3 for one of which nothing is proved yet.
2. Every check is one row; what it means is below it unless all is well, and always with `--explain`.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from virke.cli import render
from virke.cli.state import State, colour_on, counted_noun, global_options, pass_state, printable_text
from virke.cli.target import own_store_of
from virke.cli.terminal import showing_progress
from virke.errors import NotFound

if TYPE_CHECKING:
    from virke.doctor import Report

EXIT_REFUSED: Final = 1
EXIT_UNPROVED: Final = 3
_COLUMNS: Final = ("check", "verdict", "found")
_WIDTH: Final = 100
_FOUND_MIN: Final = 30
_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "yellow"}


@click.command()
@click.option("--large", is_flag=True, help="Try the largest object that the store takes, too.")
@click.option("--explain", is_flag=True, help="Say of every check what it means.")
@global_options
@pass_state
def doctor(state: State, large: bool, explain: bool) -> None:
    """Prove that a store keeps what Virke needs, or refuse it.

    Tries every promise on the store itself, many writers at once among them, under keys of its own that are removed
    afterwards. Databases are not touched.
    """
    store = own_store_of(
        state, "doctor tries a store itself", "run it where the node runs, with the store that the node serves"
    )
    from virke.doctor import examine, silent
    from virke.opening import open_store

    opened = open_store(store, cached=False)
    try:
        with showing_progress(state, "Examining", in_bytes=False) as bar:
            report = examine(opened, large=large, progress=bar or silent)
    except NotFound as error:
        if not opened.url.startswith("file:"):
            raise
        where = f" --store {state.store}" if state.store else ""
        raise NotFound(f"{error.message} (with: virke db create NAME{where})") from error
    if state.json:
        state.data(_json_of_report(report))
    else:
        for line in _lines_of_report(report, explain=explain):
            click.echo(line)
    if not report.is_fit:
        click.get_current_context().exit(EXIT_REFUSED if report.is_refused else EXIT_UNPROVED)


def _json_of_report(report: Report) -> dict[str, object]:
    return {
        "store": report.store,
        "fit": report.is_fit,
        "checks": [
            {"name": one.name, "status": one.status.value, "found": one.found, "means": one.means}
            for one in report.checks
        ],
        "latencies": [
            {
                "name": one.name,
                "count": one.count,
                "median_ms": round(one.median_ms, 3),
                "worst_ms": round(one.worst_ms, 3),
            }
            for one in report.latencies
        ],
        "calls": report.calls,
        "elapsed_ms": round(report.elapsed_s * 1000, 3),
    }


def _lines_of_report(report: Report, *, explain: bool) -> Iterator[str]:
    """Checks, latencies, and the last line, which says it all."""
    rows = [*_rows_of_checks(report, explain=explain)]
    coloured = colour_on(sys.stdout)
    lines = render.table(_COLUMNS, [row for _, row in rows])
    yield from (next(lines), next(lines))
    for line, (status, _) in zip(lines, rows, strict=True):
        if coloured and status:
            line = line.replace(render.GAP + status, render.GAP + click.style(status, fg=_COLOURS[status]), 1)
        yield line
    yield ""
    if report.latencies:
        yield from render.table(["latency", "median, ms", "worst, ms"], [*_latency_rows(report)])
        yield ""
    yield printable_text(f"{report.store}: {_concluding_line(report)}")


def _rows_of_checks(report: Report, *, explain: bool) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Status and cells of each line of the table; the status is empty on a line that continues one."""
    name_width = max(len(one.name) for one in report.checks)
    total = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
    width = max(total - name_width - len("skipped") - 2 * len(render.GAP), _FOUND_MIN)
    for one in report.checks:
        first, *more = textwrap.wrap(printable_text(" ".join(one.found.split())), width) or [""]
        yield one.status.value, (one.name, one.status.value, first)
        if explain or one.status.value != "ok":
            more += textwrap.wrap(one.means, width, initial_indent="  ", subsequent_indent="  ")
        yield from (("", ("", "", line)) for line in more)


def _latency_rows(report: Report) -> Iterator[tuple[str, str, str]]:
    for one in report.latencies:
        yield one.name, f"{one.median_ms:10,.2f}", f"{one.worst_ms:9,.2f}"


def _concluding_line(report: Report) -> str:
    from virke.doctor import Status

    cost = (
        f"{counted_noun(len(report.checks), 'check')}, {counted_noun(report.calls, 'call')}, {report.elapsed_s:.1f} s"
    )
    if report.is_refused:
        return f"not fit for Virke: {', '.join(report.named(Status.FAIL))} ({cost})"
    if not report.is_fit:
        return f"not proved: {', '.join(report.named(Status.SKIPPED))} could not be finished ({cost})"
    warned = report.named(Status.WARN)
    warnings = f", with a warning: {', '.join(warned)}" if warned else ""
    return f"fit for Virke{warnings} ({cost})"
