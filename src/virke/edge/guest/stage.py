"""A host that is only played: what the host's calls do while the component is built, where there is no host to ask.

Knows the calls that the guest makes, and keeps what they carry in memory; knows no store, no route and no database.

1. Only inside `played` do the calls lead here. After it each is the host's again.
2. What a call would be refused here is an error that ends the build: a rehearsal that goes wrong is never in an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from wit_world.imports import (
    backend,
    compute_runtime,
    config_store,
    http_body,
    http_req,
    http_resp,
    kv_store,
    secret_store,
)

HEADER_END: Final = b"\0"


class Handle:
    """What is released at the end of a block."""

    def __enter__(self) -> Any:
        """Itself."""
        return self

    def __exit__(self, *ending: object) -> None:
        """Nothing is held."""


class Body(Handle):
    """A body, written at its end and read from its beginning."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.at = 0


class Entry(Handle):
    """An item that was found."""

    def __init__(self, data: bytes, number: int) -> None:
        self._data = data
        self._number = number

    def generation(self) -> int:
        """Which write it is of."""
        return self._number

    def take_body(self) -> Body:
        """Its bytes."""
        return Body(self._data)


class Asked(Handle):
    """A request: one that comes in, or one to a backend."""

    def __init__(self, method: str = "GET", path: str = "/", headers: Mapping[str, str] | None = None) -> None:
        self.method, self.uri = method, f"https://virke.example{path}"
        self.headers = dict(headers or {})

    def get_method(self, max_len: int) -> str:
        """How it asks."""
        del max_len
        return self.method

    def get_uri(self, max_len: int) -> str:
        """What it asks for."""
        del max_len
        return self.uri

    def get_header_values(self, name: str, max_len: int, cursor: int) -> tuple[bytes, int | None]:
        """The values of one header."""
        del max_len, cursor
        value = self.headers.get(name)
        return (b"" if value is None else value.encode() + HEADER_END), None

    def set_method(self, method: str) -> None:
        """How it asks."""
        self.method = method

    def set_uri(self, uri: str) -> None:
        """What it asks for."""
        self.uri = uri

    def insert_header(self, name: str, value: bytes) -> None:
        """One header."""
        self.headers[name] = value.decode()

    def set_cache_override(self, override: object) -> None:
        """There is no cache."""


class Said(Handle):
    """A response: one that goes out, or one of a backend."""

    def __init__(self, status: int = 200) -> None:
        self.status = status

    def set_status(self, status: int) -> None:
        """What became of it."""
        self.status = status

    def get_status(self) -> int:
        """What became of it."""
        return self.status

    def append_header(self, name: str, value: bytes) -> None:
        """They are not read."""


class Stage:
    """Items of a KV store, objects behind a backend, the texts of a Config Store, and the last response."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self.config = config
        self.items: dict[str, tuple[bytes, int]] = {}
        self.objects: dict[str, bytes] = {}
        self.status = 0
        self.answer = b""
        self._writes = 0

    def lookup(self, key: str) -> Entry | None:
        """An item."""
        found = self.items.get(key)
        return None if found is None else Entry(*found)

    def insert(self, key: str, body: Body, base: int | None) -> None:
        """Write an item: over that generation, or where nothing is."""
        found = self.items.get(key)
        assert base == (None if found is None else found[1]), f"nobody else writes {key}"
        self._writes += 1
        self.items[key] = (body.data, self._writes)

    def delete(self, key: str) -> None:
        """Remove an item."""
        self.items.pop(key, None)

    def ask(self, request: Asked, body: Body) -> tuple[Said, Body]:
        """What object storage answers."""
        if request.method == "PUT":
            self.objects[request.uri] = body.data
            return Said(), Body()
        data, asked = self.objects[request.uri], request.headers.get("range")
        if asked is None:
            return Said(), Body(data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return Said(206), Body(data[int(first) : int(last) + 1 if last else None])

    def send(self, head: Said, body: Body) -> None:
        """The response to a request."""
        self.status, self.answer = head.status, body.data


def _read_body(body: Body, size: int) -> bytes:
    chunk = body.data[body.at : body.at + size]
    body.at += len(chunk)
    return chunk


def _write_body(body: Body, data: bytes) -> int:
    body.data += data
    return len(data)


def _store_on_stage(stage: Stage) -> type:
    """The KV store, on that stage."""

    class Store(Handle):
        @classmethod
        def open(cls, name: str) -> Store:
            del name
            return cls()

        def lookup_async(self, key: str) -> Entry | None:
            return stage.lookup(key)

        def insert_async(self, key: str, body: Body, options: kv_store.InsertOptions) -> None:
            stage.insert(key, body, vars(options)["if_generation_match"])

        def delete_async(self, key: str) -> None:
            stage.delete(key)

    return Store


def _store_of_texts(texts: Mapping[str, str]) -> type:
    """A Config Store or a Secret Store with these."""

    class Text(Handle):
        def __init__(self, text: str) -> None:
            self._text = text

        def plaintext(self, max_len: int) -> bytes:
            del max_len
            return self._text.encode()

    class Store(Handle):
        @classmethod
        def open(cls, name: str) -> Store:
            del name
            return cls()

        def get(self, key: str, *max_len: int) -> str | Text | None:
            text = texts.get(key)
            return text if max_len or text is None else Text(text)

    return Store


def _replaced_calls(stage: Stage) -> Iterator[tuple[Any, str, Any]]:
    """Each call that leads elsewhere: of what, its name, and where to."""
    yield kv_store, "Store", _store_on_stage(stage)
    yield kv_store, "await_lookup", lambda handle: handle
    yield kv_store, "await_insert", lambda _handle: None
    yield kv_store, "await_delete", lambda _handle: True
    yield config_store, "Store", _store_of_texts(stage.config)
    yield secret_store, "Store", _store_of_texts(stage.config)
    yield http_body, "new", Body
    yield http_body, "read", _read_body
    yield http_body, "write", _write_body
    yield http_body, "close", lambda _body: None
    yield http_body, "get_known_length", lambda body: len(body.data)
    yield http_req.Request, "new", staticmethod(Asked)
    yield http_req, "send_async", lambda request, body, _backend: stage.ask(request, body)
    yield http_req, "send_async_uncached", lambda request, body, _backend: stage.ask(request, body)
    yield http_req, "await_response", lambda handle: handle
    yield http_resp.Response, "new", staticmethod(Said)
    yield http_resp, "send_downstream", stage.send
    yield backend.Backend, "open", staticmethod(lambda name: name)
    yield compute_runtime, "get_vcpu_ms", lambda: 0


@contextmanager
def play_on_stage(stage: Stage) -> Iterator[None]:
    """Meanwhile the host's calls lead to that stage (invariant 1)."""
    replaced = [(place, name, vars(place)[name]) for place, name, _ in _replaced_calls(stage)]
    try:
        for place, name, call in _replaced_calls(stage):
            setattr(place, name, call)
        yield
    finally:
        for place, name, call in replaced:
            setattr(place, name, call)
