"""`python -m virke.project.program MODULE:ATTRIBUTE PORT`: serves a Python app, as `virke dev` starts it.

The current folder is where the app's modules are. What goes wrong in them is shown with a traceback, as Python does it.
"""

from __future__ import annotations

import sys
from importlib import import_module

from virke.errors import UsageError, VirkeError
from virke.runtime.fire import serve_app

HOST = "127.0.0.1"


def find_app(name: str) -> object:
    """The object that `module:attribute` names. Raises `UsageError`: the module has none."""
    module, _, path = name.partition(":")
    found: object = import_module(module)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise UsageError(
                f"{module} has no {path!r}", hint=f'name the app in virke.toml: [app] entry = "{module}:NAME"'
            ) from error
    return found


def main(name: str, port: str) -> None:
    """Serve it until a signal comes."""
    sys.path.insert(0, "")
    try:
        app = find_app(name)
        if not callable(app):
            raise UsageError(f"{name} is not an app: it can't be called")
        serve_app(app, host=HOST, port=int(port))
    except VirkeError as error:
        hint = error.context.get("hint")
        sys.exit(f"error: {error.message}" + (f"\nhint: {hint}" if hint else ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
