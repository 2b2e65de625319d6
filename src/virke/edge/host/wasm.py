"""wasmtime (its only importer): compiles a component, links it to host functions, and runs one sandbox of it.

wasmtime's Python package converts a `list<u8>` element by element, distinguishes the cases of a variant by the Python type of
their payload, and keeps an exception of a host function in a global of the process. So, once and for all sandboxes:

1. Bytes cross as two strided copies: the kind of each element, and its value.
2. A variant is named by its case; nothing that two threads share is needed to find it.
3. What a host function raises is kept in its sandbox, and ends that sandbox alone.
4. Whatever of `fastly:` the component imports is defined: what no interface has is a function that traps. wasmtime's own
   `define_unknown_imports_as_traps` would hide its WASI from a component that asks for another patch version of it.
5. The machine code of a component is kept by the hash of its bytes, in a folder that only its owner may write: it is run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from wasmtime import Config, Engine, Store, WasiConfig, WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime.component import (
    Component,
    FuncType,
    Linker,
    LinkerInstance,
    Record,
    ResourceAny,
    ResourceHost,
    ResourceType,
    Variant,
)
from wasmtime.component import _types as types

from virke.edge.host.values import Case, Err, Handles, HostFunction, Interfaces, Ok, Resource, Trap
from virke.errors import Invalid
from virke.stores.cached.private import make_folder, tighten_folder

FUEL: Final = 1 << 62
"""More than a sandbox can use: fuel is for counting."""
KEPT: Final = 8
"""Components whose machine code is kept."""
_PREFIX: Final = "fastly:compute/"
_ENTRY: Final = "http-incoming"
_VAL: Final = ffi.wasmtime_component_val_t
_VAL_BYTES: Final = ctypes.sizeof(_VAL)
_VAL_OFFSET: Final = _VAL.of.offset
_U8: Final = bytes([ffi.WASMTIME_COMPONENT_U8.value])
_list_to_c: Final = types.ListType.convert_to_c
_list_from_c: Final = types.ListType.convert_from_c


def _as_memory(values: Any, length: int) -> memoryview:
    whole = (ctypes.c_ubyte * (length * _VAL_BYTES)).from_address(ctypes.addressof(values.data.contents))
    return memoryview(whole).cast("B")


def _bytes_to_c(self: types.ListType, store: Any, val: Any, ptr: Any) -> None:
    if not self._is_bytes():
        _list_to_c(self, store, val, ptr)
        return
    raw = ffi.wasmtime_component_vallist_t()
    ffi.wasmtime_component_vallist_new_uninit(raw, len(val))
    if val:
        memory = _as_memory(raw, len(val))
        memory[0::_VAL_BYTES] = _U8 * len(val)
        memory[_VAL_OFFSET::_VAL_BYTES] = val
    ptr.contents.kind = ffi.WASMTIME_COMPONENT_LIST
    ptr.contents.of.list = raw


def _bytes_from_c(self: types.ListType, c: Any) -> Any:
    if not self._is_bytes():
        return _list_from_c(self, c)
    length = c.of.list.size
    data = bytes(_as_memory(c.of.list, length)[_VAL_OFFSET::_VAL_BYTES]) if length else b""
    ffi.wasmtime_component_vallist_delete(ctypes.byref(c.of.list))
    return data


def _case_to_c(self: types.VariantLikeType, store: Any, val: Any) -> tuple[str, Any]:
    for name, case in self._cases():
        if isinstance(val, Variant):
            if name != val.tag:
                continue
            payload = val.payload
        elif case is None:
            if val is not None:
                continue
            payload = None
        else:
            kinds: set[type] = set()
            case.add_classes(kinds)
            if not isinstance(val, tuple(kinds)):
                continue
            payload = val
        if case is None:
            return name, None
        raw = _VAL()
        case.convert_to_c(store, payload, ctypes.pointer(raw))
        return name, ffi.wasmtime_component_val_new(ctypes.byref(raw))
    raise TypeError(f"no case of {[name for name, _ in self._cases()]} takes {val!r}")


setattr(types.ListType, "convert_to_c", _bytes_to_c)  # noqa: B010 - they are replaced, which mypy forbids otherwise
setattr(types.ListType, "convert_from_c", _bytes_from_c)  # noqa: B010
setattr(types.VariantLikeType, "_lower", _case_to_c)  # noqa: B010


class Guest(Protocol):
    """What a sandbox has for the host functions: its handles, and what one of them raised."""

    handles: Handles
    failure: BaseException | None


_running: Final = threading.local()


class Compiled:
    """A component, linked to `interfaces`; sandboxes of it may run in any number of threads."""

    def __init__(self, wasm: bytes, interfaces: Interfaces, *, cache: Path | None, fuel: bool) -> None:
        config = Config()
        config.consume_fuel = fuel
        self._engine = Engine(config)
        self._fuel = fuel
        self._component = _compiled_component(self._engine, wasm, cache, fuel=fuel)
        self._kinds: dict[str, int] = {}
        self._seen: list[tuple[ResourceType, int]] = []
        self._linker = Linker(self._engine)
        self._linker.allow_shadowing = True
        self._linker.add_wasip2()
        with self._linker.root() as root:
            for name, item in self._component.type.imports(self._engine).items():
                if name.startswith(_PREFIX):
                    short = name.removeprefix(_PREFIX).split("@")[0]
                    with root.add_instance(name) as instance:
                        self._define_interface(instance, short, item.ty, interfaces.get(short, {}))
        self._entry = next(
            (name for name in self._component.type.exports(self._engine) if name.startswith(_PREFIX + _ENTRY)), None
        )
        if self._entry is None:
            raise Invalid("this component takes no requests: it is not a Fastly Compute service")

    def _define_interface(self, instance: LinkerInstance, short: str, item: Any, functions: Any) -> None:
        for name, export in item.exports(self._engine).items():
            what = export.ty
            if isinstance(what, ResourceType):
                kind = next((kind for seen, kind in self._seen if seen == what), None)
                if kind is None:
                    kind = self._kinds[f"{short}/{name}"] = len(self._seen) + 1
                    self._seen.append((what, kind))
                instance.add_resource(name, ResourceType.host(kind), _drop_resource)
            elif isinstance(what, FuncType):
                instance.add_func(name, self._bound_function(functions.get(name) or _missing_function(short, name)))

    def _bound_function(self, function: HostFunction) -> Callable[..., Any]:
        def call(store: Any, *args: Any) -> Any:
            guest: Guest = _running.guest
            try:
                return self._lowered_value(
                    guest, function(guest, *[_lifted_value(guest, store, value) for value in args])
                )
            except BaseException as error:
                guest.failure = guest.failure or error
                raise WasmtimeError(f"host: {error!r}"[:1000]) from error

        return call

    def _lowered_value(self, guest: Guest, value: Any) -> Any:
        match value:
            case Resource():
                return ResourceHost.own(guest.handles.keep(value), self._kinds[value.kind])
            case Ok(inner):
                return Variant("ok", self._lowered_value(guest, inner))
            case Err(inner):
                return Variant("err", self._lowered_value(guest, inner))
            case Case(tag, payload):
                return Variant(tag, self._lowered_value(guest, payload))
            case tuple():
                return tuple(self._lowered_value(guest, each) for each in value)
            case list():
                return [self._lowered_value(guest, each) for each in value]
            case dict():
                record = Record()
                for name, each in value.items():
                    setattr(record, name, self._lowered_value(guest, each))
                return record
        return value

    def open(self, *, memory_bytes: int) -> Sandboxed:
        """Room for one sandbox."""
        store = Store(self._engine)
        wasi = WasiConfig()
        wasi.inherit_stdout()
        wasi.inherit_stderr()
        store.set_wasi(wasi)
        store.set_limits(memory_size=memory_bytes)
        if self._fuel:
            store.set_fuel(FUEL)
        return Sandboxed(self, store, counts_fuel=self._fuel)

    def run(self, store: Store, guest: Guest, request: Resource, body: Resource) -> None:
        """Instantiate the component and let it take its requests, of which these are the first. Raises `Trap`."""
        _running.guest = guest
        try:
            instance = self._linker.instantiate(store, self._component)
            assert self._entry is not None
            inside = instance.get_export_index(store, self._entry)
            entry = instance.get_export_index(store, "handle", inside)
            function = None if entry is None else instance.get_func(store, entry)
            if function is None:
                raise Trap("the component exports no function `handle`")
            function(store, self._lowered_value(guest, request), self._lowered_value(guest, body))
        except WasmtimeError as error:
            raise Trap(_first_words(error)) from (guest.failure or error)
        except Exception as error:  # a value that its type does not take: it ends this sandbox like anything else
            raise Trap(f"host: {error!r}") from error
        finally:
            _running.guest = None


class Sandboxed:
    """The memory of one sandbox."""

    def __init__(self, compiled: Compiled, store: Store, *, counts_fuel: bool) -> None:
        self._compiled = compiled
        self._store = store
        self._counts_fuel = counts_fuel

    def run(self, guest: Guest, request: Resource, body: Resource) -> None:
        """As `Compiled.run`; ends when the guest does."""
        self._compiled.run(self._store, guest, request, body)

    @property
    def fuel_used(self) -> int:
        """WebAssembly instructions since it began; 0 where they are not counted."""
        return FUEL - self._store.get_fuel() if self._counts_fuel else 0

    def close(self) -> None:
        """Give the memory back."""
        self._store.close()


def _lifted_value(guest: Guest, store: Any, value: Any) -> Any:
    match value:
        case ResourceAny():
            handle = value.to_host(store)
            return guest.handles.given(handle.rep) if handle.owned else guest.handles.lent(handle.rep)
        case Record():
            return {name: _lifted_value(guest, store, each) for name, each in vars(value).items()}
        case Variant(tag, payload):
            return Case(tag, _lifted_value(guest, store, payload))
        case tuple():
            return tuple(_lifted_value(guest, store, each) for each in value)
        case list():
            return [_lifted_value(guest, store, each) for each in value]
    return value


def _drop_resource(_store: Any, number: int) -> None:
    guest: Guest | None = getattr(_running, "guest", None)
    if guest is not None:  # None: the whole sandbox goes, and its table with it
        resource = guest.handles.drop(number)
        if resource is not None:
            resource.dropped()


def _missing_function(interface: str, name: str) -> HostFunction:
    def trap(_guest: Guest, *_args: object) -> object:
        raise Trap(f"this host does not have {interface}.{name}")

    return trap


def _first_words(error: WasmtimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("error while", "wasm backtrace", "Caused by"))]
    wanted = [line for line in said if "host:" in line or "trap" in line or "fuel" in line] or said[-1:]
    return wanted[-1][:500] if wanted else "the sandbox ended"


def _compiled_component(engine: Engine, wasm: bytes, cache: Path | None, *, fuel: bool) -> Component:
    """The component's machine code, of `cache` if it is there. Raises `Invalid`: it is not a component."""
    name = hashlib.sha256(wasm).hexdigest()
    kept = cache and cache / f"{name}-{version('wasmtime')}-{platform.machine()}{'-fuel' if fuel else ''}.cwasm"
    if kept and kept.exists():
        tighten_folder(str(kept.parent))
        if kept.stat().st_uid == os.getuid():
            try:
                os.utime(kept)
                return Component.deserialize_file(engine, str(kept))
            except WasmtimeError:  # of another processor, or cut short: it is made again
                kept.unlink(missing_ok=True)
    try:
        made = Component(engine, wasm)
    except WasmtimeError as error:
        raise Invalid(f"this is not a WebAssembly component: {_first_words(error)}") from error
    if kept:
        make_folder(str(kept.parent))
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(made.serialize())
        os.replace(file.name, kept)
        _forget_old_code(kept.parent)
    return made


def _forget_old_code(folder: Path) -> None:
    """Remove the machine code that was used least lately: each is 50 MB."""
    kept = sorted(folder.glob("*.cwasm"), key=lambda path: path.stat().st_mtime)
    for path in kept[:-KEPT]:
        path.unlink(missing_ok=True)
