"""An app of JavaScript: what the compiler is given, how its program becomes a component; scripts stand in for the tools."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from tests.edge.building.pythons import script
from virke.edge.building.javascript import ADAPTER, COMPILER, COMPONENTS, adapt_program, compile_app, with_one_import
from virke.errors import Invalid

HEAD = b"\0asm\x01\0\0\0"
OF_VICEROY = "c742a62f2003ccbee6d7717c7b31610b713714c2722a5eaee28e9ceab5fb5e6f"
"""`wasm_abi/data/viceroy-component-adapter.noshift.wasm` of the crate viceroy-lib 0.22.0."""


def text(word: str) -> bytes:
    return bytes([len(word)]) + word.encode()


def section(kind: int, body: bytes) -> bytes:
    size = len(body)
    return bytes([kind]) + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + body


FUNCTION, TABLE, ENDLESS, BOUNDED, GLOBAL = (
    b"\0\x81\x01",
    b"\x01\x70\0\x05",
    b"\x02\0\x01",
    b"\x02\x01\x01\x80\x02",
    b"\x03\x7f\x01",
)


def test_what_is_imported_of_fastly_is_imported_of_the_adapter() -> None:
    before = b"".join(
        text(module) + text(name) + kind
        for module, name, kind in (
            ("fastly_http_req", "send", FUNCTION),
            ("wasi_snapshot_preview1", "fd_write", FUNCTION),
            ("env", "table", TABLE),
            ("other", "memory", ENDLESS),
            ("other", "bounded", BOUNDED),
            ("xqd", "global", GLOBAL),
        )
    )
    after = b"".join(
        text(module) + text(name) + kind
        for module, name, kind in (
            ("wasi_snapshot_preview1", "fastly_http_req#send", FUNCTION),
            ("wasi_snapshot_preview1", "fd_write", FUNCTION),
            ("wasi_snapshot_preview1", "env#table", TABLE),
            ("other", "memory", ENDLESS),
            ("other", "bounded", BOUNDED),
            ("wasi_snapshot_preview1", "xqd#global", GLOBAL),
        )
    )
    around = section(1, b"\x01\x60\0\0"), section(10, b"\x01\x02\0\x0b")

    found = with_one_import(HEAD + around[0] + section(2, b"\x06" + before) + around[1])

    assert found == HEAD + around[0] + section(2, b"\x06" + after) + around[1]


def test_a_component_or_a_text_is_no_module() -> None:
    for content in (b"\0asm\x0d\0\x01\0", b"<html>", b""):
        with pytest.raises(Invalid, match="not a module"):
            with_one_import(content)


def test_the_adapter_is_the_vendors() -> None:
    content = (files("virke.edge") / "vendor" / ADAPTER).read_bytes()
    assert hashlib.sha256(content).hexdigest() == OF_VICEROY


def test_the_compiler_gets_the_entry_and_its_words_are_shown(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    program = tmp_path / "bin" / "app.wasm"
    script(tmp_path / COMPILER, 'echo "of $1" > "$2"')
    compile_app(tmp_path / "src" / "index.ts", program, tmp_path / "work", tmp_path)
    assert program.read_text() == f"of {tmp_path}/src/index.ts\n"

    script(tmp_path / COMPILER, "echo 'Error: Could not resolve \"honno\"'; exit 1")
    with pytest.raises(Invalid, match='Could not resolve "honno"'):
        compile_app(tmp_path / "src" / "index.ts", program, tmp_path / "work", tmp_path)
    assert program.read_text() == f"of {tmp_path}/src/index.ts\n"  # what was there stays


def test_the_component_is_made_with_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(HEAD)
    script(tmp_path / COMPONENTS, 'echo "$1 $3 $4" > "$6"')

    adapt_program(tmp_path / "app.wasm", tmp_path / "component.wasm", tmp_path)

    assert (tmp_path / "component.wasm").read_text().startswith("new --adapt wasi_snapshot_preview1=/")
    assert [path.name for path in tmp_path.iterdir() if "module" in path.suffix] == []
