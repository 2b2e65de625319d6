"""What a client may do is what its token may do; what it may not is `Denied`, as an embedded database says it (P12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import virke
from tests.client.conftest import TABLE
from tests.servers.node import Node, node
from virke import tokens
from virke.migrations import migrate
from virke.opening import open_store
from virke.scopes import Scope
from virke.transfer import export_file, import_file

Call = Callable[[virke.Database, Path], object]
CALLS: dict[str, tuple[Scope, Call]] = {
    "query": (Scope.READ, lambda db, _: db.query("SELECT count(*) FROM item")),
    "run": (Scope.READ, lambda db, _: db.run("SELECT 1")),
    "script": (Scope.READ, lambda db, _: db.run_script("SELECT 1; SELECT 2")),
    "rows": (Scope.READ, lambda db, _: [*db.query_rows("SELECT 1")]),
    "describe": (Scope.READ, lambda db, _: db.describe("SELECT 1")),
    "schema": (Scope.READ, lambda db, _: db.schema()),
    "status": (Scope.READ, lambda db, _: db.status()),
    "settings": (Scope.READ, lambda db, _: db.settings()),
    "export": (Scope.READ, lambda db, folder: export_file(db, folder / "out.sql", force=True)),
    "write": (Scope.WRITE, lambda db, _: db.execute("INSERT INTO item (price) VALUES (1)")),
    "write by query": (Scope.WRITE, lambda db, _: db.query("DELETE FROM item")),
    "batch": (Scope.WRITE, lambda db, _: db.batch(["DELETE FROM item", "SELECT 1"])),
    "many": (Scope.WRITE, lambda db, _: db.executemany("INSERT INTO item (price) VALUES (?)", [[1]])),
    "transaction": (Scope.WRITE, lambda db, _: db.run_transaction(lambda tx: tx.execute("DELETE FROM item"))),
    "ddl": (Scope.SCHEMA, lambda db, _: db.run_script("CREATE TABLE u (x); DROP TABLE u")),
    "without keys": (
        Scope.SCHEMA,
        lambda db, _: [db.query("PRAGMA foreign_keys = OFF"), db.execute("DELETE FROM item")],
    ),
    "import": (Scope.SCHEMA, lambda db, folder: import_file(db, folder / "in.sql")),
    "migrate": (Scope.SCHEMA, lambda db, folder: migrate(db, folder / "migrations")),
    "settings change": (Scope.ADMIN, lambda db, _: db.change_settings({"history_days": 5})),
    "flush": (Scope.ADMIN, lambda db, _: db.flush()),
    "upkeep": (Scope.ADMIN, lambda db, _: db.upkeep()),
    "gc": (Scope.ADMIN, lambda db, _: db.collect(dry_run=True)),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, dict[Scope, str]]]:
    """A node whose store has tokens, one of each scope for `app`."""
    folder = tmp_path_factory.mktemp("guarded")
    store = open_store(f"local:{folder / 'store'}", create=True)
    with virke.create("app", store) as database:
        database.execute(TABLE)
    virke.create("other", store).close()
    texts = {scope: tokens.create(store, ["app"], scope)[0] for scope in Scope}
    with node("local:store", folder) as running:
        yield running, texts


@pytest.mark.parametrize("scope", Scope)
def test_a_call_is_done_or_denied(guarded: tuple[Node, dict[Scope, str]], tmp_path: Path, scope: Scope) -> None:
    at, texts = guarded
    (tmp_path / "in.sql").write_text("CREATE TABLE IF NOT EXISTS v (x);")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001_a.sql").write_text("CREATE TABLE IF NOT EXISTS w (x);")
    done = {}
    for name, (_, call) in CALLS.items():
        with virke.connect("app", at.url, token=texts[scope]) as db:
            try:
                call(db, tmp_path)
            except virke.Denied:
                done[name] = False
            else:
                done[name] = True
    assert done == {name: scope >= least for name, (least, _) in CALLS.items()}


def test_without_a_good_token_nothing_is_answered(guarded: tuple[Node, dict[Scope, str]]) -> None:
    at, texts = guarded
    for token in (None, texts[Scope.ADMIN][:-1] + "!", "vk_x"):
        with pytest.raises(virke.Denied) as raised:
            virke.connect("app", at.url, token=token)
        assert "virke token create" in str(raised.value.context["hint"])
    with pytest.raises(virke.Denied):
        virke.connect("other", at.url, token=texts[Scope.ADMIN])
    with pytest.raises(virke.Denied):
        virke.connect("new", at.url, token=texts[Scope.ADMIN], create=True)
    assert virke.list_databases(at.url, token=texts[Scope.READ]) == ["app"]
    with virke.connect("app", at.url, token=texts[Scope.READ], create=True) as db:
        assert db.query("SELECT 1").rows == [(1,)], "it is there: nothing has to be created"
