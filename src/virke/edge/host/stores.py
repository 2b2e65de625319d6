"""The small interfaces: config stores, secret stores, the runtime, logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from virke.edge.host.sandbox import Sandbox
from virke.edge.host.values import Case, Err, HostFunction, Ok, Resource
from virke.lazy_dataclasses import dataclass


@dataclass
class ConfigStore(Resource):
    """An open config store: flat items of text."""

    kind = "config-store/store"
    items: Mapping[str, str]


@dataclass
class SecretStore(Resource):
    """An open secret store."""

    kind = "secret-store/store"
    items: Mapping[str, str]


@dataclass
class Secret(Resource):
    """One secret."""

    kind = "secret-store/secret"
    data: bytes


@dataclass
class Endpoint(Resource):
    """A place for log lines."""

    kind = "log/endpoint"
    name: str


def config_store(stores: Mapping[str, Mapping[str, str]]) -> dict[str, HostFunction]:
    """`config-store`. The mappings are read at each call, so what is changed in them is seen at once."""

    def open_store(_box: Sandbox, name: str) -> Ok | Err:
        return Ok(ConfigStore(stores[name])) if name in stores else Err("not-found")

    def get(_box: Sandbox, store: ConfigStore, key: str, most: int) -> Ok | Err:
        value = store.items.get(key)
        if value is not None and len(value.encode()) > most:
            return Err(Case("buffer-len", len(value.encode())))
        return Ok(value)

    return {"[static]store.open": open_store, "[method]store.get": get}


def secret_store(stores: Mapping[str, Mapping[str, str]]) -> dict[str, HostFunction]:
    """`secret-store`."""

    def open_store(_box: Sandbox, name: str) -> Ok | Err:
        return Ok(SecretStore(stores[name])) if name in stores else Err("not-found")

    def get(_box: Sandbox, store: SecretStore, key: str) -> Ok:
        value = store.items.get(key)
        return Ok(None if value is None else Secret(value.encode()))

    def plaintext(_box: Sandbox, secret: Secret, most: int) -> Ok | Err:
        return Err(Case("buffer-len", len(secret.data))) if len(secret.data) > most else Ok(secret.data)

    return {
        "[static]store.open": open_store,
        "[method]store.get": get,
        "[static]secret.from-bytes": lambda _box, data: Ok(Secret(data)),
        "[method]secret.plaintext": plaintext,
    }


def compute_runtime() -> dict[str, HostFunction]:
    """`compute-runtime`. How much memory a sandbox has can't be asked for here: it is 0."""
    return {
        "get-vcpu-ms": lambda box: box.vcpu_ms,
        "get-heap-mib": lambda _box: 0,
        "get-sandbox-id": lambda box: f"sandbox-{box.number}",
        "get-hostname": lambda _box: "localhost",
        "get-pop": lambda _box: "",
        "get-region": lambda _box: "",
        "get-service-id": lambda _box: "",
        "get-service-version": lambda _box: 0,
        "get-is-staging": lambda _box: False,
    }


def log_functions(write: Callable[[str, bytes], object]) -> dict[str, HostFunction]:
    """`log`: lines go to `write(endpoint, line)`."""

    def line(_box: Sandbox, endpoint: Endpoint, data: bytes) -> None:
        write(endpoint.name, data)

    return {"[static]endpoint.open": lambda _box, name: Ok(Endpoint(name)), "[method]endpoint.write": line}
