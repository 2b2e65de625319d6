"""The stores that promises are tried on: each a fresh, empty prefix or folder, as a URL.

A test takes the fixture `place` and runs on all of them, or chooses: `@on("seaweedfs")`. A further server is a
fixture that starts it, and one line here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.servers.s3 import CREDENTIALS, S3Server

Opener = Callable[[pytest.FixtureRequest, Path], str]


def fresh() -> str:
    """A prefix that nobody used before."""
    return f"place/{secrets.token_hex(8)}"


def _s3(fixture: str) -> Opener:
    def opener(request: pytest.FixtureRequest, folder: Path) -> str:
        server = request.getfixturevalue(fixture)
        assert isinstance(server, S3Server)
        return server.url(fresh())

    return opener


def _local(request: pytest.FixtureRequest, folder: Path) -> str:
    return f"local:{folder / 'store'}"


def _pair(kv: Opener, objects: Opener) -> Opener:
    return lambda request, folder: f"{kv(request, folder)},{objects(request, folder)}"


PLACES: Final[dict[str, Opener]] = {
    "local": _local,
    "seaweedfs": _s3("seaweedfs"),
    "moto": _s3("moto"),
    "local+seaweedfs": _pair(_local, _s3("seaweedfs")),
}
FAR: Final = ("seaweedfs", "moto")
"""Those that are reached over HTTP alone."""


def on(*names: str, slow: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Run a test with the fixture `place` on these places, and in the slow suite on those as well."""
    chosen = [*names, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]
    return pytest.mark.parametrize("place", chosen, indirect=True)


def be_a_client(home: Path, environ: pytest.MonkeyPatch) -> None:
    """An environment with the credentials of the servers, and nothing else of the machine or its user."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "VIRKE_", "XDG_")):
            environ.delenv(name)
    for name, value in {**CREDENTIALS, "HOME": str(home), "VIRKE_CACHE": "off"}.items():
        environ.setenv(name, value)
