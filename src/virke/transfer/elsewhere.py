"""Imports into and exports from a database of which another process has the pages: bytes go there, and come from there.

Knows files; knows no connection and no protocol. What is in a file is found out where the pages are, except for what only this
machine can see.

1. A SQLite file is sent as a checked copy of it, with the log next to it folded in: the file alone may not be its database.
2. A file appears complete or not at all, as with an embedded database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as with_changes
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from virke.transfer.dump import Part
from virke.transfer.ending import Under
from virke.transfer.form import Form
from virke.transfer.image import take_in
from virke.transfer.sniff import Kind, sniff_kind
from virke.transfer.source import CHUNK_BYTES, Progress, Source

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.transfer.importing import Imported
    from virke.transfer.scratch import Scratch


@runtime_checkable
class Elsewhere(Protocol):
    """A database that takes files in and gives them out by itself."""

    def import_parts(
        self, parts: Iterator[bytes], *, name: str, table: str | None, replace: bool, kind: str | None, form: Form
    ) -> Imported:
        """Import what the parts are, as one commit; `name` is what messages call it. Raises as `import_file`."""

    def export_parts(self, *, format: str, part: Part, at: At | None) -> Iterator[bytes]:
        """The bytes of an export. Raises as `export_file`, at once or when they are asked for."""


def send_file(
    database: Elsewhere,
    source: Source,
    scratch: Scratch,
    now_ms: int,
    *,
    table: str | None,
    replace: bool,
    kind: Kind | None,
    form: Form,
    progress: Progress,
    under: Under,
) -> Imported:
    """Import a file there. Raises as `import_file`."""
    sniffed = sniff_kind(source.head(), source.name, table=table is not None, kind=kind, encoding=form.encoding)
    parts = source.chunks()
    if sniffed.kind is Kind.IMAGE and table is None:
        take_in(source, scratch, now_ms, progress)
        parts = _chunks_of(scratch)
    done = database.import_parts(
        _reported_parts(parts, source, progress, under),
        name=source.name,
        table=table,
        replace=replace,
        kind=None if kind is None else kind.value,
        form=form,
    )
    return with_changes(done, bytes=source.size)


def _chunks_of(scratch: Scratch) -> Iterator[bytes]:
    with scratch.path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield data


def _reported_parts(parts: Iterator[bytes], source: Source, progress: Progress, under: Under) -> Iterator[bytes]:
    """The parts; a node that has not got the last of them imports nothing."""
    done = 0
    for part in parts:
        yield part
        done += len(part)
        progress(done, max(done, source.size))
    under.is_sent = True
