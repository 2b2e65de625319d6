"""An interactive transaction on a node: one stream of libSQL's protocol, which carries Virke's own requests.

State: open → committed | rolled back. Knows pipelines and batons; knows no socket.

1. Each call is one request, sent once. If its answer is lost, the transaction is over and nothing of it is in history;
   only a lost answer to `commit` is `OutcomeUnknown`.
2. The node keeps a transaction for 10 s between two requests, and one that writes for 30 s in all. What it ended is
   `Conflict`: nothing of it is in history, run it again.
3. Requests follow each other: a baton is good for one.
4. Writes of the same thread past it are refused, as those past an embedded one are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virke.client import asking, reading
from virke.client.failures import error_in, in_both_languages
from virke.engine.programs import Step
from virke.engine.results import QueryResult, Request, Stamp, requests_of
from virke.engine.rows import Rows
from virke.engine.terms import Cancel
from virke.engine.transaction import Transaction
from virke.errors import Conflict, Invalid, OutcomeUnknown, TimedOut, Unavailable, VirkeError

if TYPE_CHECKING:
    from virke.client.session import Session
    from virke.engine.sqlite import Description, Parameters


class RemoteTransaction(Transaction):
    """`Transaction` of a node."""

    def __init__(
        self,
        session: Session,
        *,
        mode: str,
        key: str | None,
        foreign_keys: bool | None,
    ) -> None:
        """`mode` is `deferred`, `immediate` or `read_only`."""
        self._session = session
        self._is_read_only = mode == "read_only"
        self._now_at = 0
        self._call = threading.Lock()
        self._baton: str | None = None
        self._over = False
        self._cancel: Cancel | None = None
        begin = {"type": "virke_begin", "mode": mode, "foreign_keys": foreign_keys, "key": key}
        found = self._ask_stream(begin | {"bookmark": session.bookmark})
        if not self._is_kept():
            self._over = True
            raise Invalid("this server keeps no transaction across requests; use batch or run_script")
        self._now_at = int(found["version"])

    def _is_kept(self) -> bool:
        """Whether the node has the transaction open for the next request."""
        return self._baton is not None

    @property
    def read_only(self) -> bool:
        """See `Transaction.read_only`."""
        return self._is_read_only

    @property
    def is_over(self) -> bool:
        """See `Transaction.is_over`."""
        return self._over

    @property
    def version(self) -> int:
        """See `Transaction.version`."""
        return self._now_at

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """See `Transaction.query`."""
        return self._run_statements(asking.statement_json(sql, params))[0]

    def query_rows(self, sql: str, params: Parameters = ()) -> Rows:
        """Not over a node, which answers a request of a transaction as a whole. Raises `Invalid`."""
        raise Invalid("a node sends no rows in parts within a transaction", hint="use query")

    def execute(self, sql: str, params: Parameters = ()) -> int:
        """See `Transaction.execute`."""
        return self.query(sql, params).rows_affected

    def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        """See `Transaction.run_script`."""
        return self._run_statements(asking.statement_json(sql, params, script=True))[0]

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> int:
        """See `Transaction.executemany`."""
        given = [asking.parameters_json(row) for row in rows]
        return self._run_statements(asking.statement_json(sql, rows=given))[0].rows_affected if given else 0

    def batch(self, statements: Sequence[str | Request]) -> list[QueryResult]:
        """See `Transaction.batch`."""
        asked = [asking.statement_json(sql, params) for sql, params in requests_of(statements)]
        return self._run_statements(*asked) if asked else []

    def describe(self, sql: str) -> Description:
        """See `Transaction.describe`."""
        found = self._ask_stream({"type": "virke_describe", "sql": asking.statement_json(sql)["sql"]})
        return reading.understand_value(reading.description_of, found["description"])

    def run_steps(self, steps: tuple[Step, ...]) -> list[QueryResult]:
        """See `Transaction.run_steps`. Raises `Invalid` too: a step has a condition."""
        if any(step.condition for step in steps):
            raise Invalid("a step of a node's transaction has no condition")
        return self._run_statements(*map(_step_json, steps)) if steps else []

    def _run_statements(self, *statements: Mapping[str, object]) -> list[QueryResult]:
        found = self._ask_stream({"type": "virke_run", "statements": list(statements)})
        results = reading.understand_value(reading.results_of, found["results"])
        self._now_at = results[-1].version  # its first write may have begun it on a newer one
        return results

    def interrupt(self) -> None:
        """End the statement that runs now, from another thread: it raises `TimedOut`, and the transaction is over."""
        if (cancel := self._cancel) is not None:
            cancel.cancel()

    def commit(self) -> int:
        """See `Transaction.commit`."""
        found = self._ask_stream({"type": "virke_commit"}, ends=True)
        self._now_at = int(found["version"])
        self._session.saw(Stamp(self._now_at, str(found["bookmark"])))
        return self._now_at

    def rollback(self) -> None:
        """See `Transaction.rollback`."""
        if self._over:
            return
        self._over = True
        if self._baton is not None:
            self._tell_end()

    def _tell_end(self) -> None:
        """Let the node end the stream now; if it does not hear of it, it does so by itself in some seconds."""
        request = asking.pipeline_request(self._session.name, self._baton, [{"type": "close"}])
        try:
            self._session.node.ask(request)
        except VirkeError:
            self._baton = None

    def begins_as(self, other: Transaction) -> bool:
        """Whether another one began at the same version, as far as that is known here."""
        return self._now_at == other.version

    def blocks(self, writer: object) -> bool:
        """See `Transaction.blocks`."""
        return not self._over and writer is self._session and not self._is_read_only

    def _ask_stream(self, request: Mapping[str, object], *, ends: bool = False) -> Mapping[str, Any]:
        """Send one request of the stream; with `ends` it is the last one. Raises what the node says of it."""
        if self._over:
            raise Invalid("the transaction is over")
        with self._call:
            closes = [{"type": "close"}] if ends else []
            sent = asking.pipeline_request(self._session.name, self._baton, [request, *closes])
            self._cancel = cancel = Cancel()
            self._over = ends
            try:
                found = reading.json_of(self._session.ask(sent, cancel))
            except (OutcomeUnknown, Unavailable, TimedOut) as error:
                self._over = True
                if isinstance(error, OutcomeUnknown) and self._baton is not None:  # its connection broke
                    self._tell_end()
                raise _error_of_lost(error, cancel, commits=ends) from error
            except VirkeError:
                self._over = True
                raise
            finally:
                self._cancel = None
            self._baton = found.get("baton")
            return self._response_in(found)

    def _response_in(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        match found.get("results"):
            case [{"type": "ok", "response": dict(response)}, *_]:
                return response
            case [{"type": "error", "error": dict(error)}, *_]:
                described = in_both_languages(error)
                if not self._is_kept():  # SQLite, or the node, took the whole transaction back
                    self._over = True
                raise error_in(described) if described else Invalid(str(error.get("message")))
            case _:
                self._over = True
                raise Unavailable("the node's answer is not understood")


def _step_json(step: Step) -> dict[str, object]:
    rows = None if step.rows is None else [asking.parameters_json(row) for row in step.rows]
    return asking.statement_json(step.sql, step.params, rows=rows, script=step.is_script or None)


def _error_of_lost(error: VirkeError, cancel: Cancel, *, commits: bool) -> VirkeError:
    """What a request whose answer did not come means for its transaction."""
    if isinstance(error, OutcomeUnknown) and commits:
        return error
    if cancel.is_cancelled:
        return TimedOut("the statement was interrupted, and its transaction is over: nothing of it is in history")
    if isinstance(error, Conflict | TimedOut):
        return error
    return Unavailable(f"the transaction is over, and nothing of it is in history: {error.message}")
