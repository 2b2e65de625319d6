"""A process that forks: its child uses the store, or is told at once why it can't; neither gets the other's answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.fastly_kv import TOKEN, KvServer
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.servers.valkey import ValkeyServer
from virke.core.effects import Stored, Tier
from virke.stores.base import Range, Store
from virke.stores.fastly_kv.store import fastly_kv_store
from virke.stores.local.store import local_store
from virke.stores.valkey.store import valkey_store

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 60
OBJECTS = """
import os, signal, sys
import virke
url, when = sys.argv[1:]
def tried(call):
    try:
        return call()
    except virke.VirkeError as error:
        return error.kind, error.message
parent = virke.connect("app", url, create=True, background=False) if when == "used" else virke.connect
if when == "used":
    parent.execute("CREATE TABLE IF NOT EXISTS t (v)")
child = os.fork()
if child == 0:
    signal.alarm(30)
    if when == "used":
        print(tried(lambda: parent.query("SELECT count(*) FROM t", consistency="strong").rows))
        print(tried(lambda: parent.execute("INSERT INTO t VALUES (1)")))
    print(tried(lambda: virke.connect("app", url, background=False).query("SELECT 7").rows), flush=True)
    sys.exit(0)
status = os.waitpid(child, 0)[1]
print("child", status)
if when == "used":
    parent.execute("INSERT INTO t VALUES (1)")
    print(parent.query("SELECT count(*) FROM t").rows)
"""


def after_a_fork(server: S3Server, when: str) -> list[str]:
    """What child and parent say."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", OBJECTS, server.url("fork"), when],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "VIRKE_CACHE": "off",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_p11_a_child_of_a_process_that_used_object_storage_is_told_so_at_once(moto: S3Server) -> None:
    """On inherited connections and on its own, reading and writing; nothing waits, and the parent goes on."""
    *refused, child, rows = after_a_fork(moto, "used")
    assert [child, rows] == ["child 0", "[(1,)]"]
    assert len(refused) == 3
    for line in refused:
        assert line.startswith("('unavailable', ")
        assert "fork before the first request" in line


def test_a_child_of_a_process_that_did_not_use_it_yet_works(moto: S3Server) -> None:
    """The library's threads start with the first request, so what comes before a fork is only opening."""
    after_a_fork(moto, "used")
    assert after_a_fork(moto, "unused") == ["[(7,)]", "child 0"]


def _local(request: pytest.FixtureRequest) -> Store:
    return local_store(request.getfixturevalue("tmp_path"))


def _valkey(request: pytest.FixtureRequest) -> Store:
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return valkey_store(server.url(prefix="fork"))


def _fastly(request: pytest.FixtureRequest) -> Store:
    server: KvServer = request.getfixturevalue("fastly_kv_server")
    return fastly_kv_store(server.url(server.create()[0]), token=TOKEN)


STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {"local": _local, "valkey": _valkey, "fastly": _fastly}


@pytest.mark.parametrize("name", STORES)
def test_parent_and_child_never_get_each_others_answers(request: pytest.FixtureRequest, name: str) -> None:
    """Both go on over one client that was used before the fork, each reading objects of its own."""
    store = STORES[name](request)
    blobs = store.blobs[Tier.KV]
    assert all(blobs.put_new(f"{who}/k", who.encode() * 1000) == Stored() for who in ("parent", "child"))
    assert blobs.get([Range("parent/k")]) == [b"parent" * 1000]
    child = os.fork()
    who = "parent" if child else "child"
    if child == 0:
        signal.alarm(DEADLINE_S)
    wrong = 1
    try:
        wrong = sum(blobs.get([Range(f"{who}/k")]) != [who.encode() * 1000] for _ in range(100))
    finally:
        if child == 0:
            os._exit(wrong != 0)
    assert os.waitpid(child, 0)[1] == 0
    assert wrong == 0
