"""The package that is uploaded: its digests, as Fastly gives them, and how it is sent.

1. Two packages are the same if their files are: `files_hash` is what Fastly computes of them, in the order of their names. Of a service that
   has none, the digest of the whole file is compared.
"""

from __future__ import annotations

import hashlib
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

from virke.edge.deploying.account import Body
from virke.errors import Invalid, TooLarge, UsageError
from virke.lazy_dataclasses import dataclass

PACKAGE_BYTES_MAX: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Package:
    """The bytes of a package, and what Fastly says of the same."""

    name: str
    data: bytes = field(repr=False)
    hashsum: str
    files_hash: str

    def is_same(self, metadata: Mapping[str, object]) -> bool:
        """Whether a package of which Fastly says this is the same (rule 1)."""
        files = metadata.get("files_hash")
        return files == self.files_hash if files else metadata.get("hashsum") == self.hashsum

    def body(self) -> Body:
        """What is sent to upload it."""
        boundary = secrets.token_hex(24)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="package"; filename="package.tar.gz"\r\n'
            "Content-Type: application/gzip\r\n\r\n"
        )
        data = b"".join((head.encode(), self.data, f"\r\n--{boundary}--\r\n".encode()))
        size = f"{len(self.data)} bytes" if self.data else "not built yet"
        return Body(f"multipart/form-data; boundary={boundary}", data, f"{self.name} ({size})")


def read_package(path: Path) -> Package:
    """Read a package. Raises `UsageError`: it is not there. `Invalid`: it is not one. `TooLarge`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}", hint="virke build makes the package") from error
    if len(data) > PACKAGE_BYTES_MAX:
        raise TooLarge(f"{path} has {len(data)} bytes, and Fastly takes packages of {PACKAGE_BYTES_MAX}")
    return Package(path.name, data, hashlib.sha512(data).hexdigest(), _files_hash(path))


def _files_hash(path: Path) -> str:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                if file is not None:
                    contents[entry.name] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Invalid(f"{path} is not a package: {error}", hint="virke build makes the package") from error
    if not any(name.endswith("/bin/main.wasm") for name in contents):
        raise Invalid(
            f"{path} is not a package: there is no NAME/bin/main.wasm in it", hint="virke build makes the package"
        )
    found = hashlib.sha512()
    for name in sorted(contents):
        found.update(contents[name])
    return found.hexdigest()
