"""A component that does what its request names, so that each host function is called the way a guest does. Runs inside."""

from __future__ import annotations

import json
from collections.abc import Callable

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import (
    backend,
    config_store,
    http_body,
    http_downstream,
    http_req,
    http_resp,
    kv_store,
    secret_store,
)
from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request


def whole(body: Pollable) -> bytes:
    chunks = []
    while chunk := http_body.read(body, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def name_of(error: Err[object]) -> str:
    return type(error.value).__name__


def echo(request: Request, body: bytes) -> object:
    names, more = request.get_header_names(4096, 0)
    values, _ = request.get_header_values("x-twice", 4096, 0)
    parts = names.split("\0")[:-1]
    return [request.get_method(16), request.get_uri(4096), sorted(parts), more, values.hex(), len(body), body[:4].hex()]


def pages(request: Request, _body: bytes) -> object:
    """Names of headers, as few at a time as fit."""
    found: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        names, cursor = request.get_header_names(20, cursor)
        found += names.split("\0")[:-1]
    try:
        request.get_header_values("x-long", 3, 0)
    except Err as error:
        return [sorted(found), name_of(error)]
    return "a value that is too long was cut"


def items(_request: Request, _body: bytes) -> object:
    """One swap on the right generation and one on an old one, a list, a delete."""
    store = kv_store.Store.open("virke")

    def insert(mode: kv_store.InsertMode, base: int | None) -> str:
        body = http_body.new()
        http_body.write(body, bytes(range(256)) * 1024)
        options = kv_store.InsertOptions(
            background_fetch=False,
            if_generation_match=base,
            metadata="note",
            time_to_live_sec=None,
            mode=mode,
            extra=None,
        )
        try:
            kv_store.await_insert(store.insert_async("register/a", body, options))
        except Err as error:
            return name_of(error)
        return "ok"

    said = [insert(kv_store.InsertMode.ADD, None), insert(kv_store.InsertMode.ADD, None)]
    entry = kv_store.await_lookup(store.lookup_async("register/a"))
    assert entry is not None
    base, taken = entry.generation(), entry.take_body()
    assert taken is not None
    data = whole(taken)
    said += [str(data == bytes(range(256)) * 1024), str(entry.take_body())]
    said += [insert(kv_store.InsertMode.OVERWRITE, base), insert(kv_store.InsertMode.OVERWRITE, base)]
    options = kv_store.ListOptions(mode=kv_store.ListMode.STRONG, cursor=None, limit=10, prefix="register/", extra=None)
    listed = json.loads(whole(kv_store.await_list(store.list_async(options))))
    gone = [
        kv_store.await_delete(store.delete_async("register/a")),
        kv_store.await_lookup(store.lookup_async("register/a")),
    ]
    return [said, listed["data"], gone]


def stores(_request: Request, _body: bytes) -> object:
    config = config_store.Store.open("virke")
    secret = secret_store.Store.open("virke").get("s")
    found: list[object] = [config.get("a", 10), config.get("b", 10)]
    found.append(None if secret is None else secret.plaintext(10).decode())
    for call in (
        lambda: config.get("a", 0),
        lambda: kv_store.Store.open("other"),
        lambda: backend.Backend.open("other"),
    ):
        try:
            call()
        except Err as error:
            found.append(getattr(error.value, "name", name_of(error)))
    return found


def sent(_request: Request, body: bytes) -> object:
    """A request to each backend, both under way at once."""
    pending = []
    for name in ("there", "gone"):
        request, content = http_req.Request.new(), http_body.new()
        request.set_method("POST")
        request.set_uri("https://some.test/path?q=1")
        request.insert_header("x-sent", b"1")
        http_body.write(content, body)
        pending.append(http_req.send_async_uncached(request, content, backend.Backend.open(name)))
    said: list[object] = []
    for handle in pending:
        try:
            response, answer = http_req.await_response(handle)
            said.append([response.get_status(), whole(answer).decode()])
        except Err as error:
            said.append(type(getattr(error.value, "detail", None)).__name__)
    return said


def trap(request: Request, _body: bytes) -> object:
    """What this host does not have."""
    return getattr(http_downstream, "fastly_key_is_valid")(request)  # noqa: B009 - no stub has what nobody should call


DOES: dict[str, Callable[[Request, bytes], object]] = {
    "echo": echo,
    "pages": pages,
    "items": items,
    "stores": stores,
    "sent": sent,
    "trap": trap,
}


class HttpIncoming(exports.HttpIncoming):
    def handle(self, request: Request, body: Pollable) -> None:
        what = request.get_uri(4096).split("/")[3].split("?")[0]
        response, out = http_resp.Response.new(), http_body.new()
        response.append_header("x-twice", b"1")
        response.append_header("x-twice", b"\xe4")
        if what == "stream":
            http_resp.send_downstream_streaming(response, out)
            for n in range(5):
                http_body.write(out, b"%d" % n * 1000)
            if "whole" in request.get_uri(4096):
                http_body.close(out)
            return
        data = json.dumps(DOES[what](request, whole(body))).encode()
        http_body.write(out, data)
        http_resp.send_downstream(response, out)
