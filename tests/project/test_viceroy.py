"""`virke dev --edge --viceroy`: where the simulator is looked for, and what it begins with; a script stands in for it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.edge.building.pythons import script
from tests.servers.running import free_ports
from virke.core.effects import Tier
from virke.errors import Unavailable, UsageError
from virke.opening import create, open_store
from virke.project.children import Children
from virke.project.viceroy import Simulation, find_viceroy, write_configuration
from virke.stores.base import Range


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a simulator; the folder of its PATH."""
    for name, folder in (("PATH", "bin"), ("HOME", "home"), ("XDG_CACHE_HOME", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    return tmp_path


def test_without_a_simulator_nothing_is_built(folder: Path, virke: Virke, nowhere: Path) -> None:
    (folder / "virke.toml").write_text('[database]\nname = "d"\n')
    found = virke("dev", "--edge", "--viceroy")
    assert found.exit_code == 2
    assert "there is no `viceroy` on the PATH" in found.stderr
    assert "cargo install viceroy" in found.stderr
    assert not (folder / "bin").exists()
    assert virke("dev", "--viceroy").exit_code == 2


@pytest.mark.parametrize("place", ["bin/viceroy", "home/.cargo/bin/viceroy", "cache/virke/viceroy/viceroy"])
def test_it_is_found(nowhere: Path, place: str) -> None:
    there = script(nowhere / place, "exit 0")
    assert find_viceroy() == str(there)


def test_it_begins_with_what_the_store_holds(tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'store'}"
    database = create("d", url)
    database.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(300000))")
    database.close()
    folder = tmp_path / "scratch"
    folder.mkdir()

    found = tomllib.loads(
        write_configuration(folder, url, {"db": 'a "d"'}, {"virke": "http://127.0.0.1:1"}).read_text()
    )["local_server"]

    assert found["config_stores"]["virke"]["contents"] == {"db": 'a "d"', "open": "yes"}
    assert found["backends"] == {"virke": {"url": "http://127.0.0.1:1"}}
    items = {item["key"]: Path(item["file"]).read_bytes() for item in found["kv_stores"]["virke"]}
    store = open_store(url)
    blobs = store.blobs[Tier.KV]
    objects = [item.key for item in blobs.list("")]
    assert objects
    assert sorted(items) == sorted(
        [f"register/{key}" for key in store.register.keys("")] + [f"blobs/{key}" for key in objects]
    )
    assert [items[f"blobs/{key}"] for key in objects] == blobs.get([Range(key) for key in objects])


def test_an_empty_store_is_an_empty_one_there(tmp_path: Path) -> None:
    text = write_configuration(tmp_path, f"local:{tmp_path / 'store'}", {}, {}).read_text()
    assert tomllib.loads(text)["local_server"]["kv_stores"] == {"virke": []}


def test_it_is_waited_for_until_it_listens(nowhere: Path) -> None:
    [port] = free_ports(1)
    listens = "import socket,sys; s=socket.create_server(('127.0.0.1', int(sys.argv[1].split(':')[1]))); s.accept(); s.accept()"
    script(nowhere / "bin" / "viceroy", f'[ "$1 $3" = "-C --addr" ] && exec {sys.executable} -c "{listens}" "$4"')
    with Children() as children:
        simulation = Simulation(nowhere / "main.wasm", nowhere / "viceroy.toml", port, children=children)
        assert simulation.url == f"http://127.0.0.1:{port}"
        assert simulation.child.code is None
        simulation.stop()


def test_one_that_ends_is_an_error(nowhere: Path) -> None:
    script(nowhere / "bin" / "viceroy", "exit 3")
    [port] = free_ports(1)
    with Children() as children, pytest.raises(Unavailable, match="ended with exit code 3"):
        Simulation(nowhere / "main.wasm", nowhere / "viceroy.toml", port, children=children)


def test_the_hint_goes_with_the_error(nowhere: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_viceroy()
    assert "host of Virke's own" in str(caught.value.context["hint"])
