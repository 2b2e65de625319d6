"""Which store a URL means: the only place that knows stores by name.

Everything else is given a `Store`. What only some stores need (a library, the cache of far ones, the pairing of two) is
imported when such a store is opened: a command that reads a local file waits for none of it.

1. A URL that is not understood is `UsageError`, never a guess.
2. What is far away is read through a cache (`cached`), of which the part on disk is shared by all processes.
3. Every store is metered (`receipt`), beneath its cache.
4. Where a store has no line of writers (L1), the threads of this process have one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from virke.config import (
    LOCAL_SCHEMES,
    StoreChoice,
    cache_folder,
    expanded_path,
    is_cache_off,
    local_path,
    scheme_of,
    store_urls,
)
from virke.errors import Invalid, UsageError
from virke.stores import receipt
from virke.stores.base import Store
from virke.stores.line import ThreadLine
from virke.stores.local.store import shared_local_store
from virke.stores.receipt import metered_store

Opener = Callable[[str, Mapping[str, str]], Store]
"""Opens what a URL names, with the options given with it."""
CACHE_VARIABLE: Final = "VIRKE_CACHE"
CACHE_MEMORY_BYTES: Final = 32 << 20
KNOWN: Final = (
    "local:FOLDER, memory://NAME, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, "
    "fastly-kv://STORE_ID, valkey://HOST:PORT, or a KV store and an object store with a comma between them"
)


def open_url(choice: StoreChoice, *, create: bool, cached: bool = True) -> Store:
    """The store that a choice names. With `create` the folder of a local store is made; `cached`: invariant 2.

    Raises:
        UsageError: the URL is not understood, or the library that it needs is not installed.
    """
    urls = store_urls(choice.url)
    if len(urls) > 2:
        raise UsageError(f"{len(urls)} store URLs, at most two: a KV store and an object store")
    opened = [_open_one(url, choice.options, create) for url in urls]
    _check_root(urls[0], choice.options)
    store = opened[0] if len(opened) == 1 else _paired_store(*opened)
    if store.line is None:
        store = replace(store, line=_line_of(store.url))
    return (
        _with_cache(metered_store(store), choice.options)
        if cached and any(map(_is_far, urls))
        else metered_store(store)
    )


def _paired_store(kv: Store, objects: Store) -> Store:
    from virke.stores.composite import composite_store

    return composite_store(kv, objects)


def _line_of(url: str) -> ThreadLine:
    """The line of the threads of this process, whichever object they have opened the store as."""
    with _lines_lock:
        line = _lines.get(url)
        if line is None:
            line = _lines[url] = ThreadLine()
        return line


_lines: Final[weakref.WeakValueDictionary[str, ThreadLine]] = weakref.WeakValueDictionary()
_lines_lock: Final = threading.Lock()


def place_of(store_url: str) -> str:
    """The place alone that the URL of an open store names, not how it is asked: without `region`, a user and the like.

    What is kept next to a database (a journal of deferred writes) is found by it when those change.
    """
    return ",".join(map(_place_of, store_urls(store_url)))


def _place_of(url: str) -> str:
    opener = _opener_of(url)
    if opener is _open_object:
        from virke.stores.object.url import object_place

        return object_place(url).name
    if opener is _open_valkey:
        from virke.stores.valkey.url import parse_address

        return parse_address(url).name
    return url


def _opener_of(url: str) -> Opener | None:
    scheme, _ = scheme_of(url)
    return _OPENERS[scheme][1] if scheme in _OPENERS else None


def _check_root(url: str, options: Mapping[str, str]) -> None:
    """Refuse object storage that is known to have no conditional PUT in the place where roots would be."""
    if _opener_of(url) is not _open_object:
        return
    from virke.stores.object.url import object_place

    if not object_place(url, options).create_only:
        raise UsageError(
            f"this {scheme_of(url)[0]} store has no conditional PUT and can't hold roots: name a KV store before it (KV_URL,OBJECT_URL)"
        )


def _is_far(url: str) -> bool:
    return scheme_of(url)[0] not in ("memory", *LOCAL_SCHEMES)


def _open_one(url: str, options: Mapping[str, str], create: bool) -> Store:
    path = local_path(url)
    if path is not None:
        return shared_local_store(path, create=create)
    scheme, rest = scheme_of(url)
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise UsageError(f"unknown store {scheme}:…; known: {KNOWN}")
    extra, function = opener
    try:
        return function(f"{scheme}:{rest}", options)
    except ModuleNotFoundError as error:
        raise UsageError(f"{scheme}:// stores need one more package: pip install 'virke[{extra}]'") from error
    except Invalid as error:
        raise UsageError(error.message) from error


def _open_memory(url: str, options: Mapping[str, str]) -> Store:
    from virke.stores.memory import memory_store

    return memory_store(url)


def _open_object(url: str, options: Mapping[str, str]) -> Store:
    from virke.stores.object.store import object_store
    from virke.stores.object.url import object_place

    return object_store(object_place(url, options, options))


def _open_fastly_kv(url: str, options: Mapping[str, str]) -> Store:
    from virke.stores.fastly_kv.store import fastly_kv_store

    return fastly_kv_store(url, token=options.get("fastly_api_token"))


def _open_valkey(url: str, options: Mapping[str, str]) -> Store:
    from virke.stores.valkey.store import valkey_store

    return valkey_store(url)


_OPENERS: Final[Mapping[str, tuple[str, Opener]]] = {
    "memory": ("", _open_memory),
    "s3": ("s3", _open_object),
    "gs": ("s3", _open_object),
    "az": ("s3", _open_object),
    "fastly-kv": ("fastly", _open_fastly_kv),
    "valkey": ("valkey", _open_valkey),
    "valkeys": ("valkey", _open_valkey),
    "redis": ("valkey", _open_valkey),
    "rediss": ("valkey", _open_valkey),
}
"""Scheme → the extra that brings its library, and how to open it; all but local ones (`config.LOCAL_SCHEMES`)."""


def _with_cache(store: Store, options: Mapping[str, str]) -> Store:
    from virke.stores.cached.on_disk import DISK_BYTES, cached_store

    disk_bytes = int(options["cache_mb"]) << 20 if "cache_mb" in options else DISK_BYTES
    folder = _cache_folder(options) if disk_bytes else None
    return cached_store(
        store, memory_bytes=CACHE_MEMORY_BYTES, folder=folder, disk_bytes=disk_bytes, on_hits=receipt.add_cache_hits
    )


def _cache_folder(options: Mapping[str, str]) -> Path | None:
    """Where the cache on disk is; None for none: it was switched off, or no home folder is known (in a container)."""
    chosen = os.environ.get(CACHE_VARIABLE) or options.get("cache_dir")
    if chosen is not None:
        return None if is_cache_off(chosen) else expanded_path(chosen)
    return cache_folder()
