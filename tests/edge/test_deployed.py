"""What `virke deploy` wrote into an account is what the component reads: the service runs on the host just as it was deployed.

Its KV store is that of the model of Fastly's API, by the CLI's own client; its configuration, secrets, backends and program are those of its active version. The
node that takes the writes is a real one, on the same KV store.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.cli.conftest import folder as folder
from tests.cli.conftest import virke as virke
from tests.edge.serving import NAME, Edge
from tests.project.fastly_project import TOML, kv_url, package, write_project
from tests.servers.fastly_api import FastlyApi, account_of_the_environment
from tests.servers.node import node
from virke.config import StoreChoice
from virke.edge.host.buckets import host_over
from virke.opening import open_store

pytestmark = [pytest.mark.slow, pytest.mark.once]
PROJECT = TOML.replace("my-app-db", NAME)


@pytest.fixture
def api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastlyApi]:
    """An empty account, and the variables that lead to it."""
    with account_of_the_environment(monkeypatch) as running:
        yield running


def deploy(virke: Virke) -> dict[str, object]:
    """Deploy; what `--json` says."""
    found = virke("deploy", "--target", "fastly", "--json")
    assert found.exit_code == 0, found.output
    said: dict[str, object] = json.loads(found.stdout)
    return said


@contextmanager
def running(api: FastlyApi, folder: Path, token: object) -> Iterator[Edge]:
    """The only service of an account, as its active version says."""
    (service,), (kv,) = api.account.services.values(), api.account.kv
    active = service.active
    assert active is not None
    with tarfile.open(fileobj=io.BytesIO(active.package)) as archive:
        program = archive.extractfile("my-app/bin/main.wasm")
        assert program is not None
        (folder / "deployed.wasm").write_bytes(program.read())
    linked = {one["resource_type"]: one["resource_id"] for one in active.links.values() if one["name"] == "virke"}
    backends = {
        name: f"http{'s' if one['use_ssl'] else ''}://{one['address']}:{one['port']}"
        for name, one in active.backends.items()
    }
    assert linked["kv-store"] == kv
    store = open_store(StoreChoice(kv_url(api, kv)), cached=False)
    host = host_over(
        store,
        folder / "deployed.wasm",
        config=api.account.config[linked["config"]].content,
        secrets=api.account.secret[linked["secret-store"]].content,
        backends=backends,
        reuse=100,
        fuel=True,  # then its limits hold under any load
    )
    try:
        yield Edge(host, store, token=str(token))
    finally:
        host.settle()
        host.close()


def test_a_deployed_service_asks_for_tokens_reads_and_writes(
    component: Path, folder: Path, api: FastlyApi, virke: Virke
) -> None:
    """With the token that the deployment showed; the CLI sees what was written, and the service what the CLI wrote."""
    write_project(folder, toml=PROJECT)
    (folder / "pkg" / "my-app.tar.gz").write_bytes(package("my-app", component.read_bytes()))
    done = deploy(virke)
    with running(api, folder, done["token"]) as app:
        assert app.execute("INSERT INTO users (name) VALUES ('Alice')").status == 200
        url = str(done["url"])
        assert virke("db", "execute", "INSERT INTO users (name) VALUES ('Bob')", "--store", url).exit_code == 0
        assert app.query("SELECT name FROM users ORDER BY id", fresh=True).rows == [["Alice"], ["Bob"]]
        assert app.execute("DROP TABLE users").status == 403  # the token writes rows, and no schema
        app.token = None
        assert app.query("SELECT 1").status == 401


def test_writes_of_a_deployed_service_go_through_the_node(
    component: Path, folder: Path, api: FastlyApi, virke: Virke
) -> None:
    """Reads are served in the sandbox; writes and transactions reach a real node, whose bookmark makes the next read see them."""
    write_project(folder, toml=PROJECT)
    (folder / "pkg" / "my-app.tar.gz").write_bytes(package("my-app", component.read_bytes()))
    token = deploy(virke)["token"]
    (kv,) = api.account.kv
    with node(kv_url(api, kv), folder) as other:
        (folder / "virke.toml").write_text(PROJECT + f'\n[edge]\nwrites = "{other.url}"\n')
        assert deploy(virke)["services"][0]["version"] == 2  # type: ignore[index]
        with running(api, folder, token) as app:
            for number in range(20):
                written = app.execute("INSERT INTO users (name) VALUES (?)", f"user {number}")
                assert (written.json["rows_affected"], written.response.counts.writes) == (1, 0)
            seen = app.query("SELECT count(*) FROM users", virke_bookmark=written.json["bookmark"])
            assert (seen.rows, seen.response.counts.backend_requests) == ([[20]], 0)
            path = f"/db/{NAME}/v2/pipeline"
            begun = [{"type": "execute", "stmt": {"sql": sql}} for sql in ("BEGIN", "DELETE FROM users")]
            first = app.ask("POST", path, {"baton": None, "requests": begun})
            ended = [{"type": "execute", "stmt": {"sql": "ROLLBACK"}}, {"type": "close"}]
            last = app.ask("POST", path, {"baton": first.json["baton"], "requests": ended})
            assert [one["type"] for one in (*first.json["results"], *last.json["results"])] == ["ok"] * 4
            assert app.query("SELECT count(*) FROM users").rows == [[20]]
