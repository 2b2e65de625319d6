"""S3 servers from PyPI: SeaweedFS and moto. Both honour conditional PUT; each is started with one empty bucket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from tests.servers.running import HOST, accepts, running, script

BUCKET: Final = "bucket"
ACCESS_KEY: Final = "virke-test"
SECRET_KEY: Final = "virke-test-secret"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
"""What the environment of a client needs."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: `endpoint` is its base URL."""

    name: str
    endpoint: str

    def url(self, prefix: str = "", **options: str) -> str:
        """The store URL of a prefix of the bucket."""
        return f"s3://{BUCKET}/{prefix}?{urlencode({'endpoint': self.endpoint, **options})}"


@contextmanager
def seaweedfs() -> Iterator[S3Server]:
    """SeaweedFS: master, volume server, filer and S3 gateway in one process."""

    def command(ports: list[int], folder: Path) -> Sequence[str]:
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"identities": [{"name": "test", "credentials": keys, "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(identity))
        names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in (".grpc", "")]
        return [
            script("weed"),
            "server",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-dir={folder}",
            "-s3",
            f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=64",
            "-volume.preStopSeconds=0",
            *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        ]

    with running(command, 8, ready=lambda ports: _answers(ports[-1], "/status")) as ports:
        yield S3Server("SeaweedFS", f"http://{HOST}:{ports[-1]}")


@contextmanager
def moto() -> Iterator[S3Server]:
    """Moto's server, everything in memory."""

    def command(ports: list[int], folder: Path) -> Sequence[str]:
        return [script("moto_server"), "-H", HOST, "-p", str(ports[0])]

    with running(command, 1, ready=lambda ports: accepts(ports[0])) as ports:
        endpoint = f"http://{HOST}:{ports[0]}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
        yield S3Server("moto", endpoint)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
