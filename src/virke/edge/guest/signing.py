"""Signature version 4 of S3, with the standard library: what a request to object storage proves its sender by.

Pure. Knows requests without a query, whose body is not signed (its bytes are checked by whoever reads them again).

1. The key that signs is derived once a day for each secret.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
ALGORITHM: Final = "AWS4-HMAC-SHA256"
DAYS_KEPT: Final = 4


def path_of(*parts: str) -> str:
    """A path as it is signed, and has to be sent."""
    return "/" + quote("/".join(part for part in parts if part), safe="/-_.~")


def signed_headers(
    method: str,
    host: str,
    path: str,
    *,
    headers: Mapping[str, str],
    region: str,
    key_id: str,
    secret: str,
    now_s: float,
) -> dict[str, str]:
    """All headers of a request, its signature included. `headers` are further ones, with names in lower case."""
    now = time.gmtime(now_s)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    day = stamp[:8]
    every = {"host": host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": stamp, **headers}
    names = sorted(every)
    listed = ";".join(names)
    canonical = "\n".join(
        [method, path, "", *(f"{name}:{every[name].strip()}" for name in names), "", listed, UNSIGNED]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.digest(_signing_key(secret, day, region), text.encode(), "sha256").hex()
    every["authorization"] = f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={listed}, Signature={signature}"
    return every


@lru_cache(DAYS_KEPT)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
