"""S3 servers from PyPI: SeaweedFS and moto. Both honour conditional PUT; each is started with one empty bucket.

SeaweedFS can also be killed and started again, with what it stored.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

import obstore
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.servers.running import HOST, Server, accepts, running, script, served

BUCKET: Final = "bucket"
ACCESS_KEY: Final = "virke-test"
SECRET_KEY: Final = "virke-test-secret"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
"""What the environment of a client needs."""
READY: Final = "ready"
"""An object that is there while the server starts."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: `endpoint` is its base URL."""

    name: str
    endpoint: str

    def url(self, prefix: str = "", **options: str) -> str:
        """The store URL of a prefix of the bucket."""
        return f"s3://{BUCKET}/{prefix}?{urlencode({'endpoint': self.endpoint, **options}, safe=':/')}"


Users = Mapping[str, tuple[str, str]]
"""Names of users, each with an access key and its secret."""


@contextmanager
def seaweedfs(users: Users = MappingProxyType({})) -> Iterator[S3Server]:
    """SeaweedFS: master, volume server, filer and S3 gateway in one process. Its `users` may do what a policy says."""
    with stoppable_seaweedfs(users) as (server, _):
        yield server


@contextmanager
def stoppable_seaweedfs(users: Users = MappingProxyType({})) -> Iterator[tuple[S3Server, Server]]:
    """SeaweedFS, and the process behind it."""
    command = partial(_seaweedfs_command, users)
    with served(command, 8, ready=lambda ports: _takes_objects(_endpoint(ports))) as process:
        yield S3Server("SeaweedFS", _endpoint(process.ports)), process


def put_policy(server: S3Server, policy: object) -> None:
    """Make a policy the bucket's, as its owner. A user's ARN in it is `arn:aws:iam::000000000000:user/NAME`."""
    request = AWSRequest("PUT", f"{server.endpoint}/{BUCKET}?policy=", data=json.dumps(policy).encode())
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(request)
    sent = request.prepare()
    urllib.request.urlopen(urllib.request.Request(sent.url, sent.body, dict(sent.headers), method="PUT")).close()


def _seaweedfs_command(users: Users, ports: list[int], folder: Path) -> Sequence[str]:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": may}
        for name, key, secret, may in (
            ("test", ACCESS_KEY, SECRET_KEY, actions),
            *((name, *keys, []) for name, keys in users.items()),
        )
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
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
        "-master.electionTimeout=200ms",  # it is alone, and a started one waits that long
        "-master.heartbeatInterval=50ms",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=64",
        "-volume.preStopSeconds=0",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


def _endpoint(ports: list[int]) -> str:
    return f"http://{HOST}:{ports[-1]}"


def _takes_objects(endpoint: str) -> bool:
    """Whether an object can be stored and read; the bucket is made with the first one."""
    if not _answers(f"{endpoint}/status"):
        return False
    client = S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True, "timeout": "5s"},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(client, READY, b"yes", use_multipart=False)
        found = bytes(obstore.get(client, READY).bytes())
        obstore.delete(client, READY)
    except (BaseError, FileNotFoundError):
        return False
    return found == b"yes"


@contextmanager
def moto() -> Iterator[S3Server]:
    """Moto's server, everything in memory, one request at a time (`moto_server`)."""

    def command(ports: list[int], folder: Path) -> Sequence[str]:
        return [sys.executable, str(Path(__file__).with_name("moto_server.py")), HOST, str(ports[0])]

    with running(command, 1, ready=lambda ports: accepts(ports[0])) as ports:
        endpoint = f"http://{HOST}:{ports[0]}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
        yield S3Server("moto", endpoint)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
