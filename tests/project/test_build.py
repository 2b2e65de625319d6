"""`virke build`: what belongs to an app, when it is built again, and what is said; a script stands in for the vendor's tool."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.cli.conftest import SOURCE, Virke
from tests.edge.building.pythons import stand_in
from virke.config import load_config
from virke.edge.building.pythons import find_python
from virke.errors import UsageError
from virke.project.building import app_files, entry_text, plan_of
from virke.project.entry import Entry

TOOL = """for word in "$@"; do [ "$last" = --output ] && out=$word; last=$word; done
echo run >> {ran}; cat virke_component.py > "$out"
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line each time the tool runs."""
    try:
        python = find_python()
    except UsageError as error:
        pytest.skip(error.message)
    cache, ran = tmp_path / ".cache", tmp_path / ".ran"  # hidden: they are in the app's folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PATH", "")
    stand_in(cache, python, TOOL.format(ran=ran).replace("cat ", "/bin/cat "))
    monkeypatch.setattr("virke.project.building.find_python", lambda: python)
    return ran


def test_without_an_app_the_component_is_the_api(folder: Path, virke: Virke, runs: Path) -> None:
    (folder / "virke.toml").write_text('[project]\nname = "shop"\n')

    first, again = virke("build"), virke("build")

    assert first.exit_code == 0, first.output
    assert "building the HTTP API" in first.stderr
    assert first.stdout.startswith("wrote bin/main.wasm (")
    assert "wrote pkg/shop.tar.gz (" in first.stdout
    assert "not checked: there is no `fastly`" in first.stderr
    assert again.stdout.startswith("up to date: bin/main.wasm (")
    assert runs.read_text() == "run\n"
    assert "programs" not in (folder / "bin" / "main.wasm").read_text()


@pytest.mark.parametrize("change", ["app.py", "fastly.toml", "bin/main.wasm", "pkg/shop.tar.gz"])
def test_a_change_is_built_again(folder: Path, virke: Virke, runs: Path, change: str) -> None:
    (folder / "virke.toml").write_text('[project]\nname = "shop"\n')
    (folder / "app.py").write_text("app = None\n")
    assert virke("build").exit_code == 0

    if change.startswith("pkg"):
        (folder / change).unlink()
    else:
        (folder / change).write_text("# changed\n")
    assert json.loads(virke("build", "--json").stdout)["built"] is True
    assert json.loads(virke("build", "--json").stdout)["built"] is False

    assert runs.read_text() == "run\n" * 2
    assert "programs.use('app', 'app')" in (folder / "bin" / "main.wasm").read_text()


def test_the_entry_begins_with_the_app() -> None:
    assert entry_text(Entry("shop.web:create", is_python=True)).splitlines()[2:] == [
        "from virke.edge.guest import programs",
        "",
        "programs.use('shop.web', 'create')",
        "",
        "from virke.edge.guest.main import HttpIncoming as HttpIncoming",
    ]


def test_the_guest_has_what_the_entry_names() -> None:
    """Seen in its source: it can't be imported outside of a component."""
    for node in ast.walk(ast.parse(entry_text(Entry("app:app", is_python=True)))):
        if isinstance(node, ast.ImportFrom):
            folder = SOURCE.joinpath(*(node.module or "").split("."))
            [alias] = node.names
            if folder.is_dir():
                assert (folder / f"{alias.name}.py").is_file(), ast.unparse(node)
            else:
                assert alias.name in _defined(folder.with_suffix(".py")), ast.unparse(node)
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) == "programs.use"
            [use] = [found for found in _functions(SOURCE / "virke/edge/guest/programs.py") if found.name == "use"]
            assert len(use.args.args) == len(node.args)


def _functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


def _defined(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_an_app_is_its_folder_without_what_is_made_or_hidden(folder: Path) -> None:
    for path in (
        "app.py",
        "shop/cart.py",
        "shop/page.html",
        "bin/x",
        "pkg/x",
        ".git/x",
        "node_modules/x",
        "shop/__pycache__/x",
        ".env",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()

    assert [path for path, _ in app_files(plan_of(load_config()))] == ["app.py", "shop/cart.py", "shop/page.html"]


def test_an_app_of_javascript_is_not_in_the_component(folder: Path) -> None:
    (folder / "index.ts").touch()

    plan = plan_of(load_config())

    assert plan.entry == Entry("index.ts", is_python=False)
    assert plan.app is None
    assert list(app_files(plan)) == []


def test_the_entrys_own_name_is_taken(folder: Path) -> None:
    (folder / "virke_component.py").touch()
    (folder / "virke.toml").write_text('[app]\nentry = "virke_component.py"\n')

    with pytest.raises(UsageError, match="virke_component"):
        plan_of(load_config())
