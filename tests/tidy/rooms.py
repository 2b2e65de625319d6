"""Rule 9: the map of `core/` and `engine/` in ARCHITECTURE.md names every room that is there, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.tidy.reading import SOURCE, Files

MAP: Final = "ARCHITECTURE.md"
HOUSES: Final = ("core", "engine")
_HOUSE: Final = re.compile(r"  (\w+)/ ")
_ROOMS: Final = re.compile(r"    ([\w/]+(?: [\w/]+)*)(?:  |$)")


def rooms(files: Files) -> list[str]:
    """Rule 9."""
    if MAP not in files:
        return []
    named = {house: dict[str, int]() for house in HOUSES}
    for line, house, room in _map(files[MAP]):
        if house in named:
            named[house].setdefault(room, line)
    found = []
    for house, there in named.items():
        built = {_room(path, house): path for path in files if path.startswith(f"{SOURCE}{house}/")}
        built.pop("__init__", None)
        found += [f"{path}:1: {MAP} does not name '{room}'" for room, path in built.items() if room not in there]
        found += [f"{MAP}:{line}: {house}/ has no '{room}'" for room, line in there.items() if room not in built]
    return found


def _room(path: str, house: str) -> str:
    """The module, or the folder, below `house` that a file is of."""
    return path.removeprefix(f"{SOURCE}{house}/").split("/")[0].removesuffix(".py")


def _map(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, house and room of each entry: houses are indented by two, their rooms by four; two spaces end the names."""
    house = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HOUSE.match(line):
            house = header[1]
        elif not line.startswith("    "):
            house = ""
        elif names := _ROOMS.match(line):
            yield from ((number, house, room.removesuffix("/")) for room in names[1].split())
