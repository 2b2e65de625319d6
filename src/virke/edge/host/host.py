"""The host: takes requests, gives each to an idle sandbox or to a new one, in as many threads as there are requests at once.

1. A sandbox takes one request at a time, and at most `reuse` of them (1: each request gets a new one, as on a cold start).
2. `call` answers as soon as the guest sends its answer; what the sandbox does afterwards goes on. `settle` waits for that.
3. A sandbox that ends in the middle takes its own request along and no other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from virke.config import cache_folder
from virke.edge.host.backends import Backend, backend_functions, sending_functions
from virke.edge.host.exchange import Headers, Request, Response
from virke.edge.host.faults import Faults, FaultyItems
from virke.edge.host.http import async_io, body_functions, downstream_functions, incoming_request, response_functions
from virke.edge.host.items import Items
from virke.edge.host.kv import kv_store
from virke.edge.host.sandbox import Sandbox, Taken
from virke.edge.host.stores import compute_runtime, config_store, log_functions, secret_store
from virke.edge.host.values import Counter, Interfaces
from virke.edge.host.wasm import Compiled

MEMORY_MIB: Final = 128
LINK: Final = "virke"
"""The name by which the guest knows its KV store, config store and secret store."""
IDLE_S: Final = 60.0
_STACK_BYTES: Final = 16 << 20


class Host:
    """A component at work. `kv`, `config` and `secrets` are the stores that are linked as `virke`; see `Linked` for others."""

    def __init__(
        self,
        component: bytes | Path,
        *,
        kv: Items | Mapping[str, Items],
        config: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        backends: Mapping[str, Backend] | None = None,
        faults: Faults | None = None,
        reuse: int = 1,
        memory_mib: int = MEMORY_MIB,
        fuel: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.faults = Faults() if faults is None else faults
        self.config = {} if config is None else config
        self.secrets = {} if secrets is None else secrets
        self.backends = {} if backends is None else backends
        self.reuse = reuse
        self.traps: list[str] = []
        """Why sandboxes ended, of those that did not end by themselves."""
        self._memory_bytes = memory_mib << 20
        stores = kv if isinstance(kv, Mapping) else {LINK: kv}
        self._kv = {name: FaultyItems(items, self.faults) for name, items in stores.items()}
        wasm = component if isinstance(component, bytes) else component.read_bytes()
        self._compiled = Compiled(wasm, self._all_interfaces(), cache=_code_cache(cache), fuel=fuel)
        self._numbers = Counter()
        self._changed = threading.Condition()
        self._idle: list[Sandbox] = []
        self._given: dict[int, Taken] = {}
        self._busy = 0
        self._alive = 0
        self._is_closed = False

    def _all_interfaces(self) -> Interfaces:
        return {
            "async-io": async_io(),
            "backend": backend_functions(self.backends),
            "compute-runtime": compute_runtime(),
            "config-store": config_store({LINK: self.config}),
            "http-body": body_functions(),
            "http-downstream": downstream_functions(),
            "http-req": sending_functions(self.backends, self.faults),
            "http-resp": response_functions(),
            "kv-store": kv_store(self._kv, self.faults),
            "log": log_functions(_to_stderr),
            "secret-store": secret_store({LINK: self.secrets}),
        }

    def call(self, request: Request, *, fresh: bool = False) -> Response:
        """The answer to one request; `fresh`: of a new sandbox. Its body may still be on its way."""
        taken = Taken(request)
        with self._changed:
            self._busy += 1
            if self._idle and not fresh:
                self._given[self._idle.pop().number] = taken
                self._changed.notify_all()
                start = False
            else:
                self._alive += 1
                start = True
        if start:
            self._start_sandbox(taken)
        return taken.wait()

    def request(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Response:
        """`call` for a path of this host."""
        return self.call(Request(method, f"http://edge.test{path}", (("host", "edge.test"), *headers), body))

    def settle(self) -> None:
        """Wait until no sandbox works."""
        with self._changed:
            while self._busy:
                self._changed.wait()

    def end_sandboxes(self) -> None:
        """Let all idle sandboxes go: the next request is a cold start."""
        with self._changed:
            self._idle.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Let all sandboxes go, and wait for them."""
        with self._changed:
            self._is_closed = True
            self._idle.clear()
            self._changed.notify_all()
            while self._alive:
                self._changed.wait()

    @property
    def sandboxes(self) -> int:
        """How many there are now."""
        with self._changed:
            return self._alive

    def _start_sandbox(self, taken: Taken) -> None:
        box = Sandbox(self._numbers.take(), self._compiled.open(memory_bytes=self._memory_bytes), self._next_request)

        def work() -> None:
            try:
                if why := box.run(taken, incoming_request):
                    self.traps.append(why)
            finally:
                with self._changed:
                    self._busy -= not box.is_idle
                    self._alive -= 1
                    self._changed.notify_all()

        threading.Thread(target=work, name=f"virke-edge-{box.number}", daemon=True).start()

    def _next_request(self, box: Sandbox, timeout_s: float | None) -> Taken | None:
        """A sandbox asks for another request."""
        with self._changed:
            self._busy -= 1
            box.is_idle = True
            self._changed.notify_all()
            if self._is_closed or box.requests >= self.reuse:
                return None
            self._idle.append(box)
            self._changed.wait_for(lambda: box not in self._idle, IDLE_S if timeout_s is None else timeout_s)
            if box in self._idle:
                self._idle.remove(box)
            taken = self._given.pop(box.number, None)
            box.is_idle = taken is None
            return taken


def _to_stderr(endpoint: str, line: bytes) -> None:
    print(f"{endpoint}: {line.decode(errors='replace')}", file=sys.stderr)


def _code_cache(asked: Path | None) -> Path | None:
    if asked is not None:
        return asked
    folder = cache_folder()
    return None if folder is None else folder / "edge"
