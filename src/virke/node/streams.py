"""Hrana's streams on a node: batons, leases, and what streams ask for done on the loop, in line, or in a thread.

Knows the loop, a pool of threads, `Writing` and the gates; what a stream is and answers is `api.hrana.streams`.

1. A baton is good for one request, of the same database: it names the worker, the stream, and a secret that is new each
   time. A stream that nothing of would be missed is not kept, and its baton is null.
2. A stream that no request came for in `LEASE_S` is ended, and so is a transaction that writes after `WRITING_S`,
   whatever it is doing: others wait for it.
3. What a client that went away was waiting for is interrupted, and its stream is ended.
4. An open stream holds its database: it is not closed for want of room.
5. Waiting for the gate takes no thread. A transaction that ends leaves it, however it ends.
6. Whose answer was lost has no baton to go on with: what the last request could not be answered is ended at once, and so is a
   stream whose client asks to close it with the last baton that it has, though that was used.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from hmac import compare_digest
from typing import Any, Final, TypeVar

from virke.api.hrana.complaints import Refused
from virke.api.hrana.effects import (
    Ask,
    BeginReading,
    BeginWriting,
    Doing,
    Effect,
    End,
    Single,
    Together,
    Within,
    check_may_write,
    check_scope,
)
from virke.api.hrana.streams import Stream
from virke.engine.database import Database
from virke.engine.programs import Step
from virke.engine.results import QueryResult
from virke.engine.terms import Cancel, Terms
from virke.engine.transaction import Transaction
from virke.errors import Busy, NotHere, VirkeError
from virke.node.gates import Gates
from virke.node.leaving import Leaving
from virke.node.limits import Taken
from virke.node.threads import Threads
from virke.node.watching import Watch
from virke.node.writing import Writing
from virke.scopes import Scope

LEASE_S: Final = 10.0
WRITING_S: Final = 30.0
GATE_S: Final = 5.0
STREAMS_MAX: Final = 4096
T = TypeVar("T")


class Live:
    """A stream that is open here. One request at a time uses it."""

    def __init__(self, database: Database, stream: Stream, scope: Scope) -> None:
        self.database = database
        self.scope = scope
        self.stream = stream
        self.id = secrets.token_urlsafe(12)
        self.secret = self.past_secret = ""
        self.is_in_use = True
        self.holds_gate = False
        self.cancel: Cancel | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.is_ended = self.is_cleared = False
        self.gone: Leaving | None = None
        """The client of the present request, if it may go away."""
        self.not_here: NotHere | None = None
        """Why its next statement is not answered from memory, where that was tried already."""
        self.taken: Taken | None = None
        """What the present request holds."""
        self.let_go: Callable[[], None] | None = None
        """Lets the database be closed, as far as this stream is concerned."""
        self.undone: list[Callable[[], None]] = []
        """What is to be called if the stream is ended now."""
        self.watching: asyncio.Future[None] | None = None

    def then(self, call: Callable[[], None]) -> Callable[[], object]:
        """Call this if the stream is ended now; what is returned takes it back."""
        self.undone.append(call)
        return partial(self.undone.remove, call)

    def release(self) -> None:
        """Nothing of it uses its database any more; harmless when done."""
        let_go, self.let_go = self.let_go, None
        if let_go is not None:
            let_go()

    def growing(self) -> Callable[[int], None] | None:
        """For one result: to be called with how large it is so far."""
        return self.taken.growing() if self.taken is not None else None

    def interrupt(self) -> None:
        """End the statement that runs now, if any, and take out of the line what waits there."""
        for call in self.undone:
            call()
        if self.cancel is not None:
            self.cancel.cancel()
        if (transaction := self.stream.transaction) is not None:
            transaction.interrupt()


class Streams:
    """The streams of one worker."""

    def __init__(
        self,
        threads: Threads,
        writing: Callable[[], Writing],
        hold: Callable[[str], Callable[[], None]],
        watch: Watch,
        *,
        worker: str = "0",
        lease_s: float = LEASE_S,
        writing_s: float = WRITING_S,
        gate_s: float = GATE_S,
    ) -> None:
        self._threads = threads
        self._writing = writing
        self._hold = hold
        self._noted = watch
        self.open_count = 0
        """How many streams are open."""
        self._worker = worker
        self._lease_s, self._writing_s, self._gate_s = lease_s, writing_s, gate_s
        self._kept: dict[str, Live] = {}
        self._gates = Gates()
        self._ending: set[asyncio.Task[int | None]] = set()

    # Batons

    def open(self, database: Database, scope: Scope) -> Live:
        """A new stream. Raises `Busy`: there are too many."""
        if len(self._kept) >= STREAMS_MAX:
            raise Busy(f"{STREAMS_MAX} streams are open here; close some")
        serving = database.serving
        live = Live(database, Stream(serving.empty, foreign_keys=serving.foreign_keys, scope=scope), scope)
        live.let_go = partial(self._let_go_of, self._hold(database.name))
        self.open_count += 1
        return live

    def _let_go_of(self, let_go: Callable[[], None]) -> None:
        self.open_count -= 1
        let_go()

    def take(self, baton: str, database: Database, scope: Scope, *, closes: bool = False) -> Live:
        """The stream of a baton; `closes`: the request ends it. Raises `Refused`."""
        worker, _, rest = baton.partition(".")
        stream_id, _, secret = rest.partition(".")
        live = self._kept.get(stream_id)
        if not secret or worker != self._worker:
            raise Refused("Received an invalid baton", "BATON_INVALID")
        if live is None or live.database is not database or live.scope > scope:
            raise Refused("The stream has expired due to inactivity", "STREAM_EXPIRED", status=404)
        if live.is_in_use or not compare_digest(secret.encode(), live.secret.encode()):
            past = live.past_secret.encode()
            if closes and not live.is_in_use and past and compare_digest(secret.encode(), past):
                self.end(live)  # rule 6
            raise Refused("Received a baton that has already been used", "BATON_REUSED")
        live.is_in_use = True
        _stop_alarm(live.alarm)
        return live

    def keep(self, live: Live) -> str | None:
        """A request is over: the baton for the next one, or None if the stream is over, or nothing of it would be missed."""
        _stop_watching(live)
        live.is_in_use = False
        if live.is_ended or live.stream.is_closed or live.stream.is_blank:
            self.end(live)
            return None
        live.past_secret, live.secret = live.secret, secrets.token_urlsafe(18)
        self._kept[live.id] = live
        live.alarm = asyncio.get_running_loop().call_later(self._lease_s, self.end, live)
        return f"{self._worker}.{live.id}.{live.secret}"

    def rest(self, live: Live) -> None:
        """A request of a connection that stays is over."""
        live.is_in_use, live.taken = False, None
        if live.is_ended:
            self.end(live)

    def drop(self, live: Live) -> None:
        """A request ended badly: so does its stream."""
        _stop_watching(live)
        live.is_in_use = False
        self.end(live)

    def end(self, live: Live) -> None:
        """End a stream, whatever it does at this moment; one that a request uses is cleared away when that is over."""
        live.is_ended = True
        self._kept.pop(live.id, None)
        _stop_alarm(live.alarm)
        if live.is_in_use:
            live.interrupt()
        elif live.is_cleared:
            return
        elif live.stream.transaction is None:
            live.release()
        else:
            live.is_cleared = True
            task = asyncio.ensure_future(self._finish_transaction(live, live.stream.transaction, commits=False))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.add_done_callback(lambda done: live.release())

    async def close(self) -> None:
        """End all streams."""
        for live in list(self._kept.values()):
            self.end(live)
        await asyncio.gather(*self._ending, return_exceptions=True)

    # Effects

    async def drive(self, live: Live, doing: Doing[T]) -> T:
        """Do what a stream asks for until it has its answer."""
        try:
            effect = next(doing)
            while True:
                try:
                    outcome = await self._do_effect(live, effect)
                except VirkeError as error:
                    effect = doing.throw(error)
                else:
                    effect = doing.send(outcome)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _do_effect(self, live: Live, effect: Effect) -> Any:
        if live.is_ended and not isinstance(effect, End):
            raise Refused("The stream has expired due to inactivity", "STREAM_EXPIRED", status=404)
        check_scope(effect, live.scope)
        if live.taken is not None and not isinstance(effect, Single | Ask | BeginReading):
            live.taken.wrote = True
        match effect:
            case Single(sql, params):
                try:
                    not_here, live.not_here = live.not_here, None
                    if not_here is not None:
                        raise not_here
                    found = live.database.query_here(sql, params)
                    self._noted.statements["read"] += 1
                    return found
                except NotHere as error:
                    return await self._run_single(live, effect, writes=error.writes)
            case Together(steps, foreign_keys):
                serving = live.database.serving
                program = serving.program(
                    steps, foreign_keys=foreign_keys, keeps_going=True, has_transactions=True, scope=live.scope
                )
                self._watch(live)
                return await self._writing().run(live.database, program, live, live.growing())
            case Ask(sql):
                return await self._run_watched(live, live.database.describe, sql)
            case BeginReading(foreign_keys, bookmark):
                begin = partial(live.database.serving.begin_reading, foreign_keys=foreign_keys, scope=live.scope)
                return await self._in_thread(partial(begin, bookmark=bookmark))
            case BeginWriting(foreign_keys, key):
                begin = partial(live.database.transaction, immediate=True, foreign_keys=foreign_keys, scope=live.scope)
                return await self._begin_writing(live, partial(begin, idempotency_key=key))
            case Within(_, call, sql):
                self._watch(live)
                self._noted.statements["transaction"] += 1
                return await self._go_on(partial(self._noted.run, live.database.name, sql, call))
            case End(transaction, commits):
                return await self._finish_transaction(live, transaction, commits=commits)

    async def _run_single(self, live: Live, single: Single, *, writes: bool) -> QueryResult:
        """One statement that can't be answered from memory: a read in a thread, a write in line."""
        if not writes:
            live.cancel = Cancel(live.taken.begin(single.sql) if live.taken is not None else None)
            try:
                terms = Terms(cancel=live.cancel)
                read = partial(live.database.serving.read, single.sql, single.params, terms)
                found: QueryResult = await self._run_watched(
                    live, self._noted.run, live.database.name, single.sql, read
                )
                self._noted.statements["read"] += 1
                return found
            except NotHere:
                pass
            finally:
                live.cancel = None
        check_may_write(live.scope)
        if live.taken is not None:
            live.taken.wrote = True
        program = live.database.serving.program(
            (Step(single.sql, single.params),), foreign_keys=single.foreign_keys, scope=live.scope
        )
        self._watch(live)
        [answer] = await self._writing().run(live.database, program, live, live.growing())
        assert isinstance(answer, QueryResult), "an error is raised"
        return answer

    async def _begin_writing(self, live: Live, begin: Callable[[], Transaction]) -> Transaction:
        await self._gates.enter(live.database.name, self._gate_s)
        beginning = asyncio.ensure_future(self._go_on(begin))
        try:
            transaction = await asyncio.shield(beginning)
        except BaseException:
            beginning.add_done_callback(lambda done: self._let_go(live.database.name, done))
            raise
        live.holds_gate = True
        live.deadline = asyncio.get_running_loop().call_later(self._writing_s, self.end, live)
        return transaction

    def _let_go(self, name: str, beginning: asyncio.Future[Transaction]) -> None:
        """No request waits for this beginning any more."""
        self._gates.leave(name)
        if not beginning.cancelled() and beginning.exception() is None:
            self._threads.ending.submit(beginning.result().rollback)

    async def _finish_transaction(self, live: Live, transaction: Transaction, *, commits: bool) -> int | None:
        finish: Callable[[], int | None] = transaction.commit if commits else transaction.rollback
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._threads.ending, finish)
            self._noted.transactions += commits and not transaction.read_only
            return done
        finally:
            if live.holds_gate and not transaction.read_only:
                live.holds_gate = False
                _stop_alarm(live.deadline)
                self._gates.leave(live.database.name)

    async def _run_watched(self, live: Live, call: Callable[..., T], *args: Any) -> T:
        """In a thread; if the client goes away meanwhile, the stream ends and what runs is interrupted."""
        self._watch(live)
        return await self._in_thread(call, *args)

    def _watch(self, live: Live) -> None:
        if live.gone is not None and live.watching is None:
            live.watching = asyncio.ensure_future(live.gone())
            live.watching.add_done_callback(lambda done: None if done.cancelled() else self.end(live))

    async def _go_on(self, call: Callable[[], T]) -> T:
        """In a thread, though others wait for one: it was begun."""
        return await asyncio.get_running_loop().run_in_executor(self._threads.going_on, call)

    async def _in_thread(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


def _stop_watching(live: Live) -> None:
    live.gone = live.taken = None
    if live.watching is not None:
        live.watching.cancel()
        live.watching = None


def _stop_alarm(alarm: asyncio.TimerHandle | None) -> None:
    if alarm is not None:
        alarm.cancel()
