"""`virke token`: a token is printed once, alone; the list shows none; what is revoked is gone."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import Virke
from virke.opening import open_store
from virke.scopes import Scope
from virke.tokens import Granted, TokenTable

DAY_MS = 86_400_000


def test_a_token_is_printed_once_and_alone(virke: Virke) -> None:
    """On stdout, for scripts; what people want to know of it is on stderr."""
    made = virke("token", "create", "--db", "app-*", "--scope", "write", "--expires", "30d", "--name", "ci")
    assert made.exit_code == 0
    assert re.fullmatch(r"vk_[\w-]{43}\n", made.stdout)
    assert "write on app-*" in made.stderr
    listed = virke("token", "list")
    assert "app-*" in listed.stdout
    assert "ci" in listed.stdout
    assert made.stdout.strip() not in listed.output
    table = TokenTable(open_store("local:.virke"))
    table.refresh()
    found = table.check(made.stdout.strip(), "app-1", Scope.WRITE)
    assert isinstance(found, Granted)
    assert found.scope is Scope.WRITE


def test_json_has_all_of_it(virke: Virke) -> None:
    """And the text only when it is made."""
    args = ("--db", "a", "--also", "b-*", "--scope", "read", "--expires", "2d", "--json")
    made = json.loads(virke("token", "create", *args).stdout)
    assert made["databases"] == ["a", "b-*"]
    assert made["expires_ms"] - made["created_ms"] == 2 * DAY_MS
    [listed] = json.loads(virke("token", "list", "--json").stdout)["tokens"]
    assert listed == {key: value for key, value in made.items() if key != "token"} | {"expired": False}
    revoked = virke("token", "revoke", made["id"], "--json")
    assert json.loads(revoked.stdout) == {"revoked": made["id"], "left": 0}
    assert json.loads(virke("token", "list", "--json").stdout) == {"tokens": []}


def test_the_last_token_is_said_to_be_the_last(virke: Virke) -> None:
    """Without any, a node answers without one."""
    ids = [
        json.loads(virke("token", "create", "--db", "*", "--scope", "admin", "--json").stdout)["id"] for _ in range(2)
    ]
    assert virke("token", "revoke", ids[0]).stderr == ""
    assert "last token" in virke("token", "revoke", ids[1]).stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("create", "--db", "a"), 2),
        (("create", "--scope", "read"), 2),
        (("create", "--db", "a", "--scope", "all"), 2),
        (("create", "--db", "a", "--scope", "read", "--expires", "3w"), 2),
        (("create", "--db", "a", "--scope", "read", "--expires", "0d"), 2),
        (("create", "--db", "a/b", "--scope", "read"), 1),
        (("create", "--db", "a", "--scope", "read", "--name", "x\n"), 1),
        (("revoke", "nosuchid"), 1),
    ],
)
def test_a_wrong_call_makes_no_token(virke: Virke, args: tuple[str, ...], code: int) -> None:
    """It says what is wrong in one line."""
    found = virke("token", *args)
    assert (found.exit_code, found.stdout) == (code, "")
    assert "error" in found.stderr.lower()
    assert json.loads(virke("token", "list", "--json").stdout) == {"tokens": []}
