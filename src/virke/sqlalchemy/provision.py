"""What SQLAlchemy's own test suite does to get databases, as Virke does it: its schemas are declared, and nothing is attached.

SQLAlchemy finds it next to the dialect (`load_provisioning`); programs do not use it.
"""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects.sqlite import provision as sqlite  # noqa: F401 - what is not said here is as for SQLite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.testing import provision

DRIVERS = ("virke", "aiovirke")
SCHEMAS = frozenset({"test_schema", "test_schema_2"})


@provision.generate_driver_url.for_db("sqlite", "virke")
def generate_driver_url(url: Any, driver: str, query: str) -> URL | None:
    """The same database with another driver of Virke's; other drivers have nothing to do with it."""
    return make_url(url).set(drivername=f"sqlite+{driver}") if driver in DRIVERS else None


@provision.follower_url_from_main.for_db("sqlite", "virke")
def follower_url_from_main(url: Any, ident: str) -> URL:
    """A database for each process of the tests."""
    found = make_url(url)
    return found.set(database=f"{found.database}-{ident.replace('_', '-')}")


@provision.post_configure_engine.for_db("sqlite", "virke")
def post_configure_engine(url: Any, engine: Any, ident: str | None) -> None:
    """Schemas are declared."""
    _prepare_engine(engine)


@provision.post_configure_testing_engine.for_db("sqlite", "virke")
def post_configure_testing_engine(url: Any, engine: Any, options: dict[str, Any], scope: str) -> None:
    """The same for engines of single tests; those that use savepoints begin transactions by themselves."""
    engine = getattr(engine, "sync_engine", engine)
    _prepare_engine(engine)
    if engine.dialect.is_async:
        _tell_streams_apart()
    if options.get("sqlite_savepoint", False):

        @event.listens_for(engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")


def _prepare_engine(engine: Any) -> None:
    """Schemas are declared, and foreign keys not checked: the suite takes SQLite to be as it is where no program asks for that."""
    engine.dialect.schemas |= SCHEMAS

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF")
        cursor.close()


def _tell_streams_apart() -> None:
    """Let the suite see which cursors stream: it has a list of SQLAlchemy's own drivers for that, as a note in it deplores."""
    results = sys.modules.get("sqlalchemy.testing.suite.test_results")
    if results is not None:
        results.ServerSideCursorsTest._is_server_side = lambda test, cursor: cursor.server_side


@provision.drop_db.for_db("sqlite", "virke")
def drop_db(config: Any, engine: Any, ident: str) -> None:
    """Nothing: a process's database goes with its store."""


@provision.run_reap_dbs.for_db("sqlite", "virke")
def run_reap_dbs(url: Any, idents: Any) -> None:
    """Nothing, as above."""


@provision.stop_test_class_outside_fixtures.for_db("sqlite", "virke")
def stop_test_class_outside_fixtures(config: Any, db: Any, cls: type) -> None:
    """Connections of one class of tests are closed before the next one."""
    db.dispose()


@provision.profile_platform_tokens.for_db("sqlite", "virke")
def profile_platform_tokens(engine: Any) -> tuple[str, ...]:
    """Call counts are not those of a file."""
    return ("virke",)
