"""Tests of CPython that `virke.dbapi` does not pass, each with its reason; docs/dbapi.md has the same list.

A test has the oldest version of Python for which the entry holds: some are of later ones, or ask more in those.
"""

from __future__ import annotations

from typing import Final

NO_STATEMENTS = "a connection is not callable: there are no statement objects outside of it"
DATES = "dates go in as everywhere in Virke, without the default adapters that warn since Python 3.12"
KEYWORDS = "callbacks take no keyword arguments, which Python 3.13 deprecates and later versions drop"

FAILS: Final[dict[str, tuple[tuple[int, int], str]]] = {
    "dbapi.ConnectionTests.test_connection_reinit": (
        (3, 11),
        "a cursor keeps the `text_factory` with which its statement was run, also after the connection was made again",
    ),
    "dbapi.ModuleTests.test_disallow_instantiation": ((3, 11), NO_STATEMENTS),
    "userfunctions.FunctionTests.test_function_destructor_via_gc": ((3, 11), NO_STATEMENTS),
    "dbapi.ModuleTests.test_shared_cache_deprecated": (
        (3, 11),
        "`enable_shared_cache` is not there: connections share a store, not a cache of SQLite's (Python 3.12 has dropped it)",
    ),
    "dbapi.MultiprocessTests.test_ctx_mgr_rollback_if_commit_failed": (
        (3, 11),
        "the other process of this test opens the file with `sqlite3` itself",
    ),
    "transactions.SpecialCommandTests.test_pragma": (
        (3, 11),
        "PRAGMA count_changes, deprecated in SQLite, is not among those that Virke allows (docs/sql.md)",
    ),
    "factory.TextFactoryTests.test_optimized_unicode": (
        (3, 11),
        "`OptimizedUnicode` is not there: it is deprecated, and Python 3.12 has dropped it",
    ),
    "userfunctions.FunctionTests.test_func_too_many_args": (
        (3, 11),
        "`setlimit` knows the lengths of SQL and the number of parameters; other limits are those of the database",
    ),
    "dbapi.ConnectionTests.test_connection_config": (
        (3, 12),
        "`getconfig` and `setconfig` are refused: these switches protect what others share",
    ),
    "dbapi.CursorTests.test_execute_named_param_and_sequence": (
        (3, 12),
        "a sequence for named parameters is bound in order and without a warning, as before Python 3.12",
    ),
    "dbapi.ModuleTests.test_deprecated_version": ((3, 12), "`version` is not there: it is deprecated in Python 3.12"),
    "types.DateTimeTests.test_date_time_sub_seconds": ((3, 12), DATES),
    "types.DateTimeTests.test_date_time_sub_seconds_floating_point": ((3, 12), DATES),
    "types.DateTimeTests.test_sqlite_date": ((3, 12), DATES),
    "types.DateTimeTests.test_sqlite_timestamp": ((3, 12), DATES),
    "dbapi.ConnectionTests.test_connect_positional_arguments": ((3, 13), "arguments of `connect` are Virke's"),
    "dbapi.ConnectionTests.test_connection_signature": ((3, 13), "arguments of `connect` are Virke's"),
    "factory.ConnectionFactoryTests.test_connection_factory_as_positional_arg": (
        (3, 13),
        "arguments of `connect` are Virke's",
    ),
    "dbapi.ConnectionTests.test_connection_resource_warning": (
        (3, 13),
        "a connection that is forgotten is closed without a ResourceWarning, as before Python 3.13",
    ),
    "userfunctions.AggregateTests.test_agg_keyword_args": ((3, 13), KEYWORDS),
    "userfunctions.FunctionTests.test_func_keyword_args": ((3, 13), KEYWORDS),
    "userfunctions.AuthorizerTests.test_authorizer_keyword_args": ((3, 13), KEYWORDS),
    "userfunctions.AuthorizerIllegalTypeTests.test_authorizer_keyword_args": ((3, 13), KEYWORDS),
    "userfunctions.AuthorizerLargeIntegerTests.test_authorizer_keyword_args": ((3, 13), KEYWORDS),
    "userfunctions.AuthorizerRaiseExceptionTests.test_authorizer_keyword_args": ((3, 13), KEYWORDS),
}
