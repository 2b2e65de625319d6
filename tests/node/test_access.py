"""P12: without tokens, only this machine, by its own names."""

from __future__ import annotations

import pytest

from virke.errors import Denied
from virke.node.access import check_local, is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "localhost.:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080"]
)
def test_p12_names_of_this_machine_are_let_in(host: str) -> None:
    check_local({"host": host})
    check_local({"host": host, "origin": f"http://{host}"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "example.com"},
        {"host": "localhost.example.com"},
        {"host": "localhost@example.com"},
        {"host": "0.0.0.0:80"},
        {"host": "[::1"},
        {"host": "localhost", "origin": "https://example.com"},
        {"host": "localhost", "origin": "null"},
        {"host": "localhost", "origin": "http://localhost.example.com"},
        {"host": "localhost", "forwarded": "for=1.2.3.4"},
        {"host": "localhost", "x-forwarded-for": "1.2.3.4"},
        {"host": "localhost", "x-forwarded-host": "localhost"},
    ],
)
def test_p12_everything_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Denied):
        check_local(headers)


@pytest.mark.parametrize(
    ("host", "is_ours"), [("::1", True), ("127.0.0.1", True), ("0.0.0.0", False), ("10.0.0.1", False)]
)
def test_what_can_be_reached_from_elsewhere_is_no_loopback(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours
