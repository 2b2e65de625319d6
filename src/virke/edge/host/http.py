"""The interfaces of HTTP: bodies, requests and responses as the guest makes and reads them, and its next request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

from virke.edge.host.exchange import Body, Headers, Request
from virke.edge.host.kv import Pending
from virke.edge.host.sandbox import Sandbox
from virke.edge.host.values import Case, Err, HostFunction, Ok, Pollable, Resource, Trap

UNSUPPORTED: Final = Err(Case("unsupported"))


class Head(Resource):
    """What requests and responses share: headers as bytes, in order, names in lower case."""

    def __init__(self, headers: Headers = ()) -> None:
        self.headers = [(name.lower(), value.encode("latin-1", "replace")) for name, value in headers]

    def values(self, name: str) -> list[bytes]:
        """All values of one header."""
        return [value for known, value in self.headers if known == name.lower()]

    def set(self, name: str, values: Iterable[bytes]) -> None:
        """Replace one header."""
        self.headers = [(known, value) for known, value in self.headers if known != name.lower()]
        self.headers += [(name.lower(), value) for value in values]

    @property
    def text(self) -> list[tuple[str, str]]:
        """The headers for callers outside the guest."""
        return [(name, value.decode("latin-1")) for name, value in self.headers]


class HttpRequest(Head):
    """A request: the one that came, or one that goes to a backend."""

    kind = "http-req/request"

    def __init__(self, request: Request | None = None) -> None:
        super().__init__(() if request is None else request.headers)
        self.method = "GET" if request is None else request.method
        self.uri = "" if request is None else request.url
        self.client = None if request is None else request.client


class HttpResponse(Head):
    """A response: the one that is sent, or a backend's."""

    kind = "http-resp/response"

    def __init__(self, status: int = 200, headers: Headers = ()) -> None:
        super().__init__(headers)
        self.status = status


def incoming_request(request: Request) -> tuple[HttpRequest, Body]:
    """A request as the guest gets it."""
    if isinstance(request.body, bytes):
        return HttpRequest(request), Body(request.body)
    return HttpRequest(request), _Fed(request.body)


class _Fed(Body):
    """A body that the guest still produces, part by part."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        super().__init__()
        self._parts = iter(parts)

    def read(self, most: int) -> bytes:
        """Up to `most` bytes; asks for the next part when there are none."""
        while not self.is_closed and not self._chunks:
            part = next(self._parts, None)
            if part is None:
                self.close()
            else:
                self.write(part)
        return super().read(most)


def _if_it_fits(value: bytes | str | None, most: int) -> Ok | Err:
    size = len(value.encode() if isinstance(value, str) else value or b"")
    return Err(Case("buffer-len", size)) if size > most else Ok(value)


def _listed_page(parts: list[bytes], most: int, cursor: int) -> tuple[bytes, int | None] | Err:
    """As many `parts` from `cursor` on as fit, each with a NUL behind it, and where to go on."""
    taken, size = cursor, 0
    while taken < len(parts) and size + len(parts[taken]) + 1 <= most:
        size += len(parts[taken]) + 1
        taken += 1
    if taken == cursor < len(parts):
        return Err(Case("buffer-len", len(parts[cursor]) + 1))
    return b"".join(part + b"\0" for part in parts[cursor:taken]), taken if taken < len(parts) else None


def _header_names(_box: Sandbox, head: Head, most: int, cursor: int) -> Ok | Err:
    found = _listed_page([name.encode() for name in dict.fromkeys(name for name, _ in head.headers)], most, cursor)
    return found if isinstance(found, Err) else Ok((found[0].decode(), found[1]))


def _header_values(_box: Sandbox, head: Head, name: str, *page: int) -> Ok | Err:
    found = _listed_page(head.values(name), *page)
    return found if isinstance(found, Err) else Ok(found)


def _changing_function(change: Callable[..., None]) -> HostFunction:
    def call(_box: Sandbox, *args: object) -> Ok:
        change(*args)
        return Ok()

    return call


def head_functions(resource: str) -> dict[str, HostFunction]:
    """The functions that requests and responses share."""

    def value(_box: Sandbox, head: Head, name: str, most: int) -> Ok | Err:
        found = head.values(name)
        return Ok(None) if not found else _if_it_fits(found[0], most)

    functions: dict[str, HostFunction] = {
        "get-header-names": _header_names,
        "get-header-values": _header_values,
        "get-header-value": value,
        "set-header-values": _changing_function(lambda head, name, values: head.set(name, values.split(b"\0")[:-1])),
        "insert-header": _changing_function(lambda head, name, value: head.set(name, [value])),
        "append-header": _changing_function(lambda head, name, value: head.headers.append((name.lower(), value))),
        "remove-header": _changing_function(lambda head, name: head.set(name, [])),
        "get-version": lambda _box, _head: Ok("http11"),
        "set-version": _changing_function(lambda _head, _version: None),
        "set-framing-headers-mode": _changing_function(lambda _head, _mode: None),
    }
    return {f"[method]{resource}.{name}": function for name, function in functions.items()}


def request_functions() -> dict[str, HostFunction]:
    """`http-req` without what sends."""
    return {
        **head_functions("request"),
        "[static]request.new": lambda _box: Ok(HttpRequest()),
        "[method]request.get-method": lambda _box, request, most: _if_it_fits(request.method, most),
        "[method]request.set-method": _changing_function(lambda request, method: setattr(request, "method", method)),
        "[method]request.get-uri": lambda _box, request, most: _if_it_fits(request.uri, most),
        "[method]request.set-uri": _changing_function(lambda request, uri: setattr(request, "uri", uri)),
        "[method]request.set-cache-override": _changing_function(lambda _request, _override: None),
        "[method]request.set-auto-decompress-response": _changing_function(lambda _request, _encodings: None),
        "close": _changing_function(lambda _request: None),
    }


def response_functions() -> dict[str, HostFunction]:
    """`http-resp`."""

    def send(box: Sandbox, response: HttpResponse, body: Body) -> Ok:
        body.close()
        box.answer(response.status, response.text, body)
        return Ok()

    def send_streaming(box: Sandbox, response: HttpResponse, body: Body) -> Ok:
        box.answer(response.status, response.text, body)
        return Ok()

    return {
        **head_functions("response"),
        "[static]response.new": lambda _box: Ok(HttpResponse()),
        "[method]response.get-status": lambda _box, response: Ok(response.status),
        "[method]response.set-status": _changing_function(lambda response, status: setattr(response, "status", status)),
        "[method]response.set-http-keepalive-mode": _changing_function(lambda _response, _mode: None),
        "[method]response.get-remote-ip-addr": lambda _box, _response: None,
        "[method]response.get-remote-port": lambda _box, _response: None,
        "send-downstream": send,
        "send-downstream-streaming": send_streaming,
        "close": _changing_function(lambda _response: None),
    }


def body_functions() -> dict[str, HostFunction]:
    """`http-body`."""

    def write(_box: Sandbox, body: Body, data: bytes) -> Ok:
        body.write(data)
        return Ok(len(data))

    def close(box: Sandbox, body: Body) -> Ok:
        body.close()
        box.body_closed(body)
        return Ok()

    def append(_box: Sandbox, body: Body, source: Body) -> Ok:
        source.close()
        for chunk in source.chunks():
            body.write(chunk)
        return Ok()

    return {
        "new": lambda _box: Ok(Body()),
        "read": lambda _box, body, most: Ok(body.read(most)),
        "write": write,
        "write-front": _changing_function(lambda body, data: body.write(data, front=True)),
        "append": append,
        "close": close,
        "get-known-length": lambda _box, body: body.known_length,
        "append-trailer": lambda _box, _body, _name, _value: UNSUPPORTED,
        "get-trailer-names": lambda _box, _body, _most, _cursor: Ok(("", None)),
        "get-trailer-value": lambda _box, _body, _name, _most: Ok(None),
        "get-trailer-values": lambda _box, _body, _name, _most, _cursor: Ok((b"", None)),
    }


class _Next(Pollable):
    """A request that may come."""

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s


def downstream_functions() -> dict[str, HostFunction]:
    """`http-downstream`: the next request, and what is known of the one who sent it."""

    def start(_box: Sandbox, options: dict[str, object]) -> Ok:
        timeout_ms = options["timeout-ms"]
        return Ok(_Next(timeout_ms / 1000 if isinstance(timeout_ms, int) else None))

    def wait(box: Sandbox, pending: _Next) -> Ok:
        found = box.next_request(pending.timeout_s)
        return Ok(None if found is None else incoming_request(found))

    def client(_box: Sandbox, request: HttpRequest) -> Case | None:
        if request.client is None:
            return None
        address = ip_address(request.client)
        parts = tuple(address.packed)
        if address.version == 6:
            parts = tuple(int.from_bytes(address.packed[at : at + 2], "big") for at in range(0, 16, 2))
        return Case("some", Case(f"ipv{address.version}", parts))

    return {
        "next-request": start,
        "await-request": wait,
        "downstream-client-ip-addr": client,
        "downstream-server-ip-addr": lambda _box, _request: None,
        "downstream-original-header-names": _header_names,
        "downstream-original-header-count": lambda _box, request: Ok(len(request.headers)),
        "downstream-tls-protocol": lambda _box, _request, _most: Ok(None),
        "downstream-tls-cipher-openssl-name": lambda _box, _request, _most: Ok(None),
        "downstream-tls-client-servername": lambda _box, _request, _most: Ok(None),
        "downstream-client-request-id": lambda box, _request, _most: Ok(f"{box.number}-{box.requests}"),
    }


def async_io() -> dict[str, HostFunction]:
    """`async-io`: what is ready."""

    def ready(_box: Sandbox, pollable: Pollable) -> bool:
        return pollable.is_ready if isinstance(pollable, Body | Pending) else True

    def select(_box: Sandbox, handles: list[Pollable]) -> int:
        found = [n for n, one in enumerate(handles) if ready(_box, one)]
        if found:
            return found[0]
        pending = [(one.ready_s, n) for n, one in enumerate(handles) if isinstance(one, Pending)]
        if not pending:
            raise Trap("select on bodies that nobody writes")
        return min(pending)[1]

    return {
        "[method]pollable.is-ready": ready,
        "[static]pollable.new-ready": lambda _box: Pollable(),
        "select": select,
    }
