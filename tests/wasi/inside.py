"""A Python inside WebAssembly with our apsw: CPython 3.14 as a component, run by wasmtime, with folders of this machine.

It is the Python of the edge without the edge: no threads, no processes, no sockets, no `fcntl`. Needs Maven, for the part of the
standard library that the image leaves out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import wasmtime
from wasmtime import component

from wasi.build import tracked
from wasi.compiling import FRAMES, LIBRARY
from wasi.sources import run, standard_library

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parent.parent


class Inside:
    """The component, compiled; each `run` gets an instance of its own. Made in `folder`. Raises `SourceUnavailable`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = standard_library(folder / "jar")
        self._site = _site(folder / "site")
        self._engine = wasmtime.Engine()
        self._component = component.Component.from_file(self._engine, str(_component(folder / "app")))

    def run(self, program: str, output: Path | None = None) -> str:
        """What the program left in its global `answer`; what it printed is in the file `output`."""
        linker = component.Linker(self._engine)
        linker.add_wasip2()
        store = wasmtime.Store(self._engine)
        store.set_wasi(self._system(output))
        function = linker.instantiate(store, self._component).get_func(store, "run")
        assert function is not None
        answer = function(store, program)
        assert isinstance(answer, str)
        return answer

    def _system(self, output: Path | None) -> wasmtime.WasiConfig:
        system = wasmtime.WasiConfig()
        system.env = [("CI", "1")]  # the same examples each time
        (self._folder / "tmp").mkdir(exist_ok=True)
        inner = {"/project": PROJECT, "/site": self._site, "/python": self._python, "/tmp": self._folder / "tmp"}
        for name, path in inner.items():
            system.preopen_dir(str(path), name, fs_mutable=name == "/tmp")
        if output is not None:
            system.stdout_file = str(output)
            system.stderr_file = str(output.with_suffix(".err"))
        return system


def _site(folder: Path) -> Path:
    """Pytest and Hypothesis, as pure Python."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    how = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(HERE / "requirements.txt")]
    run([*pip, *how, "--target", str(folder)], folder)
    native = list(folder.rglob("*.so"))
    assert native == [], native
    return folder


def _component(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(tracked()) as wheel:
        wheel.extractall(folder, [LIBRARY, FRAMES])
    shutil.copyfile(HERE / "component" / "app.py", folder / "app.py")
    made = folder / "app.wasm"
    tool = Path(sys.executable).with_name("componentize-py")
    world = ["--wit-path", str(HERE / "component" / "world.wit"), "--world", "inside"]
    what = ["componentize", "app", "--python-path", str(folder), "--output", str(made)]
    done = subprocess.run([str(tool), *world, *what], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made
