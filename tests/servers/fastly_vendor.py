"""Fastly's API as the vendor's own client describes it: each endpoint, what may be asked of it, and what it answers.

Read from the tables and models of PyPI's `fastly`, so that the model server takes no request that the vendor would not know.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import fastly  # type: ignore[import-untyped]
from fastly.api_client import ApiClient  # type: ignore[import-untyped]
from fastly.model_utils import validate_and_convert_types  # type: ignore[import-untyped]

APIS: Final = "backend config_store config_store_item domain kv_store package resource secret_store secret_store_item service version".split()
_FORM: Final = "application/x-www-form-urlencoded"


class NotOfTheVendor(Exception):
    """A request, or an answer, that the vendor's own client does not know."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the vendor's client could have sent: its operation, the parts of its path, its fields."""

    operation: str
    path: Mapping[str, str]
    fields: Mapping[str, Any]


def read(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
    """What a request asks. Raises `NotOfTheVendor`."""
    url = urlsplit(target)
    endpoint, path = _endpoint(method, url.path)
    fields: dict[str, Any] = {}
    for name, text in parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)):
        fields[name] = _checked(endpoint, "query", name, text)
    kind = headers.get("content-type", "").split(";")[0]
    kinds = endpoint.headers_map["content_type"]
    if body and kind not in kinds:
        raise NotOfTheVendor(f"{method} {url.path}: content type {kind!r}, not one of {kinds}")
    if kind == _FORM and body:
        for name, text in parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True):
            fields[name] = _checked(endpoint, "form", name, text)
    elif kind == "application/json" and body:
        fields |= _json_body(endpoint, body)
    elif kind == "multipart/form-data":
        fields |= _parts(endpoint, headers, body)
    missing = set(endpoint.params_map["required"]) - path.keys() - fields.keys()
    if missing:
        raise NotOfTheVendor(f"{method} {url.path}: {sorted(missing)} missing")
    for name, text in path.items():
        _checked(endpoint, "path", name, text)
    return Asked(endpoint.settings["operation_id"], path, fields)


def check_answer(asked: Asked, answer: object) -> None:
    """Hold an answer of the model server against the vendor's models. Raises `NotOfTheVendor`."""
    endpoint = next(one for one in _endpoints() if one.settings["operation_id"] == asked.operation)
    kind = endpoint.settings["response_type"]
    if kind is not None:
        _typed(answer, kind, f"the answer to {asked.operation}")


@cache
def _endpoints() -> list[Any]:
    client = ApiClient(fastly.Configuration())
    found = []
    for name in APIS:
        module = importlib.import_module(f"fastly.api.{name}_api")
        classes = [
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
        for kind in classes:
            found += [one for key, one in vars(kind(client)).items() if key.endswith("_endpoint")]
    return found


def _endpoint(method: str, path: str) -> tuple[Any, dict[str, str]]:
    """The endpoint of a path, one with fewest variable parts first."""
    fits = [(one, names) for one in _endpoints() if (names := _fit(method, path, one)) is not None]
    if not fits:
        raise NotOfTheVendor(f"{method} {path}: no such endpoint")
    return min(fits, key=lambda found: len(found[1]))


def _fit(method: str, path: str, endpoint: Any) -> dict[str, str] | None:
    if endpoint.settings["http_method"] != method:
        return None
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(endpoint.settings["endpoint_path"]))
    found = re.fullmatch(pattern, path)
    return None if found is None else {name: unquote(text) for name, text in found.groupdict().items()}


def _checked(endpoint: Any, place: str, name: str, text: str) -> Any:
    """A field of a path, query or form as the vendor types it."""
    own = {wire: python for python, wire in endpoint.attribute_map.items()}.get(name)
    if own is None or endpoint.location_map.get(own) != place:
        raise NotOfTheVendor(f"{endpoint.settings['operation_id']} takes no {name!r} in its {place}")
    types = endpoint.openapi_types[own]
    value: Any = text
    if int in types:
        value = int(text) if text.isdecimal() else text
    elif bool in types:
        value = {"0": False, "1": True, "false": False, "true": True}.get(text, text)
    _typed(value, types, f"{endpoint.settings['operation_id']}: {name}")
    allowed = endpoint.allowed_values.get((own,))
    if allowed is not None and value not in allowed.values():
        raise NotOfTheVendor(f"{endpoint.settings['operation_id']}: {name} is one of {sorted(allowed.values())}")
    return value


def _json_body(endpoint: Any, body: bytes) -> dict[str, Any]:
    own = next((name for name, place in endpoint.location_map.items() if place == "body"), None)
    if own is None:
        raise NotOfTheVendor(f"{endpoint.settings['operation_id']} takes no body")
    content = json.loads(body)
    types = endpoint.openapi_types[own]
    _typed(content, types, endpoint.settings["operation_id"])
    unknown = set(content) - set(types[0].attribute_map.values())
    if unknown:
        raise NotOfTheVendor(f"{endpoint.settings['operation_id']} takes no {sorted(unknown)}")
    return dict(content)


def _parts(endpoint: Any, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    found = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name = part.get_param("name", header="content-disposition")
        if endpoint.location_map.get(name) != "form":
            raise NotOfTheVendor(f"{endpoint.settings['operation_id']} takes no part {name!r}")
        found[str(name)] = part.get_payload(decode=True)
    return found


def _typed(value: object, types: Any, what: str) -> None:
    configuration = fastly.Configuration()
    try:
        validate_and_convert_types(copy.deepcopy(value), types, ["body"], True, True, configuration=configuration)
    except (fastly.ApiException, TypeError, ValueError, AttributeError, KeyError) as error:
        raise NotOfTheVendor(f"{what}: {error}") from error


def operations() -> Iterator[str]:
    """The names of all operations that are known."""
    return (one.settings["operation_id"] for one in _endpoints())
