"""Which protocol a callable speaks: ASGI, WSGI, or Django's `get_response`; recognised by its parameters.

Pure. Knows no framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from virke.errors import UsageError

_FIXED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Protocol(Enum):
    """How a server, or a framework, calls the next one."""

    ASGI = "asgi"
    WSGI = "wsgi"
    DJANGO = "django"


_BY_PARAMETERS: Final = {1: Protocol.DJANGO, 2: Protocol.WSGI, 3: Protocol.ASGI}


def is_async(app: Callable[..., Any]) -> bool:
    """Whether a call of it is awaited."""
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__)  # type: ignore[operator]


def protocol_of(app: Callable[..., Any]) -> Protocol:
    """What the callable speaks.

    Raises:
        UsageError: it can't be recognised.
    """
    if callable(getattr(app, "wsgi_app", None)):
        return Protocol.WSGI
    parameters = _parameters_of(app)
    needed = [one for one in parameters if one.kind in _FIXED and one.default is inspect.Parameter.empty]
    takes_any = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    found = Protocol.ASGI if takes_any and is_async(app) else None if takes_any else _BY_PARAMETERS.get(len(needed))
    if found is None:
        raise UsageError(
            f"{app!r} is neither an ASGI nor a WSGI app, as far as its parameters say",
            hint="say which: middleware.asgi(app), middleware.wsgi(app) or middleware.django(get_response)",
        )
    return found


def _parameters_of(app: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(app, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{app!r} can't be called as an app") from error
