"""What one connection may do right now: SQLite's authorizer, and the time and memory of the request that it runs.

1. A guarded connection reaches no other database, no file and no extension (ATTACH, DETACH, VACUUM INTO,
   `load_extension`, `fts3_tokenizer`, and every PRAGMA that is not in a list of `pragmas` are `Denied`).
2. A PRAGMA of `QUIET` that would change how SQLite stores pages has no effect and is not an error, because
   dumps and clients send them; its reading form works.
3. Every `PROGRESS_STEPS` steps the request is looked at. One past its deadline is interrupted (`TimedOut`); so is one
   that made SQLite's memory, without its page cache of the database, grow by more than `bytes_max` (`TooLarge`).
4. A statement that is described is prepared within `PREPARE_S`, or it is `TimedOut`.
5. A request has a scope: what `scoped` refuses it is `Denied` when a statement is prepared, and what keeps virtual
   tables in their shadow tables is not to be had from outside (SQLite's "defensive" mode).
6. SQLite counts memory for the whole process. Where several requests run, all of them together may take the sum of
   what each may, and of those the one in whose steps most growth was seen is stopped. Their page caches may grow
   meanwhile as far as the process lets them (`care`), and what they grew is not seen: it counts as all of that.
7. Where a request has an `allowance`, its processor's time is looked at together with its deadline.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import field
from typing import Final

import apsw

from virke.engine.allowance import Allowance
from virke.engine.sqlite.care import cache_room
from virke.engine.sqlite.pragmas import ALLOWED, DENIED_FUNCTIONS, MODES, QUIET, READ_ONLY, WITH_ARGUMENT
from virke.engine.sqlite.scoped import RESERVED_PREFIX, refusal_by_scope
from virke.errors import TimedOut
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

PROGRESS_STEPS: Final = 500
RUNNING_S: Final = 0.25
"""A request that was looked at in the last so many seconds still runs."""
WORK_BYTES: Final = 64 << 20
_PAUSES: Final = 30
_PAUSE_S: Final = 0.001
_GROWN_BYTES: Final = 128 << 10
"""What SQLite may take for one read, besides the page cache and the rows that it answered."""
PREPARE_S: Final = 2.0
CALLS_BETWEEN_LOOKS: Final = 64
_NO_CEILING: Final = 1 << 62
_CACHE_USED: Final = apsw.SQLITE_DBSTATUS_CACHE_USED
_LOOK_AGAIN_BYTES: Final = 1 << 20
"""A request that was looked at closely is again when it grew by so much."""
NO_DEADLINE: Final = float("inf")
_EXPIRED: Final = float("-inf")
_STATISTICS: Final = frozenset({"sqlite_stat1", "sqlite_stat4"})
_CHANGES: Final = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_CHECKING: Final = frozenset({"pragma_integrity_check", "pragma_quick_check"})
_SCHEMA_TABLES: Final = frozenset({"sqlite_master", "sqlite_temp_master"})
_ROWS: Final = _CHANGES | {apsw.SQLITE_READ, apsw.SQLITE_SELECT}
_NOTED: Final = _STATISTICS | _SCHEMA_TABLES
"""Tables of which it is remembered that they were written."""


Authorizer = Callable[..., int]
"""Of SQLite's form: action, two arguments, database, trigger or view; answers SQLITE_OK, SQLITE_IGNORE or SQLITE_DENY."""


@dataclass(slots=True)
class Seen:
    """What the authorizer sees of a statement that is described."""

    functions: set[str] = field(default_factory=set)
    pragmas: list[tuple[str, str | None]] = field(default_factory=list)
    checks: bool = False
    calls: int = 0
    late_at: float | None = None
    is_late: bool = False


class Guard:
    """What one connection may do right now: the authorizer, and the deadline and memory of its current request.

    A request begins with a new `deadline` object: whoever sets it needs to do nothing else.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_cached",
        "_connection",
        "_floor",
        "_growth",
        "_is_defensive",
        "_is_running",
        "_lock",
        "_monotonic",
        "_seen_at",
        "allow_schema_writes",
        "allow_transactions",
        "allow_vacuum",
        "allowance",
        "analyzed",
        "asked",
        "bytes_max",
        "cache_bytes_max",
        "ceiling",
        "deadline",
        "denied",
        "is_greedy",
        "is_spent",
        "left_behind",
        "looks_left",
        "on_look",
        "ran_out",
        "scope",
        "seen",
    )

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, allowance: Allowance | None = None) -> None:
        self._monotonic = monotonic
        self.allowance = allowance
        self.is_spent = False
        """Whether what ran was interrupted because the request used up its processor's time."""
        self.deadline = NO_DEADLINE
        self.left_behind = False
        self.allow_transactions = True
        self.allow_vacuum = False
        self.allow_schema_writes = False
        self.scope = Scope.ADMIN
        """What the request may do; `allow` sets it. Our own statements are run under `ADMIN`."""
        self._is_defensive = False
        self.asked: Authorizer | None = None
        """The application's own authorizer, which may refuse more."""
        self.denied: str | None = None
        self.seen: Seen | None = None
        self.analyzed = False
        self.bytes_max = WORK_BYTES
        self.ceiling = 0
        self.cache_bytes_max = 0
        self.is_greedy = False
        self.ran_out = False
        self.looks_left: int | None = None
        self.on_look: Callable[[], None] | None = None
        """Called at each look: what a statement that runs long has to see to in between."""
        self._begun: float | None = None
        self._floor = self._cached = self._growth = 0
        self._seen_at = -RUNNING_S
        self._connection: weakref.ref[apsw.Connection] | None = None
        self._is_running = False
        self._lock = threading.Lock()

    def authorize(self, operation: int, first: str | None, second: str | None, *where: str | None) -> int:
        """SQLite's authorizer callback; remembers why it refused in `denied`, and what will have to be forgotten."""
        if operation in _ROWS and self.seen is None and first not in _NOTED and self.scope >= Scope.SCHEMA:
            return apsw.SQLITE_OK  # most of what a dump asks for
        reason = self._refusal_reason(operation, first, second)
        if reason is None and self.scope < Scope.SCHEMA and not self.allow_schema_writes:
            reason = refusal_by_scope(self.scope, operation, first, second)
        if operation == apsw.SQLITE_ANALYZE or (operation in _CHANGES and first in _STATISTICS):
            self.analyzed = True
        if operation == apsw.SQLITE_READ and self.seen and first in _CHECKING:
            self.seen.checks = True
        if operation == apsw.SQLITE_INSERT and where[0] == "temp" and first in _SCHEMA_TABLES:
            self.left_behind = True
        if self.seen and self._is_late(self.seen):
            return apsw.SQLITE_DENY
        if (
            reason is None and self.asked and self.seen
        ):  # of callers' statements alone: each is described before it runs
            return self.asked(operation, first, second, *where)
        if reason is None:
            return apsw.SQLITE_OK
        if reason == "":
            return apsw.SQLITE_IGNORE
        self.denied = reason
        return apsw.SQLITE_DENY

    def _is_late(self, seen: Seen) -> bool:
        """Whether preparing takes too long: views of views double its work, and only this callback is called then."""
        seen.calls += 1
        if not seen.calls % CALLS_BETWEEN_LOOKS:
            now = self._monotonic()
            seen.late_at = seen.late_at or now + PREPARE_S
            seen.is_late = seen.is_late or now > seen.late_at
        return seen.is_late

    def _refusal_reason(self, operation: int, first: str | None, second: str | None) -> str | None:
        """None to allow, "" to ignore quietly, else the reason to deny."""
        if operation == apsw.SQLITE_PRAGMA:
            if self.seen:
                self.seen.pragmas.append(((first or "").lower(), second))
            return self._refuse_pragma((first or "").lower(), second)
        if operation == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            if self.seen:
                self.seen.functions.add(name)
            return f"function {name}() is not available" if name in DENIED_FUNCTIONS else None
        if operation == apsw.SQLITE_ATTACH:
            return None if self.allow_vacuum and first == "" else "ATTACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_DETACH:
            return None if self.allow_vacuum else "DETACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_SAVEPOINT and not self.allow_transactions and is_reserved(second or ""):
            return f"savepoint names that start with {RESERVED_PREFIX} are not allowed"
        if operation == apsw.SQLITE_TRANSACTION and not self.allow_transactions:
            return f"{first} is not allowed here: a call is one transaction by itself (use batch() or transaction())"
        return None

    def _refuse_pragma(self, name: str, argument: str | None) -> str | None:
        if name in ALLOWED or (name in ("writable_schema", "schema_version") and self.allow_schema_writes):
            self.left_behind = self.left_behind or (argument is not None and name in MODES)
            return None
        if name in QUIET:
            return None if argument is None else ""
        if name in READ_ONLY:
            if argument is None or name in WITH_ARGUMENT:
                return None
            return f"PRAGMA {name} can only be read"
        return f"PRAGMA {name} is not allowed (docs/sql.md lists those that are)"

    def allow(self, scope: Scope) -> None:
        """From here on a request may do what its scope allows; before its first statement is prepared."""
        self.scope = scope
        is_defensive = scope < Scope.SCHEMA
        if is_defensive != self._is_defensive and self._connection and (connection := self._connection()):
            # SQLite prepares again what it has prepared, so that nothing outlives the change
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, is_defensive)
            self._is_defensive = is_defensive

    # Time and memory

    def attach(self, connection: apsw.Connection) -> None:
        """Watch what runs on `connection`."""
        self._connection = weakref.ref(connection)
        connection.set_authorizer(self.authorize)
        self.look_every(PROGRESS_STEPS)
        _guards.add(self)

    def look_every(self, steps: int) -> None:
        """Look at the request every so many steps of SQLite's machine."""
        if self._connection and (connection := self._connection()):
            connection.set_progress_handler(_progress_callback(self), steps)

    def count_steps(self, steps: int) -> None:
        """Interrupt what takes more steps of SQLite's machine than so many, or `PROGRESS_STEPS` more; until `count_no_more`."""
        self.ran_out = False
        self.looks_left = steps // PROGRESS_STEPS + 1

    def count_no_more(self) -> None:
        """Let what runs take the steps that it needs."""
        self.looks_left = None

    def allow_memory(self, bytes_max: int) -> None:
        """Let SQLite's memory grow by `bytes_max` in this request, counted from its beginning."""
        self.ceiling += bytes_max - self.bytes_max
        self.bytes_max = bytes_max

    def check(self) -> None:
        """Raise `TimedOut` if the time of the request is over: between two statements SQLite does not look."""
        if self.allowance is not None:
            self.allowance.check_time()
        if self._monotonic() > self.deadline:
            raise TimedOut("the request ran longer than query_timeout_ms and was stopped; nothing was changed")

    def start(self) -> None:
        """A statement runs from here on, which another thread may interrupt."""
        self._is_running = True

    def stop(self) -> None:
        """The statement ended: an interrupt that comes now must not hit the next one."""
        with self._lock:
            self._is_running = False
        self._seen_at = -RUNNING_S

    def interrupt(self, late_s: float | None = None) -> bool:
        """From any thread: end the statement that runs, if any; with `late_s` only if it is that late."""
        connection = self._connection and self._connection()
        with self._lock:
            if not connection or not self._is_running:
                return False
            if late_s is not None and self._monotonic() <= self.deadline + late_s:
                return False
            connection.interrupt()
        return True

    def expire(self) -> None:
        """From any thread: the time of the request that runs is over, whether or not SQLite runs at this moment."""
        self.deadline = _EXPIRED
        self.interrupt()

    def must_stop(self) -> bool:
        """A closer look: another request than at the last one, or SQLite took more memory than this one may."""
        if self.deadline is not self._begun:
            self._begun = self.deadline
            self._floor, self._cached = apsw.memory_used(), self._cache_used()
            self._growth = 0
            self.ceiling = self._floor + self.bytes_max if self.deadline != NO_DEADLINE else _NO_CEILING
        elif apsw.memory_used() > self.ceiling and self._takes_too_much():
            self.is_greedy = True
            return True
        self._seen_at = now = self._monotonic()
        return now > self.deadline

    def _takes_too_much(self) -> bool:
        """Whether this request is the one to stop (invariant 6)."""
        global _last_seen
        used, now = apsw.memory_used(), self._monotonic()
        # temporary tables are in the same figure, and only connections with a small cache have any
        cached = min(self._cache_used() - self._cached, self.cache_bytes_max)
        self._growth, _last_seen = self._growth + used - (_last_seen or used), used
        self._seen_at = now
        others = [guard for guard in list(_guards) if guard is not self and now - guard._seen_at < RUNNING_S]
        if others:
            cached = max(cached, cache_room() - self._floor)
        grown, may_take = used - self._floor - cached, self.bytes_max + sum(guard.bytes_max for guard in others)
        if grown <= may_take:
            self.ceiling = max(self.ceiling, used + _LOOK_AGAIN_BYTES)
            return False
        if grown > 2 * may_take or not others:
            return True
        if any(self._growth < guard._growth for guard in others) or not _judging.acquire(blocking=False):
            return False
        try:
            if not _grows_meanwhile(used):
                return True
        finally:
            _judging.release()
        self._growth, self.ceiling = 0, used + _LOOK_AGAIN_BYTES
        return False

    def _cache_used(self) -> int:
        connection = self._connection and self._connection()
        return connection.status(_CACHE_USED)[0] if connection else 0


def _grows_meanwhile(used: int) -> bool:
    """Whether SQLite's memory grows while this request does nothing: what grew before was another's, too."""
    for _ in range(_PAUSES):
        time.sleep(_PAUSE_S)
        if apsw.memory_used() > used + _GROWN_BYTES:
            return True
    return False


_judging: Final = threading.Lock()
"""One at a time: two that did nothing at the same moment would both be taken for the one that grows."""
_guards: Final[weakref.WeakSet[Guard]] = weakref.WeakSet()
_last_seen = 0


def interrupt_overdue(late_s: float = 0.1) -> int:
    """Interrupt every statement of this process that runs past its deadline; returns how many.

    For a thread outside the engine: a step of SQLite's machine that takes long is never looked at from inside.
    """
    return sum(guard.interrupt(late_s) for guard in list(_guards))


def _progress_callback(guard: Guard) -> Callable[[], bool]:
    """SQLite's progress callback: True interrupts the statement. It runs often, so the usual case is two comparisons."""
    monotonic, used = guard._monotonic, apsw.memory_used

    def look() -> bool:
        if guard.on_look is not None:
            guard.on_look()
        if guard.looks_left is not None:
            guard.looks_left -= 1
            if guard.looks_left < 0:
                guard.ran_out = True
                return True
        if guard.deadline is not guard._begun or used() > guard.ceiling:
            return guard.must_stop()
        guard._seen_at = now = monotonic()
        return now > guard.deadline

    return look if guard.allowance is None else _look_within_time(guard.allowance, guard, look)


def _look_within_time(allowance: Allowance, guard: Guard, look: Callable[[], bool]) -> Callable[[], bool]:
    """`look`, and a look at the processor's time (invariant 7)."""

    def look_twice() -> bool:
        guard.is_spent = allowance.is_out_of_time
        return guard.is_spent or look()

    return look_twice


def is_reserved(name: str) -> bool:
    """True for names of savepoints that only Virke itself may use."""
    return name.lower().startswith(RESERVED_PREFIX)
