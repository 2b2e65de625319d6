"""Stores that are really far, or behave so: SeaweedFS as it is, and behind a proxy that adds a delay to each request."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.servers.s3 import CREDENTIALS, S3Server, seaweedfs
from virke.stores.opening import CACHE_OFF, CACHE_VARIABLE

_numbers = count(1)


@contextmanager
def s3() -> Iterator[S3Server]:
    """SeaweedFS, with credentials in the environment and no cache on disk: every opening is cold."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="virke-bench-home-") as home, seaweedfs() as server:
        os.environ.update(CREDENTIALS, **{CACHE_VARIABLE: CACHE_OFF, "HOME": home})
        try:
            yield server
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def delayed(server: S3Server, delay_ms: int) -> Iterator[S3Server]:
    """The same server, each request `delay_ms` later, by a proxy in a process of its own; without a delay, itself."""
    if not delay_ms:
        yield server
        return
    command = [sys.executable, "-m", "tests.servers.proxy", server.endpoint, str(delay_ms / 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield S3Server(f"{server.name} +{delay_ms} ms", process.stdout.readline().strip())
        finally:
            process.kill()


def prefix() -> str:
    """A place in the bucket that nobody used before."""
    return f"bench/{os.getpid()}-{next(_numbers)}"
