"""Virke's own requests on a stream: an interactive transaction of Virke's client, without loss of types, errors or versions.

Knows Virke's JSON (`native`); carries nothing out (`transacting` does). They travel in the pipelines of libSQL's protocol, so that
batons, leases and gates are the same for all who have a transaction open (decision 0021).

1. Their types begin with `virke_`, which libSQL's clients never send; what those send means what it meant.
2. `virke_run` is all or nothing, as `Transaction.batch` is: an error takes back what its steps did, and no more.
3. An error has, besides libSQL's words, Virke's own below `virke`.
4. A transaction with an idempotency key waits for other writers at once: it will write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, Literal

from virke.api import native
from virke.api.hrana.complaints import Refused, in_both_languages
from virke.engine.programs import Step
from virke.engine.transaction import Transaction
from virke.engine.values import Json
from virke.errors import Invalid, VirkeError
from virke.lazy_dataclasses import dataclass

Mode = Literal["deferred", "write", "read"]
_MODES: Final[Mapping[str, Mode]] = {"deferred": "deferred", "immediate": "write", "read_only": "read"}
_STATEMENT: Final = frozenset({"sql", "params", "rows", "script"})


@dataclass(frozen=True, slots=True)
class BeginTransaction:
    """Begin one; a state that it only reads is not older than `bookmark`."""

    mode: Mode
    foreign_keys: bool | None = None
    key: str | None = None
    bookmark: str | None = None


@dataclass(frozen=True, slots=True)
class RunSteps:
    """Statements, all or none of them."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class DescribeStep:
    """What SQLite says of a statement, in the transaction."""

    sql: str


@dataclass(frozen=True, slots=True)
class CommitTransaction:
    """The end."""


@dataclass(slots=True)
class Opened:
    """The transaction of a stream. `savepoint` is the name of the one that began it, if that was not BEGIN.

    `foreign_keys` says whether they are checked, where that is not what the stream says.
    """

    mode: Mode
    transaction: Transaction | None = None
    has_read: bool = False
    savepoint: str | None = None
    foreign_keys: bool | None = None


Interactive = BeginTransaction | RunSteps | DescribeStep | CommitTransaction


def begin_of(body: Mapping[str, Json]) -> BeginTransaction:
    """How a transaction begins. Raises `Refused`."""
    mode, keys = body.get("mode", "deferred"), body.get("foreign_keys")
    if not isinstance(mode, str) or mode not in _MODES:
        raise Refused(f"`mode` must be one of {', '.join(_MODES)}")
    if keys is not None and not isinstance(keys, bool):
        raise Refused("`foreign_keys` must be true, false or null")
    key, bookmark = _optional_text(body, "key"), _optional_text(body, "bookmark")
    if key is not None and mode == "read_only":
        raise Refused("a transaction that only reads takes no `key`")
    return BeginTransaction("write" if key is not None else _MODES[mode], keys, key, bookmark)


def _optional_text(body: Mapping[str, Json], name: str) -> str | None:
    found = body.get(name)
    if found is not None and not isinstance(found, str):
        raise Refused(f"`{name}` must be a text or null")
    return found


def run_of(body: Mapping[str, Json]) -> RunSteps:
    """The statements of a run. Raises `Refused`."""
    statements = body.get("statements")
    if not isinstance(statements, list) or not statements:
        raise Refused("`statements` must be a list of statements")
    try:
        return RunSteps(tuple(_step_of(one) for one in statements))
    except Invalid as error:
        raise Refused(error.message) from error


def _step_of(body: Json) -> Step:
    found: dict[str, Json] = (
        {"sql": body} if isinstance(body, str) else native.object_of(body, _STATEMENT, "a statement")
    )
    sql, params = native.statement_of(found, _STATEMENT)
    return Step(sql, params, rows=native.rows_in(found), is_script=found.get("script") is True)


def describe_of(body: Mapping[str, Json]) -> DescribeStep:
    """The statement to describe. Raises `Refused`."""
    sql = body.get("sql")
    if not isinstance(sql, str):
        raise Refused("`sql` must be a text")
    return DescribeStep(sql)


PARSERS: Final[Mapping[str, Callable[[Mapping[str, Json]], Interactive]]] = {
    "virke_begin": begin_of,
    "virke_run": run_of,
    "virke_describe": describe_of,
    "virke_commit": lambda body: CommitTransaction(),
}


def error_result(error: VirkeError) -> dict[str, object]:
    """A request that was not carried out, in both languages."""
    return {"type": "error", "error": in_both_languages(error)}


def run_result(results: list[dict[str, object]]) -> dict[str, object]:
    """What statements answered."""
    return _ok_result("virke_run", results=results)


def transaction_result(kind: str, version: int, bookmark: str) -> dict[str, object]:
    """A transaction that began or was committed, as of a version."""
    return _ok_result(kind, version=version, bookmark=bookmark)


def describe_result(description: object) -> dict[str, object]:
    """What SQLite says of a statement (a `Description`)."""
    return _ok_result("virke_describe", description=asdict(description))  # type: ignore[call-overload]


def _ok_result(kind: str, **fields: object) -> dict[str, object]:
    return {"type": "ok", "response": {"type": kind, **fields}}
