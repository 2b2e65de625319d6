"""A process beside the tests: works on a local store until it is done or killed.

    local_worker.py <work> <folder> [argument]

It prints one line for each write that the store has answered, so whoever kills it knows what must be there.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from pathlib import Path

from virke.core.effects import Record, Stored, Swapped, Tier
from virke.stores.base import Range, Store
from virke.stores.cached.on_disk import cached_blobs
from virke.stores.local.store import local_store

FILL_BYTES = 1 << 20
"""The budget that `fill` keeps on disk."""


def value_of(n: int) -> bytes:
    """What the `n`-th write holds: its number, then enough of one byte to take several writes of the disk."""
    return b"%08d" % n + bytes([n % 256]) * (n * 7919 % 200_000)


def record_of(store: Store, key: str) -> Record:
    """The record of `key`, which must be there."""
    record = store.register.read(key)
    assert isinstance(record, Record), record
    return record


def count(store: Store, times: str) -> None:
    """Add one to `counter`, as often as asked, by compare-and-swap."""
    done = 0
    while done < int(times):
        record = record_of(store, "counter")
        value = int(record.data) + 1
        if isinstance(store.register.swap("counter", b"%d" % value, record.generation), Swapped):
            done += 1
            print(value, flush=True)


def create(store: Store, name: str) -> None:
    """Create one hundred keys, if others don't do it first."""
    for n in range(100):
        if isinstance(store.register.swap(f"new/{n}", name.encode(), None), Swapped):
            print(n, flush=True)


def swap(store: Store, _: str) -> None:
    """Swap `root` for ever."""
    for n in itertools.count(1):
        base = None if n == 1 else record_of(store, "root").generation
        assert isinstance(store.register.swap("root", value_of(n), base), Swapped)
        print(n, flush=True)


def put(store: Store, tier: str) -> None:
    """Put objects for ever."""
    for n in itertools.count(1):
        assert store.blobs[Tier(tier)].put_new(f"o/{n}", value_of(n)) == Stored()
        print(n, flush=True)


def fork(store: Store, times: str) -> None:
    """Fork beside threads that read and write; each child, and then the parent, uses the store."""
    store.register.swap("busy", b"", None)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            record = record_of(store, "busy")
            store.register.swap("busy", record.data, record.generation)

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(int(times)):
        child = os.fork()
        if child == 0:
            os._exit(use_after_fork(store))
        assert os.waitpid(child, 0)[1] == 0
        count(store, "1")
    stop.set()
    for thread in threads:
        thread.join()


def stand(store: Store, arguments: str) -> None:
    """Stand in line as often as asked, and print each time one is first; begins when the file `go` is there."""
    assert store.line is not None
    name, folder, times = arguments.split(",")
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    print("1", flush=True)
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.001)
    for _ in range(int(times)):
        with store.line("k", 60.0) as is_first:
            assert is_first
            os.write(log, name.encode())
            time.sleep(0.001)


def stay(store: Store, how: str) -> None:
    """Be first in line for ever; with `fork` a child goes on, past the end of its block too."""
    assert store.line is not None
    with store.line("k", 0.0) as is_first:
        assert is_first
        child = os.fork() if how == "fork" else 1
        if child:
            print(child, flush=True)
            time.sleep(600)
    time.sleep(600)


def use_after_fork(store: Store) -> int:
    """Zero, unless an open `kv.sqlite` was inherited."""
    files = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    inherited = [file for file in files if "kv.sqlite" in file]
    count(store, "1")
    return len(inherited)


def cache(store: Store, folder: str) -> None:
    """Read one object through a cache on disk and print what the cache counted."""
    blobs = cached_blobs(store.blobs[Tier.OBJECT], folder=Path(folder))
    [data] = blobs.get([Range("k")])
    assert data == value_of(1)
    print(blobs.counts.disk_hits, blobs.counts.misses, flush=True)


def fill(store: Store, folder: str) -> None:
    """Read all objects three times, each time through new caches on disk, and print how many answers were wrong."""
    keys = sorted(listed.key for listed in store.blobs[Tier.OBJECT].list("o/"))
    random.shuffle(keys)
    wrong = 0
    for key in keys * 3:
        blobs = cached_blobs(store.blobs[Tier.OBJECT], memory_bytes=0, folder=Path(folder), disk_bytes=FILL_BYTES)
        wrong += blobs.get([Range(key)]) != [value_of(int(key[2:]))]
    print(wrong, flush=True)


WORKS = {work.__name__: work for work in (count, create, swap, put, fork, stand, stay, cache, fill)}

if __name__ == "__main__":
    name, place, *argument = sys.argv[1:]
    WORKS[name](local_store(Path(place)), "".join(argument))
