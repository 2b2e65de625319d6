"""`virke db import` and `export`: a whole database from and to a file."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO, cast

import click

from virke.cli.state import AT_HELP, State, counted_noun, fit_for, global_options, pass_state
from virke.cli.target import open_database
from virke.cli.terminal import showing_progress
from virke.errors import NotFound, UsageError

TYPES = ("infer", "text")


class _Terminal(io.RawIOBase):
    """Standard output as a stream of UTF-8, when it is a terminal: what would act on it is shown instead."""

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        assert isinstance(data, bytes), "exports write bytes"
        sys.stdout.write(fit_for(sys.stdout, data.decode()))
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


@click.command(name="import")
@click.argument("file")
@click.option("--table", metavar="NAME", help="The table that a CSV or JSON file goes into.")
@click.option("--replace", is_flag=True, help="Let a SQLite file replace all that is in the database.")
@click.option("--encoding", metavar="NAME", help="The encoding of its text. [default: UTF-8, or UTF-16 with its mark]")
@click.option("--no-header", is_flag=True, help="The first record of a CSV file is data too.")
@click.option(
    "--types", type=click.Choice(TYPES), help="Make numbers of columns of numbers, or nothing. [default: infer]"
)
@global_options
@pass_state
def import_(
    state: State,
    file: str,
    *,
    table: str | None,
    replace: bool,
    encoding: str | None,
    no_header: bool,
    types: str | None,
) -> None:
    """Import a SQL dump, a SQLite file, or CSV or JSON into a table.

    What FILE is shows its content; '-' reads standard input. All of it is one commit: on any error, nothing has
    changed.
    """
    path = Path(file)
    if file != "-" and not os.path.lexists(file):
        raise NotFound(f"no such file: {file}")
    start = time.perf_counter()
    with open_database(state) as database, showing_progress(state, f"Importing {path.name}", in_bytes=True) as report:
        from virke.transfer import import_file

        source = sys.stdin.buffer if file == "-" else path
        done = import_file(
            database,
            source,
            table=table,
            replace=replace,
            encoding=encoding,
            header=not no_header,
            types=types or TYPES[0],
            progress=report,
        )
    elapsed_s = time.perf_counter() - start
    for warning in done.warnings:
        state.note(f"warning: {warning}")
    if state.json:
        state.data(
            {
                "kind": done.kind,
                "statements": done.statements,
                "rows": done.rows,
                "bytes": done.bytes,
                "version": done.version,
                "warnings": list(done.warnings),
                "elapsed_ms": round(elapsed_s * 1000, 3),
            }
        )
        return
    counts = {"statement": done.statements, "row": done.rows, "byte": done.bytes}
    what = ", ".join(counted_noun(number, noun) for noun, number in counts.items() if number)
    state.result(f"imported {file} ({done.kind}): {what}, version {done.version}, {elapsed_s:.2f} s")


@click.command()
@click.argument("file")
@click.option(
    "--format", "form", type=click.Choice(["sql", "sqlite", "csv", "ndjson"]), help="[default: by FILE's name]"
)
@click.option("--table", metavar="NAME", help="Only this table.")
@click.option("--schema-only", is_flag=True, help="As SQL, without rows.")
@click.option("--data-only", is_flag=True, help="As SQL, the rows alone.")
@click.option("--at", metavar="VERSION|TIME", help=f"Export an earlier state. {AT_HELP}")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@global_options
@pass_state
def export(
    state: State,
    file: str,
    *,
    form: str | None,
    table: str | None,
    schema_only: bool,
    data_only: bool,
    at: str | None,
    force: bool,
) -> None:
    """Export the database as SQL or as a SQLite file, or one table as SQL, CSV or NDJSON.

    FILE ends in .sql, .sqlite, .db, .csv or .ndjson, and after it in .gz to be compressed; '-' writes to standard output.
    """
    target: str | Path | BinaryIO = "-" if file == "-" else Path(file)
    if file == "-" and sys.stdout.isatty():
        if form == "sqlite":
            raise UsageError("a SQLite file is nothing for a terminal: name a FILE, or redirect the output")
        target = cast(BinaryIO, _Terminal())
    with open_database(state) as database, showing_progress(state, f"Exporting {file}", in_bytes=True) as report:
        from virke.transfer import export_file

        done = export_file(
            database,
            target,
            format=form,
            table=table,
            schema_only=schema_only,
            data_only=data_only,
            force=force,
            progress=report,
            at=at,
        )
    if file == "-":
        return
    if state.json:
        state.data({"path": str(done.path), "format": done.format, "bytes": done.bytes})
    else:
        state.result(f"exported {done.path} ({done.format}): {counted_noun(done.bytes, 'byte')}")
