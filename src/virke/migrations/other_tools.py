"""Migrations as other tools name and write them, made into Virke's: `NNN_name.sql` and `NNN_name.undo.sql`.

Pure except for the names in a folder. What can't be run as its own tool runs it is refused before anything runs, by the tool's name.

1. golang-migrate: `NNN_name.up.sql` is the migration, `NNN_name.down.sql` takes it back.
2. dbmate (`-- migrate:up`, `-- migrate:down`), goose (`-- +goose Up`) and sql-migrate (`-- +migrate Up`) have both in one file, below
   lines of comment; what stands above the first belongs to neither.
3. Prisma and Drizzle 1: a folder `NNN_name` with `migration.sql`, and perhaps `down.sql`.
4. All of them, and Supabase, Rails and Atlas, may number by time: such numbers have gaps (`plan`). Drizzle's and D1's are Virke's own form.
5. Migrations that are programs (Alembic, Django, Knex …) are refused, and Flyway's names, which are not numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from virke.errors import Invalid

IN_FOLDERS: Final = {"migration.sql": ".sql", "down.sql": ".undo.sql"}
_UP_OR_DOWN: Final = re.compile(r"(.+)\.(up|down)\.sql", re.IGNORECASE | re.DOTALL).fullmatch
_ENDS: Final = {"up": ".sql", "down": ".undo.sql"}
_MARK: Final = re.compile(
    r"^[ \t]*--[ \t]*(?:(?P<dbmate>migrate:)|\+(?P<tool>goose|migrate)[ \t]+)(?P<part>up|down)\b(?P<rest>[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_NO_TRANSACTION: Final = re.compile(
    r"^[ \t]*--[ \t]*(?:migrate:(?:up|down)\b[^\n]*transaction:false|\+goose[ \t]+NO[ \t]+TRANSACTION|\+migrate\b[^\n]*notransaction)",
    re.IGNORECASE | re.MULTILINE,
)
_FLYWAY: Final = re.compile(r"[VUR][\d._]*__.+\.sql").fullmatch
_PROGRAMS: Final = {
    ".py": "Python (Alembic, Django)",
    ".js": "JavaScript (Knex, Sequelize)",
    ".cjs": "JavaScript",
    ".mjs": "JavaScript",
    ".ts": "TypeScript (TypeORM, Kysely)",
    ".rb": "Ruby (Rails)",
    ".php": "PHP (Laravel)",
    ".go": "Go",
}


def in_own_form(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts by the names that Virke gives them.

    Raises:
        Invalid: a file says something that Virke does not do, two files become one, or a name is Flyway's.
    """
    found: dict[str, str] = {}
    for name, text in sorted(texts.items()):
        if _FLYWAY(name):
            raise Invalid(f"{name} is named as Flyway does: call it 001_name.sql, with the next number for each")
        for own, sql in _parts_of_file(name, text).items():
            if own in found:
                raise Invalid(f"there are two texts for {own}; one of them is in {name}")
            found[own] = sql
    return found


def _parts_of_file(name: str, text: str) -> dict[str, str]:
    """What a file holds: the migration, and perhaps what undoes it."""
    if named := _UP_OR_DOWN(name):
        return {named[1] + _ENDS[named[2].lower()]: text}
    marks = list(_MARK.finditer(text))
    if not marks or name.lower().endswith(".undo.sql"):
        return {name: text}
    tool = "dbmate" if marks[0]["dbmate"] else {"goose": "goose", "migrate": "sql-migrate"}[marks[0]["tool"].lower()]
    if _NO_TRANSACTION.search(text):
        raise Invalid(
            f"{name} asks {tool} to run it without a transaction, and Virke runs each file as one: take that out of the "
            "line, if the file can run so"
        )
    if [mark["part"].lower() for mark in marks] not in (["up"], ["up", "down"]):
        raise Invalid(f"{name} is not a file of {tool}: it takes one part `up`, and perhaps one `down` below it")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    parts = [
        "\n" * text.count("\n", 0, mark.end()) + text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)
    ]
    stem = name.removesuffix(".sql")
    return {stem + end: part for end, part in zip((".sql", ".undo.sql"), parts, strict=False) if part.strip()} or {
        name: ""
    }


def check_for_programs(folder: Path) -> None:
    """Refuse a folder without SQL in which another tool keeps its programs.

    Raises:
        Invalid: it has such files; the message names the tool and the way out.
    """
    places = [folder, *(folder / name for name in ("versions",) if (folder / name).is_dir())]
    for path in sorted(path for place in places for path in place.iterdir()):
        if path.suffix in _PROGRAMS and path.stem != "__init__":
            raise Invalid(
                f"{folder} has migrations that are programs in {_PROGRAMS[path.suffix]}, like {path.name}, and no SQL: run them with "
                "their own tool on Virke's driver (docs/python.md, docs/javascript.md), or have it print SQL"
            )
