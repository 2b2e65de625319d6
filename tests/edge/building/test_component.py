"""What the build tool is given, and what its errors mean; a script stands in for the tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.building.pythons import script
from virke.edge.building.component import ENTRY, Sources, build_program
from virke.edge.building.tools import Tools
from virke.errors import Invalid, Unavailable

COPIES = """while [ $# -gt 0 ]; do case $1 in --entry) entry=$2;; --output) out=$2;; --virtualenv) site=$2;; esac; shift; done
{ echo "$entry"; ls app.py virke/errors.py virke_component.py
  (cd "$site" && find . -name '*.so' -o -name 'flask.py') | sed 's/.*site-packages.//' | sort; } > "$out"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """An environment whose Python is to be written."""
    return Tools(tmp_path / "tools", "digest")


def built(tmp_path: Path, tools: Tools, sources: Sources) -> str:
    work = tmp_path / "work"
    work.mkdir()
    build_program(sources, tmp_path / "bin" / "main.wasm", work, tools)
    return (tmp_path / "bin" / "main.wasm").read_text()


def test_the_tool_finds_the_app_virke_apsw_and_the_packages(tmp_path: Path, tools: Tools) -> None:
    script(tools.python, COPIES)
    (tmp_path / "mine.py").write_text("app = None\n")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "flask.py").touch()
    sources = Sources([("app.py", tmp_path / "mine.py")], tmp_path / "packages", {}, {f"{ENTRY}.py": b"import app\n"})

    lines = built(tmp_path, tools, sources).splitlines()

    assert lines[0] == ENTRY
    assert lines[1:4] == ["app.py", "virke/errors.py", f"{ENTRY}.py"]
    names = sorted(line.partition(".")[0] for line in lines[4:])
    assert names == ["apsw", "flask", "virke_frames"]
    assert sum(line.endswith("wasm32-wasi.so") for line in lines[4:]) == 2


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("ModuleNotFoundError: No module named 'fast._core'", "fast._core is a native module, of fast_math 2.1, and can't come along"),
        ("ImportError: cannot import name '_core' from 'fast' (/0/fast/__init__.py)", "fast._core is a native module"),
        ("ModuleNotFoundError: No module named '_ssl'", "a component's Python has no _ssl"),
        ("ModuleNotFoundError: No module named 'flusk'", "the app can't be imported in the component: ModuleNotFoundError"),
        ("ZeroDivisionError: division by zero", "the app can't be imported in the component: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_an_import_that_fails_says_what_is_missing(tmp_path: Path, tools: Tools, last: str, words: str) -> None:
    (tmp_path / "said").write_text(
        f'RuntimeError: Build failed: Traceback (most recent call last):\n  File "/0/app.py", line 3, in <module>\n{last}\n'
    )
    script(tools.python, f"cat {tmp_path}/said; exit 1")

    with pytest.raises(Invalid) as caught:
        built(tmp_path, tools, Sources(native={"fast._core": "fast_math 2.1"}))

    assert caught.value.message.startswith(words)
    assert 'File "app.py", line 3' in str(caught.value.context["traceback"])
    assert not (tmp_path / "bin").exists()


def test_the_module_that_is_in_no_package_is_named_with_where_packages_are(tmp_path: Path, tools: Tools) -> None:
    script(tools.python, """echo "Build failed: Traceback:\nModuleNotFoundError: No module named 'flusk'"; exit 1""")

    with pytest.raises(Invalid) as caught:
        built(tmp_path, tools, Sources())

    [hint] = caught.value.__notes__
    assert "requirements.txt" in hint
    assert "flusk is in neither" in hint


def test_an_import_that_fails_deep_in_packages_is_explained_just_so(tmp_path: Path, tools: Tools) -> None:
    """However long its traceback is: Litestar's has 3,000 characters above the module that is native."""
    deep = "".join(f'  File "/1/package/part{n}.py", line 1, in <module>\n    import part{n + 1}\n' for n in range(60))
    last = "ModuleNotFoundError: No module named 'fast._core'"
    (tmp_path / "said").write_text(f"RuntimeError: Build failed: Traceback (most recent call last):\n{deep}{last}\n")
    script(tools.python, f"cat {tmp_path}/said; exit 1")

    with pytest.raises(Invalid, match=r"fast\._core is a native module, of fast_math"):
        built(tmp_path, tools, Sources(native={"fast._core": "fast_math 2.1"}))


def test_any_other_failure_of_the_tool_is_shown_as_it_is(tmp_path: Path, tools: Tools) -> None:
    script(tools.python, "echo 'no space left on device'; exit 1")

    with pytest.raises(Unavailable, match="no space left on device"):
        built(tmp_path, tools, Sources())
