"""The model that Virke replaces, as a Fastly component: the standard library's SQLite, the whole image each way.

It is built in the place of Virke's own entry (bench/b11_edge.py), and is given what helps it: no tokens, no limits, no checks,
one lookup a request, and a write without reading again.
"""

from __future__ import annotations

import json
import sqlite3

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import http_body, http_resp, kv_store
from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request

KEY = "image"
CHUNK = 1 << 20


def read_whole(body: Pollable) -> bytes:
    """All of a body."""
    chunks = []
    while chunk := http_body.read(body, CHUNK):
        chunks.append(chunk)
    return b"".join(chunks)


def answer(asked: bytes) -> bytes:
    """Run the statement once for each list of parameters, on the database as it is in the store."""
    question = json.loads(asked)
    store = kv_store.Store.open("virke")
    entry = kv_store.await_lookup(store.lookup_async(KEY))
    assert entry is not None
    with entry:
        generation, body = entry.generation(), entry.take_body()
        assert body is not None
        image = read_whole(body)
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA temp_store=MEMORY")
    database.deserialize(image)
    del image
    rows = [row for one in question["params"] for row in database.execute(question["sql"], one)]
    if question["writes"]:
        database.commit()
        changed = database.serialize()
        database.close()
        made = http_body.new()
        for at in range(0, len(changed), CHUNK):
            http_body.write(made, changed[at : at + CHUNK])
        options = kv_store.InsertOptions(
            background_fetch=False,
            if_generation_match=generation,
            metadata=None,
            time_to_live_sec=None,
            mode=kv_store.InsertMode.OVERWRITE,
            extra=None,
        )
        kv_store.await_insert(store.insert_async(KEY, made, options))
    return json.dumps({"rows": rows}).encode()


class HttpIncoming(exports.HttpIncoming):
    """One request a sandbox, as the model has it: the image is loaded for each."""

    def handle(self, request: Request, body: Pollable) -> None:
        """Answer the request."""
        with request:
            try:
                status, data = 200, answer(read_whole(body))
            except (Err, sqlite3.Error, AssertionError) as error:
                status, data = 500, repr(error).encode()
        response, out = http_resp.Response.new(), http_body.new()
        response.set_status(status)
        http_body.write(out, data)
        http_resp.send_downstream(response, out)
