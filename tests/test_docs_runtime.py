"""The page about virke.runtime is true: its examples run, and what it says of one of them is what is served."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import virke
from tests.runtime.asgi_client import asked, run
from virke.runtime import AsyncVirkeDB, Runtime, SyncVirkeDB, VirkeDB

PAGE = (Path(__file__).parent.parent / "docs" / "runtime.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_examples_run_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two are one program, as a server imports it; the third is one with a database for each tenant."""
    monkeypatch.setenv("VIRKE_STORE", f"local:{tmp_path}")
    for name in ("my-app-db", "tenant-blue"):
        with virke.connect(name, create=True) as database:
            database.run_script(f"CREATE TABLE users (id INTEGER, name TEXT); INSERT INTO users VALUES (7, '{name}')")
    names: dict[str, Any] = {"__name__": "docs"}
    assert len(EXAMPLES) == 3
    for number, example in enumerate(EXAMPLES[:2]):
        exec(compile(example, f"docs/runtime.md, example {number + 1}", "exec"), names)
    for path in ("/users", "/users/7"):
        assert run(asked(names["app"], path)).body == b'[[7,"my-app-db"]]'

    exec(compile(EXAMPLES[2], "docs/runtime.md, example 3", "exec"), names)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        rows = (await names["Bindings"].db.query("SELECT name FROM users")).rows
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(rows[0][0]).encode()})

    wrapped = names["middleware"](app)
    assert run(asked(wrapped, host="blue.example.com:80")).body == b"tenant-blue"
    assert run(asked(wrapped, host="red.example.com")).status == 404


def test_the_page_names_every_method_of_the_binding() -> None:
    """And the two kinds for annotations have the same ones, with the same parameters."""
    methods = {name for name in vars(VirkeDB) if not name.startswith("_")}
    row = {word for line in PAGE.splitlines() if line.startswith("| `") for word in re.findall(r"\w+", line)}
    assert methods - row == set()
    for kind in (AsyncVirkeDB, SyncVirkeDB):
        assert {name for name in vars(kind) if not name.startswith("_")} == methods
        for name in methods - {"bookmark"}:
            assert [*signature(getattr(kind, name)).parameters] == [*signature(getattr(VirkeDB, name)).parameters], name
    assert Runtime._fields == ("fire", "middleware", "Bindings")
