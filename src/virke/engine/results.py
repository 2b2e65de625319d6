"""What the database answers with. Plain values; knows no SQLite and no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from virke.core.ids import Epoch, Version
from virke.core.lineage import Mark, mark_of
from virke.core.root import Root
from virke.errors import Invalid, NotFound
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern
from virke.stores.base import Call
from virke.stores.receipt import Receipt, writing_receipt

if TYPE_CHECKING:
    from virke.engine.sqlite import Column, Parameters, Row, Value

Request = tuple[str, "Parameters"]
"""A statement and its parameters."""
_BOOKMARK: Final = pattern(r"(.+)\.([0-9a-f]{8})\.([0-9a-f]{16})\.([0-9a-f]{8})")


def requests_of(statements: Sequence[str | Request]) -> list[Request]:
    """A text stands for itself without parameters. Raises `Invalid`: neither a text nor a pair."""
    requests: list[Request] = []
    for item in statements:
        match item:
            case str():
                requests.append((item, ()))
            case (_, _):
                requests.append(item)
            case _:
                raise Invalid("a batch takes texts, and pairs of a text and its parameters")
    return requests


def bookmark_of(root: Root) -> str:
    """The opaque, sortable token of a version: branch, epoch, version and the first bits of the commit id."""
    mark = mark_of(root)
    return f"{root.branch}.{mark.epoch:08x}.{mark.version:016x}.{mark.prefix.hex()}"


def mark_in(bookmark: str) -> tuple[str, Mark]:
    """The branch and the state that `bookmark` names.

    Raises:
        Invalid: it is not a bookmark.
    """
    found = _BOOKMARK.fullmatch(str(bookmark))
    if not found:
        raise Invalid(f"{bookmark!r} is not a bookmark; send one exactly as it was received")
    return found[1], Mark(Epoch(int(found[2], 16)), Version(int(found[3], 16)), bytes.fromhex(found[4]))


@dataclass(frozen=True, slots=True)
class Meta:
    """What a request cost (docs/receipts.md).

    `round_trips` are calls to the store, `requests` the ranges and objects that they carried; what is fetched in the background
    counts as well. `cache_hits` are ranges that the cache below answered; `pages_read` are pages that SQLite asked
    for. `shared_by` writes rode in one commit; each gets the whole receipt. Milliseconds: reading the root, fetching
    objects (in the background, too), committing, everything together, and what is left of it for SQL.
    """

    round_trips: int
    requests: int
    bytes_up: int
    bytes_down: int
    cache_hits: int
    pages_read: int
    shared_by: int
    root_ms: float
    fetch_ms: float
    commit_ms: float
    sql_ms: float
    total_ms: float
    version: int
    bookmark: str


def meta_of(receipt: Receipt, elapsed_s: float, root: Root) -> Meta:
    """The receipt of a request that took so long and was answered as of `root`."""
    total = receipt.total
    waits = [
        receipt.of(*calls).waited_ns / 1e6
        for calls in ((Call.READ,), (Call.GET, Call.LIST), (Call.SWAP, Call.PUT, Call.DELETE, Call.REMOVE))
    ]
    total_ms = elapsed_s * 1000
    return Meta(
        round_trips=total.requests,
        requests=total.items,
        bytes_up=total.bytes_up,
        bytes_down=total.bytes_down,
        cache_hits=receipt.cache_hits,
        pages_read=receipt.pages_read,
        shared_by=receipt.shared_by,
        root_ms=waits[0],
        fetch_ms=waits[1],
        commit_ms=waits[2],
        sql_ms=max(0.0, total_ms - sum(waits)),
        total_ms=total_ms,
        version=root.head.version,
        bookmark=bookmark_of(root),
    )


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of a state of which another process has the root."""

    version: int
    bookmark: str


class QueryResult:
    """Columns, rows and what changed; iterating gives the rows.

    `rows` are tuples of None, int, float, str or bytes. `decltypes` has the declared type of each column (`INTEGER`),
    None for an expression. `rows_affected` counts inserted, updated and deleted rows,
    triggers not included. `version` and `bookmark` name the state that was read or written. `meta` is the receipt, if
    it was asked for.
    """

    __slots__ = ("_described", "_root", "columns", "last_insert_rowid", "meta", "rows", "rows_affected", "stale_ms")

    def __init__(
        self,
        columns: list[str],
        rows: list[Row],
        root: Root | Stamp,
        described: Sequence[Column] = (),
        *,
        rows_affected: int = 0,
        last_insert_rowid: int | None = None,
    ) -> None:
        self.columns = columns
        self._described = described
        self.rows = rows
        self.rows_affected = rows_affected
        self.last_insert_rowid = last_insert_rowid
        self.meta: Meta | None = None
        self.stale_ms: int | None = None
        """How old the state is that was read, if it is older than allowed: the store was down; set by servers."""
        self._root = root

    @property
    def known_columns(self) -> object:
        """What is known of its columns: the same object for the results of a statement that is asked again and again."""
        return self._described

    @property
    def decltypes(self) -> list[str | None]:
        """The declared type of each column, as `sqlite3_column_decltype` has it; None for an expression."""
        return [column.decltype for column in self._described] or [None] * len(self.columns)

    @property
    def version(self) -> int:
        """The version that was read, or that this write made."""
        return self._root.version if isinstance(self._root, Stamp) else self._root.head.version

    @property
    def bookmark(self) -> str:
        """Send it with a later read, and that read sees nothing older."""
        return self._root.bookmark if isinstance(self._root, Stamp) else bookmark_of(self._root)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # a result without rows is one, too

    def dicts(self) -> list[dict[str, Value]]:
        """Each row as a dict of its columns. Raises `Invalid`: two columns have one name."""
        if len(set(self.columns)) < len(self.columns):
            [name, *_] = [name for name in self.columns if self.columns.count(name) > 1]
            raise Invalid(f"two columns are called {name!r}", hint="give each a name of its own: `SELECT a.id AS a_id`")
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def one(self) -> Row:
        """The only row. Raises `NotFound`: there is none. `Invalid`: there are more."""
        if not self.rows:
            raise NotFound("there is no row, where one is asked for")
        if len(self.rows) > 1:
            raise Invalid(
                f"there are {len(self.rows)} rows, where one is asked for", hint="add `LIMIT 1`, or use `rows`"
            )
        return self.rows[0]

    def with_receipt(self, receipt: Receipt, elapsed_s: float) -> QueryResult:
        """This result with its receipt."""
        assert not isinstance(self._root, Stamp), "whoever has the root writes the receipt"
        self.meta = meta_of(receipt, elapsed_s, self._root)
        return self

    def with_root(self, root: Root) -> QueryResult:
        """This result as of another root: the one whose swap made it true."""
        self._root = root
        return self

    def __repr__(self) -> str:
        return f"QueryResult(columns={self.columns!r}, rows={self.rows!r}, rows_affected={self.rows_affected})"


def result_of(
    described: Sequence[Column],
    rows: list[Row],
    root: Root,
    *,
    rows_affected: int = 0,
    last_insert_rowid: int | None = None,
) -> QueryResult:
    """The result of a statement with these columns."""
    columns = [column.name for column in described]
    return QueryResult(columns, rows, root, described, rows_affected=rows_affected, last_insert_rowid=last_insert_rowid)


def receipted_result(call: Callable[[], QueryResult], monotonic: Callable[[], float]) -> QueryResult:
    """The result of `call` with a receipt of what it cost."""
    receipt, began_at = Receipt(), monotonic()
    with writing_receipt(receipt):
        result = call()
    return result.with_receipt(receipt, monotonic() - began_at)


@dataclass(frozen=True, slots=True)
class SchemaEntry:
    """One object of the schema: `type` is table, index, view or trigger; `table` the table it belongs to."""

    type: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True, slots=True)
class RejectedWrite:
    """A deferred write that could not be applied when it was pushed; nothing of it is in history."""

    id: int
    sql: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One deferred write in a journal: `state` is pending, rejected or damaged (then its SQL is not known)."""

    sequence: int
    time_ms: int
    state: str
    sql: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Flushed:
    """How many pending writes were pushed and rejected, and the version after."""

    pushed: int
    rejected: int
    version: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection deleted, or would: object keys and their bytes; how many objects are kept."""

    deleted: tuple[str, ...]
    bytes: int
    kept: int
    waiting: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version that changed pages: when, how large the database was after it, and how many pages it brought.

    `pages_changed` is None where that is not kept any more. `made_by` is `create`, `write` or `restore`; of a restore
    `restored_version` is the one that it brought back.
    """

    version: int
    time_ms: int
    size_bytes: int
    pages_changed: int | None
    made_by: str
    restored_version: int | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, or would do: the version brought back, its time, and how many pages that writes.

    `version` is the newest one, the one that the restore made if anything differed (`pages` is not 0). `replaced` is
    the newest before it: to restore that undoes this.
    """

    restored_version: int
    time_ms: int
    version: int
    replaced: int
    pages: int
    size_bytes: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ObjectDiff:
    """A table, index, view or trigger that differs: `change` is `added`, `removed` or `changed`; its SQL in both versions."""

    change: str
    type: str
    name: str
    table: str
    sql_before: str | None
    sql_after: str | None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """A table whose rows differ; `rows_before` or `rows_after` is None where there was no such table.

    `added`, `removed` and `changed` are None where its rows have no key to compare by.
    """

    name: str
    rows_before: int | None
    rows_after: int | None
    added: int | None
    removed: int | None
    changed: int | None


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two versions, seen from the first one; nothing does if both tuples are empty."""

    version_before: int
    version_after: int
    objects: tuple[ObjectDiff, ...]
    tables: tuple[TableDiff, ...]


@dataclass(frozen=True, slots=True)
class Upkept:
    """How many steps of upkeep were done, and what is still due: `promote`, `spill`, `compact`, `collect`."""

    steps: int
    due: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a database; times in Unix milliseconds, sizes in bytes."""

    name: str
    store: str
    tier: str
    branch: str
    epoch: int
    version: int
    generation: str
    page_size: int
    page_count: int
    size_bytes: int
    created_ms: int
    last_commit_ms: int
    pending_writes: int
    rejected_writes: tuple[RejectedWrite, ...]
    objects: int
    """All that the newest version, history and branches keep, and what is let go and not deleted yet."""
    stored_bytes: int
    history_objects: int
    """Of those, the ones that the newest version does not need."""
    history_bytes: int
    history_from_version: int
    history_days: int
    conflicts: int
    healthy: bool
    upkeep_error: str | None
    upkeep_due: tuple[str, ...]
    journal_error: str | None = None
    growth_bytes_per_day: int | None = None
    """What writes add to the store, merges included: the mean of the days that history keeps, or of the database's own. Like
    what follows, None without history, where it can't be read, and from a node of an earlier release."""
    gc_objects: int | None = None
    """What history has let go: collection deletes it, in two steps that are a grace period apart."""
    gc_bytes: int | None = None
    gc_later_objects: int | None = None
    """What history keeps and will let go between `gc_later_from_ms` and `gc_later_until_ms`, though nothing else is written."""
    gc_later_bytes: int | None = None
    gc_later_from_ms: int | None = None
    gc_later_until_ms: int | None = None
