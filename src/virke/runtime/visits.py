"""The visits of one program: each request's database, from the request's arrival to its answer.

Knows no protocol: `asgi`, `wsgi` and `django` begin and end a visit in theirs.

1. `current` is set while the program works on a request, and in what it starts with the same context; never after.
2. Two programs in one process, or two databases in one program, have visits of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from virke.errors import UsageError
from virke.runtime.binding import VirkeDB
from virke.runtime.calls import Translate
from virke.runtime.carrier import Carrier
from virke.runtime.opened import Opened
from virke.runtime.request import Request
from virke.runtime.session import Session

Db = str | Callable[[Request], str] | None
"""A database's name, what chooses it by the request, or None: the one that `virke.toml` or `VIRKE_DB` names."""


class Visit:
    """One request: `db` is its database as the program sees it."""

    def __init__(self, session: Session, carrier: Carrier, translate: Translate | None) -> None:
        self._session = session
        self._carrier = carrier
        self.db = VirkeDB(session, translate)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What its answer has besides, as of now."""
        return self._carrier.given(self._session.wrote)


class Visits:
    """All visits of what one call of `virke()` returned."""

    def __init__(self, db: Db, opened: Opened, carrier: Carrier) -> None:
        self._db = db
        self._current: ContextVar[Visit] = ContextVar("virke.visit")
        self.opened = opened
        self.carrier = carrier
        self.apps = 0
        """How many apps of this program have said that they are alive."""

    def begun(self, request: Callable[[], Request], brought: str | None, translate: Translate | None = None) -> Visit:
        """A visit whose request has this value in `carrier.header`."""
        db = self._db
        name = (lambda: db(request())) if callable(db) else db
        return Visit(Session(self.opened, name, self.carrier.bookmark_in(brought)), self.carrier, translate)

    @contextmanager
    def during(self, visit: Visit) -> Iterator[None]:
        """Meanwhile the visit is the current one."""
        token = self._current.set(visit)
        try:
            yield
        finally:
            self._current.reset(token)

    @property
    def current(self) -> Visit:
        """The visit of the running request. Raises `UsageError`: none is running here."""
        visit = self._current.get(None)
        if visit is None:
            raise UsageError(
                "no request is running here, so there is no database of one",
                hint="is the middleware installed? In a thread of your own use a `db` taken before; outside of requests, virke.connect",
            )
        return visit
