"""A bucket whose objects are a store's object tier, as a backend of this process, and a host whose data are all of one store's.

So that a database that was promoted, by the command line or by the guest, is the same for both. Signatures are not asked for:
nothing but the guest reaches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from virke.core.effects import Absent, Lost, Tier
from virke.edge.host.backends import Answer, Backend
from virke.edge.host.exchange import Request
from virke.edge.host.faults import Faults
from virke.edge.host.host import Host
from virke.edge.host.items import StoreItems
from virke.errors import Corrupt, Exists, VirkeError
from virke.stores.base import Blobs, Range, Store

BACKEND: Final = "virke-objects"
BUCKET: Final = "store"
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class Bucket:
    """GET (also of a range), PUT of what is not there, DELETE."""

    def __init__(self, blobs: Blobs, name: str = BUCKET) -> None:
        self._blobs = blobs
        self._root = f"/{name}/"

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        path = unquote(urlsplit(request.url).path)
        if not path.startswith(self._root):
            return Answer(404)
        key = path.removeprefix(self._root)
        try:
            match request.method:
                case "GET":
                    return self._get_object(key, dict(request.headers).get("range"))
                case "PUT":
                    body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
                    return self._put_object(key, body, dict(request.headers))
                case "DELETE":
                    self._blobs.delete([key])
                    return Answer(204)
        except VirkeError as error:
            return Answer(503 if error.retryable else 400, body=error.message.encode())
        return Answer(405)

    def _get_object(self, key: str, asked: str | None) -> Answer:
        part = _RANGE.fullmatch(asked or "")
        if part is None:
            [data] = self._blobs.get([Range(key)])
            return Answer(404) if isinstance(data, Absent) else Answer(200, body=data)
        start = int(part[1])
        try:
            [data] = self._blobs.get([Range(key, start, int(part[2]) - start + 1 if part[2] else None)])
        except Corrupt:  # a range that ends behind the object's end is cut there; one that begins there is refused
            [data] = self._blobs.get([Range(key)])
            data = data if isinstance(data, Absent) else data[start:]
            if not data:
                return Answer(416)
        return Answer(404) if isinstance(data, Absent) else Answer(206, body=data)

    def _put_object(self, key: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if headers.get("if-none-match") != "*":
            return Answer(400, body=b"objects are never replaced")
        if not isinstance(self._blobs.get([Range(key, 0, 0)])[0], Absent):
            return Answer(412)
        try:
            return Answer(500 if isinstance(self._blobs.put_new(key, body), Lost) else 200)
        except Exists:
            return Answer(412)


def host_over(
    store: Store,
    component: bytes | Path,
    *,
    config: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    backends: Mapping[str, Backend] | None = None,
    faults: Faults | None = None,
    **options: object,
) -> Host:
    """A host whose KV store and bucket are those of `store`. `config` says the rest: `db`, `open`, `api`, `writes`."""
    every: dict[str, str] = {}
    linked: dict[str, Backend] = dict(backends or {})
    known = dict(secrets or {})
    if Tier.OBJECT in store.blobs:
        linked[BACKEND] = Bucket(store.blobs[Tier.OBJECT])
        place = {"backend": BACKEND, "host": "objects.test", "bucket": BUCKET, "region": "local", "prefix": ""}
        every["objects"] = json.dumps(place)
        known |= {"objects_key_id": "local", "objects_secret": "local"}
    return Host(
        component,
        kv=StoreItems(store),
        config=every | dict(config or {}),
        secrets=known,
        backends=linked,
        faults=faults,
        **options,  # type: ignore[arg-type]
    )
