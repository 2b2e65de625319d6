"""The files of a migrations folder: their names and texts.

Reads the folder, changes nothing; knows no rule of what is in it, except that its files end in `.sql`.
"""

from __future__ import annotations

from pathlib import Path

from virke.errors import Invalid, NotFound


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
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".sql" and p.name[0] != "." and p.is_file())
    except OSError as error:
        raise Invalid(f"can't read {error.filename or folder}: {error.strerror}") from error
    return {path.name: _text(path) for path in paths}


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise Invalid(f"can't read {path}: {error.strerror}") from error
