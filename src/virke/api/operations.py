"""What a request asks for, as values: each says which database it is of and which scope it needs.

Knows programs and scopes; knows no HTTP and no server.

1. `Run` needs `read` alone: what its statements may do is held against the token's scope by SQLite (`Program.scope`).
2. An operation holds what was asked, checked for its form; whether it can be done shows when it is performed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from virke.api.hrana.effects import check_foreign_keys
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.core.collect import GRACE_MS
from virke.engine.programs import Step
from virke.engine.results import Request
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameters


@dataclass(frozen=True, slots=True)
class Run:
    """Statements on one database: a single one of any kind, or with `is_batch` several as one unit.

    A single one is run once for each of `rows` if there are any; with `is_script` it is many, divided by `;`.
    `streams`: the rows are wanted line by line, without a bound on how many. `key` is an idempotency key. `at` is an
    earlier version or time, `foreign_keys` whether they are checked, where the database's setting is not what is wanted.
    """

    scope: ClassVar[Scope] = Scope.READ
    database: str
    requests: tuple[Request, ...]
    is_batch: bool = False
    bookmark: str | None = None
    consistency: str | None = None
    key: str | None = None
    timeout_ms: int | None = None
    meta: bool = False
    streams: bool = False
    is_script: bool = False
    rows: tuple[Parameters, ...] | None = None
    read_only: bool = False
    at: int | str | None = None
    foreign_keys: bool | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The requests as steps of a program."""
        return tuple(Step(sql, params, rows=self.rows, is_script=self.is_script) for sql, params in self.requests)

    @property
    def is_unit(self) -> bool:
        """Whether it is more than one statement, all or nothing; of an earlier state there is nothing to be undone."""
        return (self.is_batch and self.at is None) or self.is_script or self.rows is not None

    @property
    def is_program(self) -> bool:
        """Whether it is put in line whatever its statements are: one with a key is answered from the table of keys there."""
        return self.is_unit or self.key is not None

    @property
    def is_plain(self) -> bool:
        """Whether it may be a read that is answered from what is shown."""
        has_wishes = self.meta or self.key or self.consistency or self.timeout_ms
        return not (has_wishes or self.is_batch or self.is_unit or self.at is not None)

    def allowed(self, scope: Scope) -> Scope:
        """What it may do by a token of this scope, and by its own word. Raises `Denied`: it wants no foreign keys checked."""
        if self.foreign_keys is not None:
            check_foreign_keys(scope, self.foreign_keys)
        return min(scope, Scope.READ) if self.read_only else scope


@dataclass(frozen=True, slots=True)
class DescribeStatement:
    """What SQLite says of one statement."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    sql: str


@dataclass(frozen=True, slots=True)
class GetSchema:
    """The schema, or that of one table."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    table: str | None = None


@dataclass(frozen=True, slots=True)
class GetStatus:
    """The state of a database; with `is_brief` what history keeps is not counted."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class GetSettings:
    """The settings."""

    scope: ClassVar[Scope] = Scope.READ
    database: str


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """Settings to change."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str
    changes: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Flush:
    """Push pending writes."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Move a database to object storage."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str


@dataclass(frozen=True, slots=True)
class GetVersions:
    """The last versions that changed pages."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    limit: int = 20


@dataclass(frozen=True, slots=True)
class GetDiff:
    """What differs between two versions or times; `after` None: the newest."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    before: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring an earlier version or time back; `dry_run`: only say what that would change."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str
    at: int | str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete what nothing needs."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str
    dry_run: bool = False
    grace_ms: int = GRACE_MS


@dataclass(frozen=True, slots=True)
class DoUpkeep:
    """Upkeep in at most `limit` steps; None is all."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str
    limit: int | None = 1


@dataclass(frozen=True, slots=True)
class GetMigrations:
    """What was applied."""

    scope: ClassVar[Scope] = Scope.READ
    database: str


@dataclass(frozen=True, slots=True)
class Migrate:
    """Migration files, as (name, SQL): applied, rehearsed, or the last `undo` of them taken back."""

    scope: ClassVar[Scope] = Scope.SCHEMA
    database: str
    files: tuple[tuple[str, str], ...]
    dry_run: bool = False
    undo: int | None = None
    report: bool = False
    """Only say which of these files are applied."""


@dataclass(frozen=True, slots=True)
class Import:
    """A file to import: its bytes, part by part, and how many they are if that was announced.

    None as `kind` or `encoding`: its content says what it is. `name` is what messages call it; `no_header` and `types` are for CSV.
    """

    scope: ClassVar[Scope] = Scope.SCHEMA
    database: str
    parts: Iterator[bytes]
    length: int | None = None
    kind: str | None = None
    table: str | None = None
    replace: bool = False
    name: str | None = None
    encoding: str | None = None
    no_header: bool = False
    types: str = "infer"


@dataclass(frozen=True, slots=True)
class Export:
    """The database as `sql` or `sqlite`; one table as `sql`, `csv` or `ndjson`; as `sql` perhaps only its schema or its rows."""

    scope: ClassVar[Scope] = Scope.READ
    database: str
    format: str = "sql"
    table: str | None = None
    schema_only: bool = False
    data_only: bool = False
    at: str | None = None


@dataclass(frozen=True, slots=True)
class ListDatabases:
    """The names of the databases that the token may see."""

    scope: ClassVar[Scope] = Scope.READ
    database: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """A new database."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str
    if_not_exists: bool = False
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteDatabase:
    """A database and its history."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: str


@dataclass(frozen=True, slots=True)
class ListTokens:
    """The tokens, without their secrets."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class CreateToken:
    """A new token for databases that fit `databases` (`app-*`); `expires_s` seconds from now, None: never."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: ClassVar[None] = None
    databases: tuple[str, ...]
    grants: Scope
    expires_s: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """A token that is no longer good."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: ClassVar[None] = None
    token_id: str


@dataclass(frozen=True, slots=True)
class GetMetrics:
    """The counters of this server, in Prometheus' text form."""

    scope: ClassVar[Scope] = Scope.ADMIN
    database: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class GetHealth:
    """Whether the process answers; with `ready`, how the last call to the store ended. Neither asks the store."""

    scope: ClassVar[None] = None
    database: ClassVar[None] = None
    ready: bool = False


@dataclass(frozen=True, slots=True)
class GetDocument:
    """The OpenAPI document, which says nothing of any store; whoever parses the request has it."""


Operation = (
    Run
    | DescribeStatement
    | GetSchema
    | GetStatus
    | GetSettings
    | ChangeSettings
    | Flush
    | Promote
    | GetVersions
    | GetDiff
    | Restore
    | Collect
    | DoUpkeep
    | GetMigrations
    | Migrate
    | Import
    | Export
    | ListDatabases
    | CreateDatabase
    | DeleteDatabase
    | ListTokens
    | CreateToken
    | RevokeToken
    | GetMetrics
    | GetHealth
    | Pipeline
    | Cursor
    | Once
)
