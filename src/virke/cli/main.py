"""The `virke` command: which commands there are.

Knows each command's name, place and one line of help; loads none of them. A test compares the lines with the
commands.
"""

from __future__ import annotations

import atexit
import gc
from typing import Final

import click

from virke.cli.group import LazyGroup, RootGroup, Table
from virke.cli.state import global_options
from virke.interrupts import end_by_signals, run_command

YOUNG_OBJECTS_MAX: Final = 20_000
"""How many objects more than before set off a collection: with Python's own 700, a start spends a twentieth of its time in them."""
COMMANDS: Final[Table] = {
    "init": ("virke.cli.init:init", "Write a new project into FOLDER, or into the current folder."),
    "build": ("virke.cli.build:build", "Build the app, or the HTTP API, for Fastly Compute."),
    "dev": ("virke.cli.dev:dev", "Run the app with a database next to it, and again at each change."),
    "deploy": (
        "virke.cli.deploy:deploy",
        "Take the database to a node or a store, with its migrations; or the project to Fastly Compute.",
    ),
    "db": ("virke.cli.main:db", "Create, query, change and look after databases."),
    "shell": ("virke.cli.shell:shell", "Type statements and see their rows; `.help` lists what else there is."),
    "serve": ("virke.cli.serve:serve", "Serve the databases of a store over HTTP."),
    "studio": ("virke.cli.studio:studio", "Look at the data of a store, and change them, in a browser."),
    "token": ("virke.cli.main:token", "Create, list and revoke the tokens of a store."),
    "doctor": ("virke.cli.doctor:doctor", "Prove that a store keeps what Virke needs, or refuse it."),
    "completion": ("virke.cli.project:completion", "Print the completion script of a shell."),
}
DB_COMMANDS: Final[Table] = {
    "create": ("virke.cli.db_create:create", "Create a database."),
    "list": ("virke.cli.db_create:list_", "List the databases of the store."),
    "delete": ("virke.cli.db_create:delete", "Delete a database and all of its history."),
    "query": ("virke.cli.db_sql:query", "Run one statement and print its rows."),
    "execute": ("virke.cli.db_sql:execute", "Run statements that write, as one transaction."),
    "schema": ("virke.cli.db_sql:schema", "Print the CREATE statements."),
    "import": ("virke.cli.db_transfer:import_", "Import a SQL dump, a SQLite file, or CSV or JSON into a table."),
    "export": (
        "virke.cli.db_transfer:export",
        "Export the database as SQL or as a SQLite file, or one table as SQL, CSV or NDJSON.",
    ),
    "migrate": ("virke.cli.db_migrate:migrate", "Apply the migrations of a folder, or undo them."),
    "versions": ("virke.cli.db_past:versions", "Print the last versions of the database, newest first."),
    "diff": ("virke.cli.db_past:diff", "Print what differs between versions A and B of the database."),
    "restore": ("virke.cli.db_past:restore", "Bring an earlier version of the database back."),
    "verify": ("virke.cli.db_whole:verify", "Read everything that is stored and check it."),
    "copy": ("virke.cli.db_whole:copy", "Copy the database to another store."),
    "status": ("virke.cli.db_status:status", "Print size, version, tier and pending writes."),
    "settings": ("virke.cli.db_status:settings", "View or change the settings."),
    "flush": ("virke.cli.db_status:flush", "Push pending writes to the store now."),
    "journal": ("virke.cli.db_journal:journal", "Show the deferred writes that this machine keeps."),
    "promote": ("virke.cli.db_status:promote", "Move the database to object storage."),
    "upkeep": ("virke.cli.db_status:upkeep", "Merge and move stored objects, as far as that is due."),
    "gc": ("virke.cli.db_status:gc", "Delete stored objects that nothing needs any more."),
}

TOKEN_COMMANDS: Final[Table] = {
    "create": ("virke.cli.token:create", "Create a token, and print it once."),
    "list": ("virke.cli.token:list_", "List the tokens, without their text."),
    "revoke": ("virke.cli.token:revoke", "Make a token no longer good."),
}


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from virke.cli.project import version_line

        click.echo(version_line())
        context.exit()


@click.group(cls=RootGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@global_options
def cli() -> None:
    """Full SQLite at the edge: databases that live in a KV or object store."""


@click.group(cls=LazyGroup, table=DB_COMMANDS)
@global_options
def db() -> None:
    """Create, query, change and look after databases."""


@click.group(cls=LazyGroup, table=TOKEN_COMMANDS)
@global_options
def token() -> None:
    """Create, list and revoke the tokens of a store."""


def main() -> None:
    """Run `virke` with the arguments of this process."""
    gc.set_threshold(YOUNG_OBJECTS_MAX)
    atexit.register(
        gc.freeze
    )  # registered first, so it runs last: the system takes the memory back faster than a collection
    end_by_signals()
    run_command(cli.main)


if __name__ == "__main__":
    main()
