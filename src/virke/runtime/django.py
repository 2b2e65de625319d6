"""Django: an entry of MIDDLEWARE, whose views find their database as `request.db`; sync and async.

Imported by the first call with a `get_response`.

1. While a streaming response makes its next part, its request is the current one.
2. An error that a view lets through is answered here, if it is a visitor's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from django.http import HttpResponse

from virke.errors import VirkeError
from virke.runtime.answers import answer_to
from virke.runtime.protocols import is_async
from virke.runtime.request import of_environ
from virke.runtime.visits import Visit, Visits


def request_handler(get_response: Callable[[Any], Any], visits: Visits) -> Callable[[Any], Any]:
    """What Django calls with each request."""

    def serve(request: Any) -> Any:
        visit = _begin_visit(request, visits)
        with visits.during(visit):
            return _finish_response(get_response(request), visits, visit)

    async def serve_async(request: Any) -> Any:
        visit = _begin_visit(request, visits)
        with visits.during(visit):
            return _finish_response(await get_response(request), visits, visit)

    found: Any = serve_async if is_async(get_response) else serve
    found.process_exception = process_exception
    return found  # type: ignore[no-any-return]


def process_exception(request: Any, exception: BaseException) -> Any:
    """The answer to an error that a view lets through; None: Django's own."""
    answer = answer_to(exception) if isinstance(exception, VirkeError) else None
    return None if answer is None else HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def _begin_visit(request: Any, visits: Visits) -> Visit:
    header = visits.carrier.header
    brought = request.META.get(f"HTTP_{header.upper().replace('-', '_')}") if header else None
    visit = visits.begun(partial(of_environ, request.META, request), brought)
    request.db = visit.db
    return visit


def _finish_response(response: Any, visits: Visits, visit: Visit) -> Any:
    for name, value in visit.headers:
        if name == "set-cookie":
            response.cookies.load(value)
        else:
            response[name] = value
    if getattr(response, "streaming", False):
        parts = response.streaming_content
        follows = _async_parts if response.is_async else _visited_parts
        response.streaming_content = follows(parts, visits, visit)
    return response


def _visited_parts(parts: Iterator[bytes], visits: Visits, visit: Visit) -> Iterator[bytes]:
    end = object()
    while True:
        with visits.during(visit):
            part: Any = next(parts, end)
        if part is end:
            return
        yield part


async def _async_parts(parts: AsyncIterator[bytes], visits: Visits, visit: Visit) -> AsyncIterator[bytes]:
    end = object()
    while True:
        with visits.during(visit):
            part: Any = await anext(parts, end)
        if part is end:
            return
        yield part
