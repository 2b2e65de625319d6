"""What a client knows of one database of a node, and how it sends statements there.

Knows the node, the newest state that was seen, and this object's own modes; knows no page, no root and no store.

1. Each answer's bookmark is remembered, and sent with the next read: no read is older than this object's own writes, or
   than what it has read, whichever node answers.
2. A write that can carry a key carries one, made here, unless the caller gives one: where its answer is lost it is sent
   again, and not done twice.
3. Where only reads are allowed no request can write: each says so to the node.
4. `PRAGMA foreign_keys` belongs to this object, as it does to an embedded one: it is kept here and said with each write.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from virke.api.hrana.sql import ForeignKeys, control_of
from virke.client import asking, reading
from virke.client.exchange import Answer, Request
from virke.client.node import Node
from virke.core.settings import Settings
from virke.engine.results import QueryResult, Stamp
from virke.engine.sqlite import split
from virke.engine.terms import Cancel, Terms
from virke.engine.transaction import check_no_open_transaction
from virke.errors import Denied, Invalid, OutcomeUnknown, TimedOut, VirkeError

KEY_BYTES: Final = 16
_NOTHING_YET: Final = Stamp(0, "")


class Session:
    """One client's view of one database."""

    def __init__(self, node: Node, name: str, *, read_only: bool) -> None:
        self.node = node
        self.name = name
        self.read_only = read_only
        self.stamp = _NOTHING_YET
        self.foreign_keys: bool | None = None
        """What `PRAGMA foreign_keys` set here; None: the database's setting."""
        self._settings: Settings | None = None
        self._lock = threading.Lock()
        self._closed = False

    # What is known

    @property
    def bookmark(self) -> str | None:
        """The bookmark of the newest state that was seen; None before the first answer."""
        return self.stamp.bookmark or None

    def saw(self, stamp: Stamp) -> None:
        """An answer came that stands for this state."""
        with self._lock:
            if not _is_older(stamp.bookmark, self.stamp.bookmark):
                self.stamp = stamp

    @property
    def known_settings(self) -> Settings:
        """The settings as they were last seen; asks for them if they never were."""
        return self._settings or self.settings(asking.get_request(self.path("settings")))

    def settings(self, request: Request) -> Settings:
        """The settings that a request answers."""
        self._settings = found = reading.understand_value(reading.settings_of, self.json(request))
        return found

    def catch_up(self) -> None:
        """See what a request changed whose answer has no bookmark; what was done stays done if that fails."""
        request = asking.run_request(self.path("query"), {"sql": "SELECT 1"}, is_read=True, terms=Terms("strong"))
        with suppress(VirkeError):
            self._saw_result(reading.understand_value(reading.result_of, self.json(request)))

    # Asking

    def path(self, *parts: str) -> str:
        """The path of a route of this database."""
        return asking.path_of(self.name, *parts)

    def ask(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """Send a request. Raises as `Node.ask`, and `Invalid`: the database is closed."""
        if self._closed:
            raise Invalid(f"database {self.name!r} is closed")
        return self.node.ask(request, cancel)

    def json(self, request: Request) -> Any:
        """The body of the answer. Raises as `ask`."""
        return reading.json_of(self.ask(request))

    def change(self, route: str, body: Mapping[str, object]) -> Any:
        """Care of the database: what a route answers. Raises as `ask`, and `Denied`."""
        self.check_may_write()
        found = self.json(asking.post_request(self.path(route), body, patience_s=asking.LONG_S))
        self.catch_up()
        return found

    def peek(self, route: str, body: Mapping[str, object]) -> Any:
        """What a route answers that changes nothing. Raises as `ask`."""
        return self.json(asking.reading_post(self.path(route), body))

    def check_may_write(self) -> None:
        """Raise `Denied` where only reads are allowed."""
        if self.read_only:
            raise Denied("this connection is read-only; nothing was changed")

    def close(self) -> None:
        """Close the connections; nothing can be asked any more."""
        self._closed = True
        self.node.close()

    # Statements

    def query(self, statement: dict[str, object], terms: Terms, *, meta: bool) -> QueryResult:
        """Run one statement of any kind."""
        sql = str(statement["sql"])
        if (answered := self._foreign_keys_pragma(sql)) is not None:
            return answered
        only_reads = terms.read_only or self.read_only or "at" in statement
        is_read = only_reads or asking.is_reading_sql(sql)
        if not is_read:
            check_no_open_transaction(self)
        request = asking.run_request(
            self.path("query"),
            statement | self._wishes_of_call(meta=meta, only_reads=only_reads, is_read=is_read),
            is_read=is_read,
            key=None if is_read else _new_write_key(sql),
            terms=self._with_bookmark(terms),
        )
        try:
            answer = self.ask(request, terms.cancel)
        except TimedOut as error:
            if is_read or terms.cancel is None or not terms.cancel.is_cancelled:
                raise
            text = "the statement was cancelled before the node answered: it may have been done, look at the data"
            raise OutcomeUnknown(text) from error
        found = reading.json_of(answer)
        return self._saw_result(reading.understand_value(lambda body: reading.result_of(body, answer.headers), found))

    def stream(self, statement: dict[str, object], terms: Terms) -> Answer:
        """Run one statement that reads; its rows come as a stream."""
        body = statement | {"read_only": True}
        request = asking.run_request(
            self.path("query"), body, is_read=True, terms=self._with_bookmark(terms), streams=True
        )
        return self.ask(request, terms.cancel)

    def write(self, statement: dict[str, object], key: str | None, *, meta: bool = False) -> QueryResult:
        """Run one statement, a script, or one statement for each row, as a transaction."""
        sql = str(statement["sql"])
        is_script = "script" in statement
        texts = [text for _, text in split(sql)] if is_script else [sql]
        if not is_script and (answered := self._foreign_keys_pragma(sql)) is not None:
            return answered
        found = self._send_write("execute", statement, texts, key, meta=meta)
        return self._saw_result(reading.understand_value(reading.result_of, found))

    def batch(self, statements: list[dict[str, object]], key: str | None, *, meta: bool) -> list[QueryResult]:
        """Run statements as one transaction."""
        texts = [str(one["sql"]) for one in statements]
        found = self._send_write("batch", {"statements": statements}, texts, key, meta=meta)
        return [self._saw_result(one) for one in reading.understand_value(reading.results_of, found)]

    def batch_at(
        self, statements: list[dict[str, object]], at: int | str | None, key: str | None, *, meta: bool
    ) -> list[QueryResult]:
        """Run statements that read, on one earlier state."""
        body = {"statements": statements, "at": at, **self._wishes_of_call(meta=meta, only_reads=True, is_read=True)}
        request = asking.run_request(self.path("batch"), body, is_read=True, key=key, terms=Terms())
        return reading.understand_value(reading.results_of, self.json(request))

    def _send_write(
        self, route: str, body: Mapping[str, object], texts: Sequence[str], key: str | None, *, meta: bool
    ) -> Any:
        """The answer to a write: `texts` are its statements."""
        self.check_may_write()
        check_no_open_transaction(self)
        is_read = all(map(asking.is_reading_sql, texts))
        request = asking.run_request(
            self.path(route),
            {**body, **self._wishes_of_call(meta=meta, only_reads=False, is_read=is_read)},
            is_read=is_read,
            key=key or None if is_read or key else _new_write_key(*texts),
            terms=Terms(bookmark=self.bookmark),
        )
        return self.json(request)

    def _wishes_of_call(self, *, meta: bool, only_reads: bool, is_read: bool) -> dict[str, object]:
        found: dict[str, object] = {"meta": True} if meta else {}
        if only_reads:
            found["read_only"] = True
        if self.foreign_keys is not None and not is_read:
            found["foreign_keys"] = self.foreign_keys
        return found

    def _with_bookmark(self, terms: Terms) -> Terms:
        return Terms(terms.consistency, terms.bookmark or self.bookmark, terms.timeout_ms)

    def _saw_result(self, result: QueryResult) -> QueryResult:
        self.saw(Stamp(result.version, result.bookmark))
        return result

    def _foreign_keys_pragma(self, sql: str) -> QueryResult | None:
        """The answer to `PRAGMA foreign_keys`, which is this object's; None for all other statements."""
        match control_of(sql) if "foreign_keys" in sql.lower() else None:
            case ForeignKeys(None):
                mode = self.known_settings.foreign_keys == "on" if self.foreign_keys is None else self.foreign_keys
                return QueryResult(["foreign_keys"], [(int(mode),)], self.stamp)
            case ForeignKeys(bool(value)):
                self.check_may_write()
                self.foreign_keys = value
                return QueryResult([], [], self.stamp)
            case _:
                return None


def _new_write_key(*texts: str) -> str | None:
    """A new key for a write of these statements; None where it can't have one."""
    return secrets.token_hex(KEY_BYTES) if all(map(asking.takes_key, texts)) else None


def _is_older(one: str, other: str) -> bool:
    """Whether a bookmark comes before another of the same branch; they are sortable."""
    return one.partition(".")[0] == other.partition(".")[0] and one < other
