"""Importing a file: all of it is one commit, or nothing happened.

Knows the order of things: tell the kind → run the file on a working copy of the snapshot → commit what was written.

1. The database is touched once, by `commit_pages`; every error before that leaves it as it was.
2. A lost race starts again from the new snapshot, with the same instant, up to the setting `max_attempts`. From the
   second try on other writers wait for it, so that it gets through however busy they are (P15).
3. A file that changes nothing makes no version.
4. What a signal or a store that failed leaves is said (`ending`).
5. An SQLite file takes the place of the whole database, so a database that holds something needs `replace`.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace as with_changes
from os import PathLike
from typing import TYPE_CHECKING, BinaryIO, Protocol

from virke.engine.sqlite import Connection, Error, Guard, translate
from virke.errors import Conflict, Invalid
from virke.lazy_dataclasses import dataclass
from virke.transfer.csv_file import Layout
from virke.transfer.csv_table import load_csv
from virke.transfer.elsewhere import Elsewhere, send_file
from virke.transfer.ending import concluding_import
from virke.transfer.form import Form
from virke.transfer.image import take_in
from virke.transfer.json_table import load_json
from virke.transfer.scratch import Fingerprints, Scratch, scratch
from virke.transfer.sniff import Kind, Sniffed, kind_named, sniff_kind
from virke.transfer.source import Progress, Source, open_source, silent_progress
from virke.transfer.sql_dump import Loaded, load_sql
from virke.transfer.working import Working, working_copy

if TYPE_CHECKING:
    from virke.engine.long_writes import LongWrite
    from virke.engine.snapshot import Snapshot


class Target(Protocol):
    """The database that takes an import."""

    def long_write(self) -> LongWrite:
        """A write that is tried until it gets through."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: the kind of file, statements run, rows changed, the version after, bytes of the file, warnings."""

    kind: str
    statements: int
    rows: int
    version: int
    bytes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """One import, as often as it has to be tried."""

    source: Source
    sniffed: Sniffed
    table: str
    now_ms: int
    scratch: Scratch
    progress: Progress
    write: LongWrite
    form: Form
    also: str = ""


def import_file(
    database: Target,
    path: str | PathLike[str] | BinaryIO,
    *,
    table: str | None = None,
    replace: bool = False,
    kind: str | None = None,
    name: str | None = None,
    encoding: str | None = None,
    header: bool = True,
    types: str = "infer",
    also: str = "",
    progress: Progress | None = None,
) -> Imported:
    """Import an SQL dump, an SQLite file or, with `table`, CSV or JSON, as one commit, into an embedded database or a node's.

    They are distinguished by content, unless `kind` (`sql`, `sqlite`, `csv`, `ndjson`) says it; so is the `encoding` of text. Without `header`
    the first record of a table is data; `types` as `infer` makes numbers of columns that are all numbers, as `text` it leaves
    every value as it is written. A binary stream is kept in a file while it
    is read, up to a limit (docs/transfer.md); `name` is what messages call it. `progress` is called with bytes done and
    in total, stage by stage.

    Raises:
        NotFound: no such file. Invalid, Denied, TooLarge: the file can't be imported; the message says where and why.
        Conflict: others kept committing first. Unavailable: the store failed. In all these cases nothing was changed.
        OutcomeUnknown: it is not known whether the commit happened.
    """
    report, wanted = progress or silent_progress, None if kind is None else kind_named(kind)
    form = Form(encoding, header, types)
    with (
        scratch() as work,
        closing(open_source(path, work.folder, name=name)) as source,
        concluding_import(source.name) as under,
    ):
        if isinstance(database, Elsewhere):
            if also:
                raise Invalid("a node takes a file alone: no statement of this process runs with it")
            now_ms = time.time_ns() // 1_000_000
            return send_file(
                database,
                source,
                work,
                now_ms,
                table=table,
                replace=replace,
                kind=wanted,
                form=form,
                progress=report,
                under=under,
            )
        sniffed = sniff_kind(source.head(), source.name, table=table is not None, kind=wanted, encoding=encoding)
        _check_kind(sniffed, source.name, table=table, replace=replace, also=also)
        with database.long_write() as write:
            under.write = write

            def reported(done: int, total: int) -> None:
                write.renew_if_due()
                report(done, total)

            job = _Job(source, sniffed, table or "", time.time_ns() // 1_000_000, work, reported, write, form, also)
            for _ in range(write.settings().max_attempts - 1):
                try:
                    return _attempt_import(job, replace)
                except Conflict:
                    work.remove()
            return _attempt_import(job, replace)


def _check_kind(sniffed: Sniffed, name: str, *, table: str | None, replace: bool, also: str) -> None:
    """Raises `Invalid`: that kind of file does not go with what was asked for."""
    if sniffed.kind.is_table != (table is not None):
        raise Invalid(
            f"{name} is {_named_kind(sniffed.kind)}: say which table it is for (--table)"
            if table is None
            else f"--table is for CSV and JSON files; {name} is {_named_kind(sniffed.kind)}"
        )
    if table is not None and (not table.strip() or "\0" in table):
        raise Invalid(f"the table for {_named_kind(sniffed.kind)} needs a name")
    if also and sniffed.kind is Kind.IMAGE:
        raise Invalid("an SQLite file takes the place of all that is there: no statement runs with it")
    if replace and sniffed.kind is not Kind.IMAGE:
        raise Invalid(f"--replace is for SQLite files; {name} is {_named_kind(sniffed.kind)}")


def _named_kind(kind: Kind) -> str:
    names = {Kind.IMAGE: "an SQLite file", Kind.SQL: "SQL text", Kind.CSV: "a CSV file", Kind.JSON: "a JSON file"}
    return names[kind]


def _attempt_import(job: _Job, replace: bool) -> Imported:
    base = job.write.snapshot()
    if job.sniffed.kind is Kind.IMAGE:
        return _take_image(base, job, replace)
    known: Layout | None = None
    while True:
        with working_copy(base, job.scratch.folder, job.now_ms) as work:
            loaded = _load_file(work, job, known)
            if not isinstance(loaded, Loaded):
                known = loaded
                continue
            version = base.version
            if work.is_changed:
                size, count = work.shape()
                pages = work.changes(job.progress)
                version = job.write.commit_pages(base, page_size=size, page_count=count, pages=pages)
        return _import_result(job, loaded, version)


def _import_result(job: _Job, loaded: Loaded, version: int) -> Imported:
    return Imported(job.sniffed.kind.value, loaded.statements, loaded.rows, version, job.source.size, loaded.warnings)


def _take_image(base: Snapshot, job: _Job, replace: bool) -> Imported:
    if base.page_count and not replace:
        raise Invalid(
            "the database is not empty, and an SQLite file takes the place of all of it: "
            "import it into a new database, or replace this one (--replace)"
        )
    warnings = take_in(job.source, job.scratch, job.now_ms, job.progress)
    marks = Fingerprints(base)
    if job.scratch.shape()[0] == base.page_size:
        for number, data in base.pages():
            marks.note(number, data)
    size, count = job.scratch.shape()
    version = base.version
    same = count == base.page_count and all(marks.has(number, data) for number, data in job.scratch.changes(marks))
    if count and not same:
        pages = job.scratch.changes(marks, job.progress)
        version = job.write.commit_pages(base, page_size=size, page_count=count, pages=pages)
    return _import_result(job, Loaded(0, 0, warnings=warnings), version)


def _run_also(connection: Connection, guard: Guard, sql: str) -> None:
    try:
        connection.execute(sql).fetchall()
    except Error as error:
        raise translate(error, guard) from error


def _load_file(work: Working, job: _Job, known: Layout | None) -> Loaded | Layout:
    """Run the file on the working copy, as one transaction; a `Layout` (`known` the next time) if a new copy is needed."""
    source, encoding = job.source, job.sniffed.encoding
    with work.opened() as (connection, guard):
        connection.execute("BEGIN").fetchall()
        guard.allow_transactions = False
        guard.on_look = job.write.renew_if_due
        if job.also:
            _run_also(connection, guard, job.also)
        if job.sniffed.kind is Kind.CSV:
            form, report = job.form, job.progress
            done = load_csv(
                connection, guard, source, encoding=encoding, table=job.table, form=form, progress=report, known=known
            )
            if isinstance(done, Layout):
                return done
            loaded = done
        elif job.sniffed.kind is Kind.JSON:
            loaded = load_json(connection, guard, source, encoding=encoding, table=job.table, progress=job.progress)
        else:
            # SQLite takes any bytes as text, and so do dumps of databases in which such text is
            errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
            loaded = load_sql(connection, guard, source.text(encoding, job.progress, errors=errors))
        guard.allow_transactions = True
        try:
            connection.execute("COMMIT").fetchall()
        except Error as error:
            raise Invalid(f"{source.name}: {translate(error, guard).message}; nothing was changed") from error
    if loaded.wrote_schema:
        return with_changes(loaded, warnings=loaded.warnings + work.check(source.name))
    return loaded
