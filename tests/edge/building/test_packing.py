"""The package: the vendor's layout, and the same bytes for the same program."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from virke.edge.building.packing import manifest_of, pack_program

MANIFEST = b'manifest_version = 3\nname = "my-app"\nlanguage = "python"\n'


def test_the_layout_is_that_of_fastly_compute_pack(tmp_path: Path) -> None:
    program = tmp_path / "main.wasm"
    program.write_bytes(b"\0asm program")

    pack_program(tmp_path / "pkg" / "my-app.tar.gz", "my-app", program, MANIFEST)

    with tarfile.open(tmp_path / "pkg" / "my-app.tar.gz") as archive:
        assert archive.getnames() == ["my-app", "my-app/bin", "my-app/bin/main.wasm", "my-app/fastly.toml"]
        assert [entry.isdir() for entry in archive] == [True, True, False, False]
        contents = [archive.extractfile(name) for name in ("my-app/bin/main.wasm", "my-app/fastly.toml")]
        assert [file and file.read() for file in contents] == [b"\0asm program", MANIFEST]
    assert [path.name for path in (tmp_path / "pkg").iterdir()] == ["my-app.tar.gz"]


def test_the_same_program_is_the_same_package_whenever_and_by_whomever(tmp_path: Path) -> None:
    packed = []
    for number, when in enumerate((0, 1_700_000_000)):
        program = tmp_path / str(number) / "main.wasm"
        program.parent.mkdir()
        program.write_bytes(b"\0asm program")
        os.utime(program, (when, when))
        program.chmod(0o600 + 0o11 * number)
        pack_program(tmp_path / f"{number}.tar.gz", "my-app", program, MANIFEST)
        packed.append((tmp_path / f"{number}.tar.gz").read_bytes())

    assert packed[0] == packed[1]


def test_a_projects_own_manifest_is_taken_as_it_is(tmp_path: Path) -> None:
    assert manifest_of(tmp_path, "my-app", "python") == MANIFEST
    (tmp_path / "fastly.toml").write_text("# mine\n")
    assert manifest_of(tmp_path, "my-app", "python") == b"# mine\n"
