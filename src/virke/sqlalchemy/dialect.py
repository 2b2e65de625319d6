"""The dialect `sqlite+virke`: SQLAlchemy's own for `sqlite3`, on `virke.dbapi`.

1. Its name stays `sqlite`, so that what knows SQLite (Alembic, pandas, other people's types) works.
2. A URL without a host is a database of a store, one with a host is a node's; a token is the URL's password, and SQLAlchemy hides it.
3. Every statement passes `_sent_statement`, where names of schemas become names of tables (`schemas`).
4. What is temporary lives as long as its transaction: making it begins one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

from sqlalchemy import exc, pool, util
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL, reflection

from virke.engine.sqlite import RESERVED_PREFIX
from virke.sqlalchemy.schemas import joined_name, rewritten_sql, split_name

IN_MEMORY: Final = ":memory:"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_OPTIONS: Final = frozenset(
    {"store", "tls", "create", "read_only", "consistency", "timeout", "autocommit", "isolation_level", "schemas"}
)
_FORMS: Final = (
    "sqlite+virke:///NAME?store=local:FOLDER (or s3://…, memory://NAME; none: VIRKE_STORE or virke.toml), "
    "sqlite+virke://:TOKEN@HOST/NAME for a node (?tls=0 for http)"
)
_MAKES_TEMPORARY: Final = re.compile(r"\s*CREATE\s+TEMP(?:ORARY)?\s", re.IGNORECASE)
_NAME_OF: Final = {"foreign_key_list": 2, "index_list": 1, "table_list": 1}
"""The pragmas whose answers name objects of the schema, and in which column."""


class VirkeDialect(SQLiteDialect_pysqlite):
    """`sqlite+virke`."""

    driver = "virke"
    supports_statement_cache = True
    _levels: ClassVar[WeakKeyDictionary[Any, str]] = WeakKeyDictionary()
    """What was asked for instead of the default. All levels but AUTOCOMMIT are the default in effect: no connection sees what is not committed."""

    def __init__(self, schemas: Iterable[str] = (), **how: Any) -> None:
        super().__init__(**how)
        self.schemas = frozenset(schemas)
        self._is_remote = False

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """`virke.dbapi`, once an engine is made."""
        from virke import dbapi

        return dbapi

    # Connecting

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """One connection for a thread where each would be a database of its own."""
        return pool.QueuePool if cls._is_url_file_db(url) else pool.SingletonThreadPool

    @classmethod
    def _is_url_file_db(cls, url: URL) -> bool:
        """Whether two connections see the same database."""
        return url.database not in (None, "", IN_MEMORY) and url.query.get("store") != "memory://"

    def create_connect_args(self, url: URL) -> tuple[Sequence[str], dict[str, Any]]:
        """The arguments of `virke.dbapi.connect`."""
        options = {name: str(value) for name, value in url.query.items()}
        if unknown := options.keys() - _OPTIONS:
            raise exc.ArgumentError(
                f"unknown option {min(unknown)!r} in the URL; there are {', '.join(sorted(_OPTIONS))}"
            )
        name = url.database or IN_MEMORY
        if "/" in name:
            raise exc.ArgumentError(f"{name!r} is a path, and not the name of a database; a URL is {_FORMS}")
        if "schemas" in options:
            self.schemas |= frozenset(filter(None, options["schemas"].split(",")))
        given: dict[str, Any] = {"check_same_thread": False, "create": _is_on(options, "create", True)}
        if url.host:
            given |= _node_arguments(url, options)
        elif url.username or url.password or "tls" in options:
            raise exc.ArgumentError(f"a token and tls are for a node, and the URL has no host; it is {_FORMS}")
        elif name != IN_MEMORY:
            given["store"] = options.get("store")
        self._is_remote = str(given.get("store") or "").startswith(("http://", "https://"))
        if _is_on(options, "read_only", False):
            given |= {"read_only": True, "create": False}
        if "timeout" in options:
            given["timeout"] = float(options["timeout"])
        if "autocommit" in options:
            given["autocommit"] = _is_on(options, "autocommit", False)
        given |= {key: options[key] for key in ("consistency", "isolation_level") if key in options}
        return [name], given

    def on_connect(self) -> Callable[[Any], None]:
        """What SQLAlchemy adds to SQLite: `regexp`. A node's SQLite is not to be added to."""

        def add(connection: Any) -> None:
            if not self._is_remote:
                connection.create_function("regexp", 2, _match_regexp, deterministic=True)

        return add

    def retrieve_dbapi_version(self, dbapi: Any) -> Any:
        """The version of Virke."""
        import virke

        return util.parse_version_string(virke.__version__)

    # Transactions

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """AUTOCOMMIT, or transactions as the connection was opened with."""
        has_pep_249 = dbapi_connection.autocommit in (True, False)
        self._levels[dbapi_connection] = level
        if has_pep_249:
            dbapi_connection.autocommit = level == "AUTOCOMMIT"
        else:
            dbapi_connection.isolation_level = None if level == "AUTOCOMMIT" else ""

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """What was asked for; SERIALIZABLE if nothing was."""
        return self._levels.get(dbapi_connection, "SERIALIZABLE")

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Whether each statement is a transaction."""
        return dbapi_conn.autocommit is True or (
            dbapi_conn.autocommit is not False and dbapi_conn.isolation_level is None
        )

    # Statements

    def _sent_statement(self, statement: str) -> str:
        return rewritten_sql(statement, self.schemas) if self.schemas else statement

    def _begin_for_temporary(self, cursor: Any, statement: str) -> None:
        """Begin a transaction before the statement that makes something temporary, which lives to its end (rule 4)."""
        if _MAKES_TEMPORARY.match(statement):
            connection = cursor.connection
            if not connection.in_transaction and not self.detect_autocommit_setting(connection):
                cursor.execute("BEGIN")

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement."""
        self._begin_for_temporary(cursor, statement)
        cursor.execute(self._sent_statement(statement), parameters)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        """Run a statement without parameters."""
        self._begin_for_temporary(cursor, statement)
        cursor.execute(self._sent_statement(statement))

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement with each row of parameters."""
        cursor.executemany(self._sent_statement(statement), parameters)

    # Reflection

    @reflection.cache
    def get_schema_names(self, connection: Any, **how: Any) -> list[str]:
        """`main`, and those that the engine declares."""
        return ["main", *sorted(self.schemas)]

    def _in_schema(self, names: Iterable[str], schema: str | None) -> list[str]:
        """Of all names, those that stand in a schema; the rewritten query has seen to it for those that are declared."""
        return [name for name in names if schema in self.schemas or split_name(name, self.schemas)[0] is None]

    def get_table_names(
        self, connection: Any, schema: str | None = None, sqlite_include_internal: bool = False, **how: Any
    ) -> list[str]:
        """Tables of a schema; of none, those that are in no declared one. Virke's own are internal, as SQLite's are."""
        found = super().get_table_names(connection, schema, sqlite_include_internal=sqlite_include_internal, **how)
        names = self._in_schema(found, schema)
        return names if sqlite_include_internal else [name for name in names if not name.startswith(RESERVED_PREFIX)]

    def get_view_names(
        self, connection: Any, schema: str | None = None, sqlite_include_internal: bool = False, **how: Any
    ) -> list[str]:
        """Views, as `get_table_names`."""
        found = super().get_view_names(connection, schema, sqlite_include_internal=sqlite_include_internal, **how)
        return self._in_schema(found, schema)

    def _get_table_pragma(self, connection: Any, pragma: str, table_name: str, schema: str | None = None) -> list[Any]:
        """What a pragma says of an object, with names as its schema has them."""
        if schema not in self.schemas:
            return list(super()._get_table_pragma(connection, pragma, table_name, schema))
        rows = super()._get_table_pragma(connection, pragma, joined_name(schema, table_name), "main")
        at = _NAME_OF.get(pragma)
        if at is None:
            return list(rows)
        return [(*row[:at], split_name(row[at], self.schemas)[1], *row[at + 1 :]) for row in rows]


def _node_arguments(url: URL, options: dict[str, str]) -> dict[str, Any]:
    """Where a node is, and with which token it is asked."""
    if url.username:
        raise exc.ArgumentError(f"a node knows no user names: {_FORMS}")
    if "store" in options:
        raise exc.ArgumentError(f"a URL has a host or a store, not both: {_FORMS}")
    scheme = "https" if _is_on(options, "tls", True) else "http"
    host = f"[{url.host}]" if ":" in str(url.host) else url.host
    return {"store": f"{scheme}://{host}" + (f":{url.port}" if url.port else ""), "token": url.password or None}


def _is_on(options: dict[str, str], name: str, usual: bool) -> bool:
    """An option that is on or off. Raises `ArgumentError`: it is neither."""
    word = options.get(name, "1" if usual else "0").lower()
    if word not in _TRUE | _FALSE:
        raise exc.ArgumentError(f"{name} is 1 or 0, not {word!r}")
    return word in _TRUE


def _match_regexp(pattern: str, text: str | None) -> bool | None:
    """SQLite's operator REGEXP, which is its users' to define."""
    return None if text is None else re.search(pattern, text) is not None


dialect = VirkeDialect
