"""A component on Fastly's own simulator, Viceroy, where one is found: with a copy of a local store's items, which is forgotten.

Knows the simulator's command and its configuration; installs none.

1. What the simulator's KV store begins with is what the store holds under the names that both have for it (`fastly_kv.layout`).
   Nothing goes back.
2. As on our host, the service is open (`open`), and that is written for this run alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from virke.config import StoreChoice, cache_folder
from virke.edge.host.items import StoreItems
from virke.errors import Unavailable, UsageError
from virke.opening import open_store
from virke.project.children import Children, ending_words
from virke.stores.fastly_kv.layout import BLOBS, REGISTER

LINK: Final = "virke"
HOST: Final = "127.0.0.1"
KEYS_AT_ONCE: Final = 1000
TICK_S: Final = 0.2
VERSION: Final = "0.22.0"
HINT: Final = (
    f"cargo install viceroy --locked --version {VERSION} builds one; without --viceroy a host of Virke's own serves it"
)


def find_viceroy() -> str:
    """The simulator: of the PATH, of cargo, or of the cache. Raises `UsageError`: there is none."""
    cache = cache_folder()
    places = [shutil.which("viceroy"), Path.home() / ".cargo/bin/viceroy", cache and cache / "viceroy" / "viceroy"]
    for place in places:
        if place is not None and os.access(place, os.X_OK):
            return str(place)
    raise UsageError("there is no `viceroy` on the PATH, in ~/.cargo/bin or in Virke's cache folder", hint=HINT)


def write_configuration(folder: Path, store: str, config: Mapping[str, str], backends: Mapping[str, str]) -> Path:
    """The simulator's configuration, with the items of a store as files next to it; its path."""
    lines = ["manifest_version = 3", 'name = "virke-dev"', 'language = "other"']
    for name, url in backends.items():
        lines += [f"[local_server.backends.{json.dumps(name)}]", f"url = {json.dumps(url)}"]
    lines += [f"[local_server.config_stores.{LINK}]", 'format = "inline-toml"']
    lines += [f"[local_server.config_stores.{LINK}.contents]"]
    lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in {**config, "open": "yes"}.items()]
    items = list(_items_of_store(store))
    if not items:
        lines += ["[local_server.kv_stores]", f"{LINK} = []"]
    for number, (key, data) in enumerate(items):
        path = folder / f"item-{number}"
        path.write_bytes(data)
        lines += [f"[[local_server.kv_stores.{LINK}]]", f"key = {json.dumps(key)}", f"file = {json.dumps(str(path))}"]
    manifest = folder / "viceroy.toml"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


class Simulation:
    """A component that the simulator serves; its words go to where its parent's go."""

    def __init__(self, component: Path, manifest: Path, port: int, *, children: Children) -> None:
        """Start it and wait until it listens. Raises `Unavailable`: it ended."""
        self.url = f"http://{HOST}:{port}"
        command = [find_viceroy(), "-C", str(manifest), "--addr", f"{HOST}:{port}", str(component)]
        self.child = children.start(command, manifest.parent, os.environ)
        while not _is_listening(port):
            if (code := self.child.code) is not None:
                self.child.stop()
                raise Unavailable(f"viceroy {ending_words(code)}; its words are above")

    def stop(self) -> None:
        """End it."""
        self.child.stop()


def _is_listening(port: int) -> bool:
    with socket.socket() as trial:
        trial.settimeout(TICK_S)
        if trial.connect_ex((HOST, port)) == 0:
            return True
    time.sleep(TICK_S)
    return False


def _items_of_store(url: str) -> Iterator[tuple[str, bytes]]:
    """All items of a store that a KV store would have."""
    items = StoreItems(open_store(StoreChoice(url), create=True))
    for prefix in (REGISTER, BLOBS):
        after = ""
        while keys := items.keys(prefix, after, KEYS_AT_ONCE):
            for key in keys:
                if (item := items.lookup(key)) is not None:
                    yield key, item.data
            after = keys[-1]
