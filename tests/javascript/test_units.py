"""`@virke/runtime` as it is packed: its own tests (`js/test`), on a real node. Needs Node, and nothing from a registry."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import virke
from tests.javascript.packed import PACKED, ROOT, SOURCES, contents, unpack
from tests.servers.node import node

OLDEST = 20


def lacking() -> str | None:
    """What keeps JavaScript from running here; None if nothing does."""
    if (program := shutil.which("node")) is None:
        return "Node is not on this machine"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)", version)
    return None if found and int(found[1]) >= OLDEST else f"Node {version.strip()} is older than {OLDEST}"


@pytest.mark.skipif(lacking() is not None, reason=str(lacking()))
def test_the_runtimes_own_tests_pass_on_a_node(tmp_path: Path) -> None:
    unpack(PACKED, tmp_path)
    shutil.copytree(SOURCES / "test", tmp_path / "test")
    store = f"local:{tmp_path / 'store'}"
    for name in ("app", "other"):
        command = [sys.executable, "-m", "virke", "db", "create", name, "--store", store]
        subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    with node(store, tmp_path) as running:
        vectors = {"VECTORS": str(ROOT / "vectors" / "http-1" / "values.json")}
        done = subprocess.run(
            ["node", "--test", "--test-reporter=tap", "test/"],
            cwd=tmp_path,
            env={**os.environ, **vectors, "VIRKE_URL": running.url, "NODE_OPTIONS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.findall(r"^ *not ok .*(?:\n.*){0,25}", done.stdout, re.MULTILINE)
    assert done.returncode == 0, "\n".join(failed) + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 250, "the tests were not found"


def test_the_packed_package_is_small_whole_and_of_this_version() -> None:
    files = contents(PACKED)
    package = json.loads(files["package.json"])
    assert package == json.loads((SOURCES / "package.json").read_bytes())
    assert (package["name"], package["version"]) == ("@virke/runtime", virke.__version__)
    named = [path for entry in package["exports"].values() for path in _paths(entry)]
    assert {path.removeprefix("./") for path in named} <= files.keys()
    conditions = ["types", "fastly", "workerd", "node", "default"]
    assert [list(package["exports"][entry]) for entry in (".", "./hono")] == [conditions, conditions]
    assert PACKED.stat().st_size < 50_000
    sources = {path.relative_to(SOURCES / "src").with_suffix(".js") for path in (SOURCES / "src").rglob("*.ts")}
    built = {Path(name).relative_to("dist") for name in files if name.startswith("dist/") and name.endswith(".js")}
    assert built == {path for path in sources if not path.name.endswith(".d.js")}


def _paths(entry: str | dict[str, str]) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())
