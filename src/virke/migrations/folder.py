"""The files of a migrations folder: their names and texts.

Reads the folder, changes nothing; knows no rule of what is in it, except that its files end in `.sql`, or are in folders of a
migration each (`other_tools`).
"""

from __future__ import annotations

from pathlib import Path

from virke.errors import Invalid, NotFound
from virke.migrations.other_tools import IN_FOLDERS, check_for_programs


def read_folder(folder: Path) -> dict[str, str]:
    """The text of every `.sql` file by its name, hidden files left out.

    Raises:
        NotFound: there is no such folder. Invalid: a text is not UTF-8 or can't be read.
    """
    try:
        if not folder.is_dir():
            raise NotFound(
                f"no migrations folder {str(folder)!r}: make it and add 001_name.sql, or name one with --dir"
            )
        entries = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        paths = {path.name: path for path in entries if path.suffix.lower() == ".sql" and path.is_file()}
        for path in entries:
            if path.is_dir() and path.name[0].isdigit():
                paths |= {path.name + end: path / name for name, end in IN_FOLDERS.items() if (path / name).is_file()}
        if not paths:
            check_for_programs(folder)
    except OSError as error:
        raise Invalid(f"can't read {error.filename or folder}: {error.strerror}") from error
    return {name: _text_of_file(path) for name, path in paths.items()}


def _text_of_file(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise Invalid(f"can't read {path}: {error.strerror}") from error
