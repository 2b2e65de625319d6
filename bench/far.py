"""Stores that are really far, or behave so: SeaweedFS as it is, and behind a proxy that is a slow line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.servers.s3 import CREDENTIALS, S3Server, seaweedfs
from virke.config import CACHE_OFF
from virke.stores.by_url import CACHE_VARIABLE

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
def distant(server: S3Server, delay_ms: int, mb_s: int = 0) -> Iterator[S3Server]:
    """The same server at the end of a line: each request `delay_ms` later, all answers together at most `mb_s`.

    The line is a proxy in a process of its own; without delay or limit there is none.
    """
    if not delay_ms and not mb_s:
        yield server
        return
    command = [sys.executable, "-m", "tests.servers.proxy", server.endpoint, str(delay_ms / 1000), str(mb_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield S3Server(f"{server.name} +{delay_ms} ms", process.stdout.readline().strip())
        finally:
            process.kill()


def prefix() -> str:
    """A place in the bucket that nobody used before."""
    return f"bench/{os.getpid()}-{next(_numbers)}"
