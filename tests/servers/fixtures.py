"""The servers as fixtures of a whole test run: each starts when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import s3, valkey


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[s3.S3Server]:
    with s3.seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[s3.S3Server]:
    with s3.moto() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[valkey.ValkeyServer]:
    with valkey.valkey() as server:
        yield server
