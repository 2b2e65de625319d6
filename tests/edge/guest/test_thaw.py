"""Thawed dataclasses take the same arguments and are equal to the same; those of a program stay as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.native
PROBE = """
import inspect, sys
from dataclasses import dataclass, replace, FrozenInstanceError
import virke.api.routes, virke.edge.guest.thaw as thaw, virke.engine.database, virke.stores.base as base
from virke.core.ids import Version
from virke.core.root import decode_root, encode_root, first_root
from virke.core.effects import Tier

@dataclass(frozen=True)
class Programs:
    x: int

def arguments(made):
    return [(p.name, p.kind, p.default) for p in inspect.signature(made).parameters.values()]

def root():
    return first_root(name="a", database_id=bytes(16), commit_id=bytes(16), time_ms=1, page_size=4096, tier=Tier.KV)

found = [one for module in thaw._own_modules() for one in vars(module).values() if thaw._is_frozen(one)]
assert all(one.__init__.__code__.co_filename == "<string>" for one in found), "generated ones only"
before = {one: (arguments(one), one.__hash__, one.__eq__) for one in found}
frozen = root()
assert thaw.thaw() == len(before) > 100
assert thaw.thaw() == 0
assert {one: (arguments(one), one.__hash__, one.__eq__) for one in found} == before
assert root() == frozen and hash(root()) == hash(frozen) and repr(root()) == repr(frozen)
assert replace(root(), rest_ms=3) != frozen == decode_root(encode_root(root()), "a")
assert base.Store("u", 1, {}) == base.Store("u", 1, {}, plain=frozenset())
root().rest_ms = 4
for one in (Programs(1),):
    try:
        one.x = 2
    except FrozenInstanceError:
        print("frozen still")
"""


def test_thawed_classes_are_as_before_but_for_the_guard() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("frozen still\n", 0), done.stderr
