"""The dialect `sqlite+aiovirke`: the same for SQLAlchemy's asyncio extension, on `virke.dbapi.aio`.

Knows how SQLAlchemy adapts asynchronous drivers: code that looks synchronous runs in a greenlet, and `await_` waits in it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from sqlalchemy import pool
from sqlalchemy.connectors.asyncio import (
    AsyncAdapt_dbapi_connection,
    AsyncAdapt_dbapi_cursor,
    AsyncAdapt_dbapi_module,
    AsyncAdapt_terminate,
)
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteExecutionContext_aiosqlite
from sqlalchemy.engine import URL

from virke.sqlalchemy.dialect import VirkeDialect

try:
    from sqlalchemy.util.concurrency import await_
except ImportError:  # SQLAlchemy 2.0
    from sqlalchemy.util.concurrency import await_only as await_

_SHOWN: Final = (
    "Binary DatabaseError DataError Error IntegrityError InterfaceError InternalError NotSupportedError OperationalError "
    "PARSE_COLNAMES PARSE_DECLTYPES ProgrammingError Warning paramstyle sqlite_version sqlite_version_info"
).split()


class AsyncAdaptedCursor(AsyncAdapt_dbapi_cursor):
    """A cursor whose calls wait in a greenlet."""

    __slots__ = ()

    @property
    def connection(self) -> AsyncAdapt_dbapi_connection:
        """The connection that it belongs to."""
        return self._adapt_connection


class AsyncAdaptedConnection(AsyncAdapt_terminate, AsyncAdapt_dbapi_connection):
    """A connection whose calls wait in a greenlet."""

    _cursor_cls = AsyncAdaptedCursor

    @property
    def in_transaction(self) -> bool:
        """See `virke.dbapi.Connection.in_transaction`."""
        return bool(self._connection.in_transaction)

    @property
    def isolation_level(self) -> str | None:
        """See `virke.dbapi.Connection.isolation_level`; setting it may commit, which is waited for."""
        level: str | None = self._connection.isolation_level
        return level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self._set_attribute("isolation_level", level)

    @property
    def autocommit(self) -> bool | int:
        """See `virke.dbapi.Connection.autocommit`; as above."""
        mode: bool | int = self._connection.autocommit
        return mode

    @autocommit.setter
    def autocommit(self, mode: bool | int) -> None:
        self._set_attribute("autocommit", mode)

    def _set_attribute(self, name: str, value: object) -> None:
        await_(self._connection.run(setattr, self._connection.sync, name, value))

    def create_function(self, *given: Any, **how: Any) -> None:
        """See `virke.dbapi.Connection.create_function`."""
        await_(self._connection.create_function(*given, **how))

    def rollback(self) -> None:
        """Roll back, unless it was closed meanwhile, which does that."""
        if not self._connection.is_closed:
            super().rollback()

    async def _terminate_graceful_close(self) -> None:
        await self._connection.close()

    def _terminate_force_close(self) -> None:
        self._connection.stop()


class AsyncAdaptedModule(AsyncAdapt_dbapi_module):
    """`virke.dbapi` with connections that wait in a greenlet."""

    def __init__(self, driver: ModuleType, dbapi: ModuleType) -> None:
        self.driver, self.dbapi_module = driver, dbapi
        for name in _SHOWN:
            setattr(self, name, getattr(dbapi, name))

    def connect(self, *given: Any, **how: Any) -> AsyncAdaptedConnection:
        """Open a connection; `async_creator_fn` is a function of the caller's that does it."""
        creates = how.pop("async_creator_fn", self.driver.connect)
        return AsyncAdaptedConnection(self, await_(creates(*given, **how)))


class AsyncVirkeDialect(VirkeDialect):
    """`sqlite+aiovirke`."""

    driver = "aiovirke"
    supports_statement_cache = True
    is_async = True
    has_terminate = True
    supports_server_side_cursors = True
    execution_ctx_cls = SQLiteExecutionContext_aiosqlite

    @classmethod
    def import_dbapi(cls) -> Any:
        """`virke.dbapi.aio`, adapted."""
        from virke import dbapi
        from virke.dbapi import aio

        return AsyncAdaptedModule(aio, dbapi)

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """One connection where each would be a database of its own."""
        return pool.AsyncAdaptedQueuePool if cls._is_url_file_db(url) else pool.StaticPool

    def get_driver_connection(self, connection: Any) -> Any:
        """The connection of `virke.dbapi.aio`."""
        return connection._connection

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Close a connection that no task waits for."""
        dbapi_connection.terminate()


dialect = AsyncVirkeDialect
