"""One Compute service, brought to what is wanted: its domain, backends, links and package, in a version that is active.

Knows paths of services and versions; knows nothing of databases.

1. A service is found by its id or its name, and made if there is none.
2. An active version is never changed. If it is what is wanted, nothing is done; else a copy of it is changed, validated and activated.
3. A copy says in its comment which active version it was made of. One that a deployment left behind is gone on with only if that version is still
   active and nothing has locked the copy: another user's drafts, and changes made meanwhile, are never activated or undone.
4. What the service has besides what is wanted (a domain, other backends and links) stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Final

from virke.edge.deploying.account import Account, Body, Json, form_body, path_segment, text_of
from virke.edge.deploying.package import Package
from virke.errors import Invalid, NotFound, Unavailable
from virke.lazy_dataclasses import dataclass

COMMENT: Final = "virke deploy, made of version "
DOMAIN: Final = "edgecompute.app"
_LABEL_CHARS: Final = 40
_NOTHING: Final = "originless"
_TYPES: Final = {"kv": ("kv-store", "object-store"), "config": ("config",), "secret": ("secret-store",)}
"""What the API calls the kinds of stores; the first had another name once."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A server that the service may ask."""

    name: str
    host: str
    port: int = 443
    is_tls: bool = True

    def fields(self) -> dict[str, str | int | bool]:
        """As the API has them."""
        found: dict[str, str | int | bool] = {
            "address": self.host,
            "port": self.port,
            "override_host": self.host,
            "use_ssl": self.is_tls,
        }
        return found | (
            {"ssl_cert_hostname": self.host, "ssl_sni_hostname": self.host, "ssl_check_cert": True}
            if self.is_tls
            else {}
        )

    def is_same(self, row: Mapping[str, object]) -> bool:
        """Whether a backend that is there is this one."""
        return all(_comparable_text(row.get(name)) == _comparable_text(value) for name, value in self.fields().items())


NO_BACKEND: Final = Backend(_NOTHING, "127.0.0.1", 80, is_tls=False)
"""What a service without any has: a version must have one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a service shall be; `links`: ids of stores by the kind of store, each linked under `link_name`."""

    name: str
    package: Package
    link_name: str
    links: Mapping[str, str] = field(default_factory=dict)
    backends: tuple[Backend, ...] = ()
    service_id: str | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """What it is now; `is_new`: another version was activated."""

    service_id: str
    name: str
    version: int
    domain: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Version:
    """What one version has."""

    number: int
    backends: list[Json]
    links: list[Json]
    domains: list[str]
    package: Json


def bring_service(account: Account, wanted: Wanted) -> Brought:
    """Make, or change, the service. Raises as `Account.change`."""
    service_id = _service_id(account, wanted)
    path = f"/service/{_id_in_path(service_id)}/version"
    versions = account.rows(path) or [{"number": 1, "active": False, "locked": False, "comment": ""}]
    active = next((row for row in versions if row.get("active") is True), None)
    if active is not None:
        there = _read_version(account, path, _version_number(active))
        if not list(_changes_of_version(account, path, there, wanted, service_id=service_id)):
            return Brought(service_id, wanted.name, there.number, there.domains[0], is_new=False)
    there = _draft_version(account, path, versions, active)
    for change in _changes_of_version(account, path, there, wanted, service_id=service_id):
        change()
    domain = (there.domains or [domain_of(wanted.name, service_id)])[0]
    _activate_version(account, path, there.number, wanted.name)
    return Brought(service_id, wanted.name, there.number, domain, is_new=True)


def domain_of(name: str, service_id: str) -> str:
    """The domain of a service that has none: its name, and what of its id a domain can hold."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LABEL_CHARS].strip("-") or "virke"
    mark = service_id if service_id.startswith("{") else re.sub(r"[^a-z0-9]", "", service_id.lower())
    return f"{label}-{mark}.{DOMAIN}"


def _service_id(account: Account, wanted: Wanted) -> str:
    """Its id (rule 1)."""
    if wanted.service_id is not None:
        found = account.read(f"/service/{path_segment(wanted.service_id)}")
        if found is None and not account.is_rehearsal:
            raise NotFound(f"there is no service {wanted.service_id}", hint="[deploy] service in virke.toml names it")
    else:
        found = account.read("/service/search", name=wanted.name)
    if isinstance(found, dict):
        if text_of(found, "type") not in ("wasm", ""):
            raise Invalid(
                f"the service {wanted.name} is not a Compute service", hint="name another: [project] name in virke.toml"
            )
        return text_of(found, "id")
    if wanted.service_id is not None:
        return wanted.service_id
    made = account.change(
        "POST",
        "/service",
        form_body(name=wanted.name, type="wasm"),
        f"created service {wanted.name}",
        made={"id": f"{{service {wanted.name}}}"},
    )
    if not (new := text_of(made, "id")):
        raise Unavailable(f"Fastly made the service {wanted.name} but gave no id; run it again")
    return new


def _draft_version(account: Account, path: str, versions: list[Json], active: Json | None) -> _Version:
    """The version that is changed (rules 2 and 3)."""
    newest = max(versions, key=_version_number)
    if active is None and newest.get("locked") is not True:
        return _read_version(account, path, _version_number(newest))
    base = newest if active is None else active
    comment = f"{COMMENT}{_version_number(base)}"
    for row in versions:
        if (
            row.get("locked") is not True
            and _version_number(row) > _version_number(base)
            and text_of(row, "comment") == comment
        ):
            return _read_version(account, path, _version_number(row))
    there = _read_version(account, path, _version_number(base))
    made = account.change(
        "PUT",
        f"{path}/{_version_number(base)}/clone",
        Body(),
        f"made a new version of version {_version_number(base)}",
        made={"number": _version_number(newest) + 1},
        is_safe=False,
    )
    number = _version_number(made)
    account.change("PUT", f"{path}/{number}", form_body(comment=comment), f"named version {number}")
    return replace(there, number=number)  # a copy has what its version has, and a rehearsal can't ask for it


def _read_version(account: Account, path: str, number: int) -> _Version:
    own = f"{path}/{number}"
    package = account.read(f"{own}/package")
    metadata = package.get("metadata") if isinstance(package, dict) else None
    return _Version(
        number,
        backends=account.rows(f"{own}/backend"),
        links=account.rows(f"{own}/resource"),
        domains=[text_of(row, "name") for row in account.rows(f"{own}/domain")],
        package=metadata if isinstance(metadata, dict) else {},
    )


def _changes_of_version(
    account: Account, path: str, there: _Version, wanted: Wanted, *, service_id: str
) -> list[Callable[[], object]]:
    """What has to be done to a version."""
    own = f"{path}/{there.number}"
    found: list[Callable[[], object]] = []

    def add(method: str, sub: str, body: Body, does: str) -> None:
        found.append(lambda: account.change(method, f"{own}/{sub}", body, does))

    if not there.domains:
        domain = domain_of(wanted.name, service_id)
        add("POST", "domain", form_body(name=domain), f"added domain {domain}")
    by_name = {text_of(row, "name"): row for row in there.backends}
    for backend in wanted.backends or (() if there.backends else (NO_BACKEND,)):
        row = by_name.get(backend.name)
        if row is None:
            add(
                "POST",
                "backend",
                form_body(name=backend.name, **backend.fields()),
                f"added backend {backend.name}: {backend.host}",
            )
        elif not backend.is_same(row):
            add(
                "PUT",
                f"backend/{path_segment(backend.name)}",
                form_body(**backend.fields()),
                f"changed backend {backend.name}: {backend.host}",
            )
    for kind, store_id in wanted.links.items():
        _add_link(add, there.links, kind=kind, store_id=store_id, name=wanted.link_name)
    if not wanted.package.is_same(there.package):
        add("PUT", "package", wanted.package.body(), f"uploaded {wanted.package.name}")
    return found


def _add_link(
    add: Callable[[str, str, Body, str], None], links: list[Json], *, kind: str, store_id: str, name: str
) -> None:
    """Link a store, in place of another of its kind that has the name."""
    if any(text_of(row, "resource_id") == store_id and text_of(row, "name") == name for row in links):
        return
    for row in links:
        if text_of(row, "name") == name and text_of(row, "resource_type") in _TYPES[kind]:
            add("DELETE", f"resource/{path_segment(text_of(row, 'id'))}", Body(), f"unlinked another {kind} store")
        elif text_of(row, "resource_id") == store_id:
            add(
                "DELETE",
                f"resource/{path_segment(text_of(row, 'id'))}",
                Body(),
                f"unlinked the {kind} store under another name",
            )
    add("POST", "resource", form_body(resource_id=store_id, name=name), f"linked the {kind} store as {name}")


def _activate_version(account: Account, path: str, number: int, name: str) -> None:
    found = None if account.is_rehearsal else account.read(f"{path}/{number}/validate")
    if isinstance(found, dict) and found.get("status") != "ok":
        said = text_of(found, "msg") or text_of(found, "status")
        raise Invalid(f"Fastly finds version {number} of the service {name} not valid: {said}")
    account.change("PUT", f"{path}/{number}/activate", Body(), f"activated version {number} of {name}", is_safe=False)


def _version_number(row: Mapping[str, object]) -> int:
    found = row.get("number")
    if not isinstance(found, int):
        raise Unavailable("Fastly gave no version number; is this its API?")
    return found


def _comparable_text(value: object) -> str:
    """A value as it compares: the API answers numbers, yes or no, and texts in more than one way."""
    return {"True": "1", "False": "0", "None": ""}.get(str(value), str(value))


def _id_in_path(service_id: str) -> str:
    return service_id if service_id.startswith("{") else path_segment(service_id)
