"""`virke db query`, `execute` and `schema`: SQL in, rows or counts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from virke.cli import dot_commands, flowing, render
from virke.cli.caret import attaching_source
from virke.cli.parameters import bind_values
from virke.cli.receipts import counting_costs, meta_json
from virke.cli.state import AT_HELP, State, counted_noun, fit_for, global_options, pass_state
from virke.cli.target import open_database
from virke.cli.terminal import showing_busy
from virke.errors import Invalid, TooLarge, UsageError

if TYPE_CHECKING:
    from virke.engine.results import QueryResult

SCRIPT_BYTES_MAX: Final = 64 << 20
_PARAMETER = click.option(
    "-p",
    "--param",
    "values",
    multiple=True,
    metavar="VALUE",
    help="A parameter: 12, 1.5, null, true, x'00ff', or text; text:VALUE forces text; NAME=VALUE for a named one.",
)


_META = click.option("--meta", is_flag=True, help="Say what the command cost: requests, bytes, pages, time.")


@click.command()
@click.argument("sql", required=False)
@_PARAMETER
@click.option("--format", "form", type=click.Choice(render.FORMATS), help="How to print the rows. [default: table]")
@click.option("--csv", "form", flag_value="csv", help="As CSV.")
@click.option("--ndjson", "form", flag_value="ndjson", help="As one JSON object for each row.")
@click.option("--markdown", "form", flag_value="markdown", help="As a Markdown table.")
@click.option("--at", metavar="VERSION|TIME", help=f"Read an earlier state. {AT_HELP}")
@_META
@global_options
@pass_state
def query(
    state: State, sql: str | None, values: tuple[str, ...], *, form: str | None, at: str | None, meta: bool
) -> None:
    """Run one statement and print its rows.

    On a terminal, without SQL, this is virke shell.
    """
    if sql is None:
        if values or form or at or meta or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.MissingParameter(param_type="argument", param_hint="'SQL'", ctx=click.get_current_context())
        from virke.cli.shell import open_shell

        return open_shell(state)
    if state.json and form not in (None, "json"):
        raise UsageError(f"--json and {form} contradict each other")
    dot_commands.check_is_sql(sql)
    form = "json" if state.json else form or "table"
    params = bind_values(values, _names_in(sql) if values else [])
    with attaching_source(sql), counting_costs(state, meta) as charge, open_database(state) as database:
        if form != "table" and not meta and at is None and flowing.show_query_rows(database, (sql, params), form):
            return None
        with flowing.hinting_forms(form), showing_busy(state, "Running the statement"):
            result = charge(lambda counts: database.query(sql, params, meta=counts, at=at))
    show_rows(result, form)
    return None


def _names_in(sql: str) -> list[str]:
    """The named parameters of `sql`."""
    from virke.migrations.tokens import parameter_names

    return parameter_names(sql)


def show_rows(result: QueryResult, form: str) -> None:
    """Print the rows of a result to stdout, line by line."""
    rest = {
        "rows_affected": result.rows_affected,
        "last_insert_rowid": render.json_of(result.last_insert_rowid),
        "version": result.version,
        "bookmark": result.bookmark,
        **meta_json(result),
    }
    flowing.write_lines(flowing.lines_of_result(form, result.columns, result.rows, rest))


@click.command()
@click.argument("sql", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Read the SQL from this file.")
@_PARAMETER
@_META
@global_options
@pass_state
def execute(state: State, sql: str | None, path: Path | None, *, values: tuple[str, ...], meta: bool) -> None:
    """Run statements that write, as one transaction.

    SQL may hold several statements, divided by ';'; the rows of each are printed. With '-' it is read from standard input.
    """
    from virke.cli.script import script_of

    text = _sql_text(sql, path)
    if path is None:
        dot_commands.check_is_sql(text)
    script = script_of(text, str(path) if path else None)
    params = bind_values(values, _names_in(text) if values else [])
    results: list[QueryResult] = []

    def run(counts: bool) -> QueryResult:
        results[:] = script.run(database, params, meta=counts)
        return results[-1]

    with counting_costs(state, meta) as charge, open_database(state) as database:
        start = time.perf_counter()
        with showing_busy(state, "Running the statements"):
            results[-1:] = [charge(run)]
        elapsed_ms = (time.perf_counter() - start) * 1000
        pending = database.status(history=False).pending_writes > 0
    _show_results(state, results, pending=pending, elapsed_ms=elapsed_ms)


def _show_results(state: State, results: Sequence[QueryResult], *, pending: bool, elapsed_ms: float) -> None:
    """Print what each statement answered, and what all of them did."""
    last = results[-1]
    affected = sum(result.rows_affected for result in results)
    if state.json:
        shown = next((result for result in reversed(results) if result.columns), last)
        each = [
            {
                "columns": list(result.columns),
                "rows": [[render.json_of(value) for value in row] for row in result.rows],
                "rows_affected": result.rows_affected,
            }
            for result in results
        ]
        rest = {
            "rows_affected": affected,
            "last_insert_rowid": render.json_of(last.last_insert_rowid),
            "version": last.version,
            "bookmark": last.bookmark,
            "pending": pending,
            "elapsed_ms": round(elapsed_ms, 3),
            **({"results": each} if len(results) > 1 else {}),
            **meta_json(last),
        }
        flowing.write_lines(render.json_lines(shown.columns, shown.rows, rest))
        return
    with_rows = [result for result in results if result.columns]
    for number, result in enumerate(with_rows):
        if number:
            click.echo()
        show_rows(result, "table")
    where = "pending here ('virke db flush' pushes it)" if pending else f"version {last.version}"
    state.result(f"{counted_noun(affected, 'row')} affected, {where}, {elapsed_ms:.1f} ms")


def _sql_text(sql: str | None, path: Path | None) -> str:
    """The SQL of the argument, of standard input or of a file: exactly one of them.

    Raises:
        UsageError: none or two of them are given.
        NotFound: there is no such file.
        Invalid: it is not UTF-8, or is not a file that can be read. TooLarge: it is longer than `SCRIPT_BYTES_MAX`.
    """
    if (sql is None) == (path is None):
        raise UsageError("give the SQL as an argument, '-' for standard input, or --file FILE: one of the three")
    if path is None and sql != "-":
        return sql or ""
    name = "standard input" if path is None else str(path)
    if path is None:
        data = sys.stdin.buffer.read(SCRIPT_BYTES_MAX + 1)
    else:
        from virke.transfer.source import open_input

        with open_input(path) as file:
            data = file.read(SCRIPT_BYTES_MAX + 1)
    if len(data) > SCRIPT_BYTES_MAX:
        raise TooLarge(f"{name} is longer than {SCRIPT_BYTES_MAX >> 20} MiB: 'virke db import' takes SQL of any length")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from error


@click.command()
@click.argument("table", required=False)
@global_options
@pass_state
def schema(state: State, table: str | None) -> None:
    """Print the CREATE statements.

    They are in an order in which they can be run again. With TABLE: those of one table, its indexes and triggers.
    """
    with open_database(state) as database:
        entries = database.schema(table)
    if state.json:
        found = [{"type": e.type, "name": e.name, "table": e.table, "sql": e.sql} for e in entries]
        state.data({"schema": found})
        return
    for entry in entries:
        click.echo(fit_for(sys.stdout, f"{entry.sql};"))
