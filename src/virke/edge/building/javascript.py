"""An app of JavaScript or TypeScript as a program for Fastly Compute, by the vendor's own compiler, and as a component for our host.

Knows the vendor's npm package and what its programs import; knows nothing of projects.

1. The compiler is installed into the user's cache, once, by the hashes of a lock; the project's own packages stay as they are.
2. What the compiler makes is a core module, as Fastly takes it. Our host runs components: the vendor's adapter, which its simulator
   uses as well, makes one of it (`adapted`). Nothing of that is deployed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from virke.edge.building.tools import Say, build_folder, made_once, run_command
from virke.errors import Invalid, Unavailable, UsageError

COMPILER: Final = Path("node_modules/.bin/js-compute-runtime")
COMPONENTS: Final = Path("node_modules/.bin/jco")
ADAPTER: Final = "fastly-adapter.wasm"
_TOOLS: Final = ("package.json", "package-lock.json")
_OURS: Final = "wasi_snapshot_preview1"
"""The one name that the adapter goes by, whatever it stands for."""
_FASTLY: Final = ("env", "fastly", "xqd")
_HEAD: Final = b"\0asm\x01\0\0\0"
_IMPORTS: Final = 2


def tools_for(say: Say) -> Path:
    """The folder with the compiler, filled if it is not there. Raises `UsageError`: no npm. `Unavailable`: npm failed."""
    folder = build_folder() / f"js-{tools_digest()[:16]}"
    with made_once(folder) as made:
        if made is not None:
            npm = shutil.which("npm")
            if npm is None:
                raise UsageError("the compiler of this app comes from npm, and there is no `npm` on the PATH")
            say("installing Fastly's compiler for JavaScript, once")
            made.mkdir()
            for name, content in _tool_files():
                (made / name).write_bytes(content)
            run_command(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], "npm ci", folder=made
            )
    return folder


def tools_digest() -> str:
    """What the compiler is, as a hash."""
    return hashlib.sha256(b"".join(content for _, content in _tool_files())).hexdigest()


def _tool_files() -> Iterator[tuple[str, bytes]]:
    for name in _TOOLS:
        yield name, (files("virke.edge.building") / "javascript_tools" / name).read_bytes()


def compile_app(entry: Path, program: Path, work: Path, tools: Path) -> None:
    """Compile an app into a program, in an empty folder `work`.

    Raises:
        Invalid: the app can't be compiled, or fails when it is started.
    """
    made = work / "app.wasm"
    command = [str(tools / COMPILER), str(entry), str(made)]
    try:
        run_command(command, "Fastly's compiler", folder=work)
    except Unavailable as error:
        raise Invalid(f"the app can't be compiled for Fastly: {error.message}") from error
    program.parent.mkdir(parents=True, exist_ok=True)
    new = program.with_name(f".{program.name}.new")
    shutil.copyfile(made, new)
    os.replace(new, program)


def adapt_program(program: Path, component: Path, tools: Path) -> None:
    """Make a component of a program. Raises `Invalid`: it is not one of the compiler's. `Unavailable`: the tool failed."""
    renamed = component.with_name(f".{component.name}.module")
    renamed.write_bytes(with_one_import(program.read_bytes()))
    adapter = Path(str(files("virke.edge") / "vendor" / ADAPTER))
    try:
        words = ["new", str(renamed), "--adapt", f"{_OURS}={adapter}", "--output", str(component)]
        run_command([str(tools / COMPONENTS), *words], "jco")
    finally:
        renamed.unlink()


def with_one_import(module: bytes) -> bytes:
    """The module with all that it imports of Fastly's from the adapter: `fastly_log.write` as `fastly_log#write` of `_OURS`.

    Raises:
        Invalid: it is not a core module.
    """
    if not module.startswith(_HEAD):
        raise Invalid("what the compiler made is not a module of WebAssembly")
    parts, at = [_HEAD], len(_HEAD)
    while at < len(module):
        kind = module[at]
        size, start = _number_at(module, at + 1)
        at = start + size
        body = module[start:at]
        if kind == _IMPORTS:
            body = _renamed_imports(body)
        parts.append(bytes([kind]) + _encoded_number(len(body)) + body)
    return b"".join(parts)


def _renamed_imports(section: bytes) -> bytes:
    count, at = _number_at(section, 0)
    parts = [_encoded_number(count)]
    for _ in range(count):
        module, at = _text_at(section, at)
        name, at = _text_at(section, at)
        start, at = at, _end_of_type(section, at)
        if module.startswith("fastly_") or module in _FASTLY:
            module, name = _OURS, f"{module}#{name}"
        for text in (module, name):
            parts.append(_encoded_number(len(text.encode())) + text.encode())
        parts.append(section[start:at])
    return b"".join(parts)


def _end_of_type(section: bytes, at: int) -> int:
    """Where the type of an import ends: of a function, a table, a memory or a global."""
    kind, at = section[at], at + 1
    match kind:
        case 0:
            return _number_at(section, at)[1]
        case 1 | 2:
            at += kind == 1
            has_end, at = section[at] & 1, at + 1
            for _ in range(1 + has_end):
                _, at = _number_at(section, at)
            return at
        case 3:
            return at + 2
        case _:
            raise Invalid(f"the app's program imports something of kind {kind}, which no compiler of Fastly's makes")


def _text_at(data: bytes, at: int) -> tuple[str, int]:
    size, at = _number_at(data, at)
    return data[at : at + size].decode(), at + size


def _number_at(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _encoded_number(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
