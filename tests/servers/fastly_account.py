"""A model of an account at Fastly: services with versions, stores, links and packages; what it was asked is recorded.

Knows no sockets. What may be asked is said by the vendor's client (`fastly_vendor`); methods are named as its operations are.

1. A version that is active, or was, is locked: nothing of it can be changed.
2. Names of stores and services are taken once; so are those of domains, backends and links in a version.
3. A version is activated only if it has a package, a domain and a backend.
4. A secret can be written, and never read.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.servers.fastly_items import KvItems, Reply, failure
from tests.servers.fastly_vendor import NotOfTheVendor, check_answer, read

WHEN: Final = "2026-11-26T20:00:00Z"
ITEM_CHARS_MAX: Final = 8000
_NO_NAME: Final = "no name"


class Refused(Exception):
    """The account does not do what is asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Version:
    """One version of a service."""

    number: int
    is_active: bool = False
    is_locked: bool = False
    comment: str = ""
    backends: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    domains: list[str] = field(default_factory=list)
    package: bytes = b""


@dataclass
class Service:
    """A service and its versions."""

    id: str
    name: str
    type: str
    versions: list[Version] = field(default_factory=lambda: [Version(1)])

    @property
    def active(self) -> Version | None:
        """The version that serves."""
        return next((one for one in self.versions if one.is_active), None)


@dataclass
class Named:
    """A store: its name and its content."""

    id: str
    name: str
    content: Any


class Account:
    """Everything of one account."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.kv: dict[str, Named] = {}
        self.config: dict[str, Named] = {}
        self.secret: dict[str, Named] = {}
        self.calls: list[tuple[str, str]] = []
        """Every request: its method and path, without what follows `?`."""
        self.problems: list[str] = []
        """Requests that are none of the vendor's, and answers of this model that are not."""
        self._made = 0

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The requests that were not reads."""
        return [call for call in self.calls if call[0] != "GET"]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply to one request that has a good token."""
        try:
            asked = read(method, target, headers, body)
            content = getattr(self, asked.operation, _not_modelled)(asked.path, asked.fields)
            check_answer(asked, content)
        except NotOfTheVendor as error:
            self.problems.append(str(error))
            return failure(400, f"not of the vendor: {error}")
        except Refused as error:
            return failure(error.status, str(error))
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    # Services and versions

    def create_service(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        name = fields.get("name", _NO_NAME)
        if any(one.name == name for one in self.services.values()):
            raise Refused(409, "Name has already been taken")
        new = Service(self._id("Svc"), name, fields.get("type", "vcl"))
        self.services[new.id] = new
        return _service(new)

    def search_service(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = next((one for one in self.services.values() if one.name == fields["name"]), None)
        if found is None:
            raise Refused(404, "Cannot find service")
        return _service(found)

    def get_service(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return _service(self._service(path))

    def list_service_versions(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = self._service(path)
        return [_version(found, one) for one in found.versions]

    def clone_service_version(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = self._service(path)
        new = copy.deepcopy(self._version(path))
        new.number, new.is_active, new.is_locked = len(found.versions) + 1, False, False
        found.versions.append(new)
        return {
            key: value
            for key, value in _version(found, new).items()
            if key in ("number", "active", "locked", "comment")
        }

    def update_service_version(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = self._draft(path)
        found.comment = fields.get("comment", found.comment)
        return _version(self._service(path), found)

    def validate_service_version(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        missing = self._missing(self._version(path))
        return {"status": "error", "msg": missing} if missing else {"status": "ok"}

    def activate_service_version(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        service, found = self._service(path), self._version(path)
        if missing := self._missing(found):
            raise Refused(400, missing)
        for one in service.versions:
            one.is_active = one is found
        found.is_locked = True
        return _version(service, found)

    # Parts of a version

    def list_backends(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return list(self._version(path).backends.values())

    def create_backend(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        backends = self._draft(path).backends
        if fields["name"] in backends:
            raise Refused(409, "Duplicate record")
        backends[fields["name"]] = {"name": fields["name"], "port": 80, "use_ssl": False, **fields}
        return backends[fields["name"]]

    def update_backend(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = self._draft(path).backends.get(path["backend_name"])
        if found is None:
            raise Refused(404, "no such backend")
        found.update(fields)
        return found

    def list_domains(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return [{"name": name, "version": int(path["version_id"])} for name in self._version(path).domains]

    def create_domain(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        taken = {name for one in self.services.values() for version in one.versions for name in version.domains}
        if fields["name"] in taken:
            raise Refused(409, "Domain is already taken")
        self._draft(path).domains.append(fields["name"])
        return {"name": fields["name"], "version": int(path["version_id"])}

    def list_resources(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return list(self._version(path).links.values())

    def create_resource(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        links, kind = self._draft(path).links, self._kind_of(fields["resource_id"])
        if any(one["resource_id"] == fields["resource_id"] for one in links.values()):
            raise Refused(409, "Duplicate record: the resource is linked already")
        if any((one["name"], one["resource_type"]) == (fields["name"], kind) for one in links.values()):
            raise Refused(409, "Duplicate record: the name is taken")
        new = {
            "id": self._id("Link"),
            "resource_id": fields["resource_id"],
            "name": fields["name"],
            "resource_type": kind,
        }
        links[new["id"]] = new
        return new

    def delete_resource(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        if self._draft(path).links.pop(path["id"], None) is None:
            raise Refused(404, "no such link")
        return {"status": "ok"}

    def get_package(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        package = self._version(path).package
        if not package:
            raise Refused(404, "no package")
        return _package(package)

    def put_package(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        found = self._draft(path)
        answer = _package(fields["package"])
        found.package = fields["package"]
        return answer

    # Stores

    def kv_store_list(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return _page([{"id": one.id, "name": one.name} for one in self.kv.values()], fields)

    def kv_store_create(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return self._new(self.kv, fields, KvItems())

    def list_config_stores(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return [
            {"id": one.id, "name": one.name} for one in self.config.values() if fields.get("name") in (None, one.name)
        ]

    def create_config_store(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return self._new(self.config, fields, {})

    def list_config_store_items(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        items = self._of(self.config, path["config_store_id"]).content
        return [{"item_key": key, "item_value": value} for key, value in sorted(items.items())]

    def upsert_config_store_item(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        value = fields.get("item_value", "")
        if not value or len(value) > ITEM_CHARS_MAX:
            raise Refused(400, "an item has from 1 to 8000 characters")
        self._of(self.config, path["config_store_id"]).content[path["config_store_item_key"]] = value
        return {"item_key": path["config_store_item_key"], "item_value": value}

    def delete_config_store_item(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        if self._of(self.config, path["config_store_id"]).content.pop(path["config_store_item_key"], None) is None:
            raise Refused(404, "no such item")
        return {"status": "ok"}

    def get_secret_stores(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return _page([{"id": one.id, "name": one.name} for one in self.secret.values()], fields)

    def create_secret_store(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        return self._new(self.secret, fields, {})

    def get_secrets(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        secrets = self._of(self.secret, path["store_id"]).content
        return _page([{"name": name, "digest": _digest(value)} for name, value in sorted(secrets.items())], fields)

    def recreate_secret(self, path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
        try:
            value = base64.b64decode(fields["secret"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Refused(400, "the secret is not base64") from error
        if not value:
            raise Refused(400, "the secret is empty")
        self._of(self.secret, path["store_id"]).content[fields["name"]] = value
        return {"name": fields["name"], "digest": _digest(value)}

    # What is asked of more than one

    def _id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{hashlib.sha256(str(self._made).encode()).hexdigest()[:16]}"

    def _new(self, stores: dict[str, Named], fields: Mapping[str, Any], content: Any) -> Any:
        name = fields.get("name", _NO_NAME)
        if any(one.name == name for one in stores.values()):
            raise Refused(409, "a store with that name already exists")
        new = Named(self._id("store").lower(), name, content)
        stores[new.id] = new
        return {"id": new.id, "name": new.name}

    def _of(self, stores: dict[str, Named], store_id: str) -> Named:
        if store_id not in stores:
            raise Refused(404, "no such store")
        return stores[store_id]

    def _kind_of(self, store_id: str) -> str:
        for stores, kind in ((self.kv, "kv-store"), (self.config, "config"), (self.secret, "secret-store")):
            if store_id in stores:
                return kind
        raise Refused(400, "no such resource")

    def _service(self, path: Mapping[str, str]) -> Service:
        if path["service_id"] not in self.services:
            raise Refused(404, "no such service")
        return self.services[path["service_id"]]

    def _version(self, path: Mapping[str, str]) -> Version:
        versions, number = self._service(path).versions, int(path["version_id"])
        if not 1 <= number <= len(versions):
            raise Refused(404, "no such version")
        return versions[number - 1]

    def _draft(self, path: Mapping[str, str]) -> Version:
        found = self._version(path)
        if found.is_locked:
            raise Refused(422, f"Version {found.number} is locked")
        return found

    def _missing(self, version: Version) -> str:
        parts = {"package": version.package, "domain": version.domains, "backend": version.backends}
        return "".join(f"Version has no {what}. " for what, there in parts.items() if not there).strip()


def _not_modelled(path: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
    raise NotOfTheVendor("an operation that this model does not have")


def _service(found: Service) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "type": found.type,
        "versions": [_version(found, one) for one in found.versions],
    }


def _version(service: Service, found: Version) -> dict[str, Any]:
    return {
        "number": found.number,
        "active": found.is_active,
        "locked": found.is_locked,
        "comment": found.comment,
        "service_id": service.id,
        "created_at": WHEN,
        "deleted_at": None,
    }


def _package(data: bytes) -> dict[str, Any]:
    contents = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for entry in archive:
                if (file := archive.extractfile(entry) if entry.isfile() else None) is not None:
                    contents[entry.name] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Refused(400, "Failed to extract metadata from package") from error
    if not any(name.endswith("/fastly.toml") for name in contents):
        raise Refused(400, "Failed to extract metadata from package")
    files = hashlib.sha512(b"".join(contents[name] for name in sorted(contents))).hexdigest()
    return {"metadata": {"size": len(data), "hashsum": hashlib.sha512(data).hexdigest(), "files_hash": files}}


def _page(rows: list[dict[str, str]], fields: Mapping[str, Any]) -> Any:
    """One row a page, so that whoever reads one page alone is found out."""
    rows = [row for row in rows if fields.get("name") in (None, row["name"])]
    after = int(fields.get("cursor", "0"))
    meta: dict[str, Any] = {"limit": 1} | ({"next_cursor": str(after + 1)} if len(rows) > after + 1 else {})
    return {"data": rows[after : after + 1], "meta": meta}


def _digest(value: str) -> str:
    return base64.b64encode(hashlib.sha256(value.encode()).digest()).decode()
