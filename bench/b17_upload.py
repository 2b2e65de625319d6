"""B17 (`UPLOAD`): a SQLite file into object storage, against plain parallel uploads by the same client, on SeaweedFS.

Plain are two: the file as it is, in parts of 8 MB, and the objects that the import made of it, which are less than half of that. All
take turns; what each has written is deleted before the next one begins.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import far
from bench.data import write_catalogue
from bench.opening import NAME
from bench.report import Figure
from virke.core.effects import Tier
from virke.engine.volume import PART_BYTES_MAX
from virke.opening import connect, open_store
from virke.stores.base import Blobs, Range
from virke.transfer import import_file

MEGABYTES: Final = 200
TURNS: Final = 3
LINES: Final = (0, 25)
SHARE_LEAST: Final = 0.7


def imported(store: str, path: Path) -> None:
    """The file, as a new database."""
    with connect(NAME, store, create=True, background=False) as database:
        import_file(database, path)


def objects_of(store: str) -> list[bytes]:
    """What an import left in the store."""
    with connect(NAME, store, background=False) as database:
        keys = [key for ref in database.snapshot().root.segments for key in ref.keys]
    answers = open_store(store).blobs[Tier.OBJECT].get([Range(key) for key in keys])
    return [data for data in answers if isinstance(data, bytes)]


def _uploaded(blobs: Blobs, parts: list[bytes]) -> None:
    blobs.put_all([(f"plain/{number}", part) for number, part in enumerate(parts)])


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _turn(url: str, path: Path, parts: list[bytes]) -> tuple[float, float, float, int]:
    """Seconds of the import, of the file and of the objects; bytes of the objects."""
    ours = _seconds(lambda: imported(url, path))
    made = objects_of(url)
    blobs = open_store(url).blobs[Tier.OBJECT]
    times = []
    for plain in (parts, made):
        times.append(_seconds(lambda plain=plain: _uploaded(blobs, plain)))  # type: ignore[misc]
        blobs.delete([item.key for item in blobs.list("plain/")])
    blobs.delete([item.key for item in blobs.list("seg/")])
    return ours, times[0], times[1], sum(map(len, made))


def run() -> list[Figure]:
    """On loopback and 25 ms away; medians."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as folder, far.s3() as server:
        path = Path(folder, "catalogue.sqlite")
        write_catalogue(path, MEGABYTES)
        image = path.read_bytes()
        parts = [image[at : at + PART_BYTES_MAX] for at in range(0, len(image), PART_BYTES_MAX)]
        for delay_ms in LINES:
            with far.distant(server, delay_ms) as place:
                turns = [_turn(place.url(far.prefix()), path, parts) for _ in range(TURNS)]
            ours, plain, same = (statistics.median(times) for times in list(zip(*turns, strict=True))[:3])
            encoded = turns[0][3]
            what = f"a .sqlite of {len(image) / 1e6:.0f} MB into object storage, {delay_ms} ms a request"
            figures += [
                Figure("B17", f"{what}: rate of a plain parallel upload's", plain / ours, "×", at_least=SHARE_LEAST),
                Figure("B17", f"{what}: of one of the {encoded / 1e6:.0f} MB that it makes of it", same / ours, "×"),
                Figure("B17", f"{what}: imported", len(image) / 1e6 / ours, "MB/s"),
            ]
    return figures
