"""`manage.py dbshell`: the statements that are given, run by the command `virke`, which has no interactive shell.

Knows the command line's words and variables; starts one process, and waits for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db.backends.base.client import BaseDatabaseClient

from virke.config import DB_VARIABLE, NODE_VARIABLE, STORE_VARIABLE, TOKEN_VARIABLE, is_node


class DatabaseClient(BaseDatabaseClient):
    """See `django.db.backends.base.client`."""

    executable_name = "virke"

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: Mapping[str, Any], parameters: Sequence[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """The command, and where the database is. Raises `CommandError`: there is nothing to run.

        A statement after `--` is run with `virke db query` and its options; else standard input is run as a script.
        """
        if not parameters and sys.stdin.isatty():
            raise CommandError(
                "virke has no interactive shell; give a statement (manage.py dbshell -- 'SELECT 1'), "
                "or a script on standard input"
            )
        options = settings_dict["OPTIONS"]
        where = {DB_VARIABLE: str(settings_dict["NAME"])}
        if (store := options.get("store")) is not None:
            where[NODE_VARIABLE if is_node(str(store)) else STORE_VARIABLE] = str(store)
        if (token := options.get("token")) is not None:
            where[TOKEN_VARIABLE] = str(token)
        words = ["query", *parameters] if parameters else ["execute", "-"]
        left = {key: value for key, value in os.environ.items() if store is None or key != NODE_VARIABLE}
        return [sys.executable, "-m", cls.executable_name, "db", *words], {**left, **where}
