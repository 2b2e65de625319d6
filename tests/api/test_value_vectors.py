"""The golden values of the HTTP API (`vectors/http-1/values.json`), which clients in every language are held against.

Each has an expression of SQL, the type and the text or bytes that it stands for, and its JSON, in both directions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.conftest import Call
from virke.engine.values import decode_value, encode_value

VALUES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "http-1" / "values.json").read_text()
)
each = pytest.mark.parametrize("vector", VALUES, ids=lambda vector: vector["name"])


def meant(vector: dict[str, Any]) -> object:
    """The value that a vector stands for, without help of what is tested."""
    match vector:
        case {"type": "null"}:
            return None
        case {"type": "integer", "text": text}:
            return int(text)
        case {"type": "real", "text": text}:
            return float(text)
        case {"type": "blob", "hex": text}:
            return bytes.fromhex(text)
        case {"type": "text", "hex": text}:
            return bytes.fromhex(text).decode(errors="surrogateescape")
        case _:
            return vector["text"]


@each
def test_a_golden_value_is_written_and_read(vector: dict[str, Any]) -> None:
    value = meant(vector)
    written = encode_value(value)  # type: ignore[arg-type]
    assert (written, type(written)) == (vector["json"], type(vector["json"]))
    read = decode_value(vector["json"])
    assert (read, type(read)) == (value, type(value))


def test_golden_values_are_answered_and_taken(call: Call) -> None:
    assert call("PUT", "/db/values").status == 201
    for vector in VALUES:
        sql = f"SELECT {vector['sql']}, ?1, typeof({vector['sql']}), typeof(?1), {vector['sql']} IS ?1"
        found = call("POST", "/db/values/query", {"sql": sql, "params": [vector["json"]]})
        assert found.status == 200, vector["name"]
        assert found.json["rows"] == [[vector["json"], vector["json"], vector["type"], vector["type"], 1]], vector[
            "name"
        ]
