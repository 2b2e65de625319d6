"""The vendor's own command says whether it takes a package; a script stands in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.building.pythons import script
from virke.edge.building.checking import NPM, check_package
from virke.errors import Invalid


def test_it_is_asked_where_it_is_and_that_of_the_project_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert check_package(tmp_path / "x.tar.gz", tmp_path).startswith("not checked: there is no `fastly`")

    script(tmp_path / "bin" / "fastly", "exit 1")
    script(tmp_path / NPM, f'[ "$*" = "compute validate --package {tmp_path}/x.tar.gz" ]')
    assert check_package(tmp_path / "x.tar.gz", tmp_path) == "checked by `fastly compute validate`"


def test_what_it_refuses_is_an_error_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    script(tmp_path / "bin" / "fastly", "echo 'ERROR: the package is 101 MB'; exit 1")

    with pytest.raises(Invalid, match="the package is 101 MB"):
        check_package(tmp_path / "x.tar.gz", tmp_path)
